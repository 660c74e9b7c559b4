"""The container files, compose files and service units are whole, and say commands that fedcore has."""

from __future__ import annotations

import configparser
import json
import re
import shlex
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from fedcore.checkup.machine import TESTED
from tests.docs.commands import parsed
from tests.docs.pages import ROOT, name_of

FOLDERS = (ROOT / "server/deploy", ROOT / "clients/deploy")
DOCKERFILES = [folder / "Dockerfile" for folder in FOLDERS]
COMPOSE_FILES = [folder / "compose.yaml" for folder in FOLDERS]
UNITS = [ROOT / "server/deploy/fedcore-server.service", ROOT / "clients/deploy/fedcore-client.service"]
_PROGRAM = "/opt/fedcore/bin/fedcore"
_CONFINED = {
    "NoNewPrivileges": "yes",
    "CapabilityBoundingSet": "",
    "ProtectSystem": "strict",
    "ProtectHome": "yes",
    "PrivateTmp": "yes",
    "RestrictAddressFamilies": "AF_INET AF_INET6 AF_UNIX",
    "UMask": "0077",
    "KillMode": "mixed",  # a driver that gets the server's SIGTERM too would end as stopped, not as waiting
}


@pytest.mark.parametrize("unit", UNITS, ids=name_of)
def test_a_unit_starts_a_command_that_there_is_as_a_user_of_its_own_and_confined(unit: Path) -> None:
    service = _sections(unit)["Service"]

    program, *arguments = shlex.split(service["ExecStart"])
    assert program == _PROGRAM
    assert parsed(arguments, place=name_of(unit))
    assert service["User"] == "fedcore"
    assert {key: service.get(key) for key in _CONFINED} == _CONFINED


def test_the_clients_unit_reads_its_rows_where_nothing_is_written() -> None:
    service = _sections(UNITS[1])["Service"]

    (given,) = parsed(shlex.split(service["ExecStart"])[1:], place="client")["data"]
    assert given.partition("=")[2].startswith(f"{service['ReadOnlyPaths']}/")


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
@pytest.mark.parametrize("unit", UNITS, ids=name_of)
def test_systemd_finds_nothing_wrong_with_a_unit(unit: Path, tmp_path: Path) -> None:
    copy = tmp_path / unit.name
    copy.write_text(unit.read_text(encoding="utf-8").replace(_PROGRAM, "/bin/true"), encoding="utf-8")
    done = subprocess.run(["systemd-analyze", "verify", str(copy)], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    assert str(copy) not in done.stderr


@pytest.mark.parametrize("path", COMPOSE_FILES, ids=name_of)
def test_a_composed_service_can_write_to_its_state_alone_and_has_no_rights(path: Path) -> None:
    (name,) = {"server", "client"} & set(_services(path))
    service = _services(path)[name]

    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert [each for each in service["volumes"] if not each.endswith(":ro")] == ["./state:/var/lib/fedcore"]
    assert (ROOT / service["build"]["dockerfile"]) == path.parent / "Dockerfile"
    assert (path.parent / service["build"]["context"]).resolve() == ROOT
    if "command" in service:
        assert parsed(service["command"], place=name_of(path))


def test_of_the_containers_one_port_of_the_server_faces_the_network() -> None:
    ports = [port for path in COMPOSE_FILES for each in _services(path).values() for port in each.get("ports", [])]

    assert [port for port in ports if not port.startswith("127.0.0.1:")] == ["9092:9092"]


@pytest.mark.parametrize("path", DOCKERFILES, ids=name_of)
def test_an_image_has_the_tested_versions_and_runs_a_command_that_there_is_without_root(path: Path) -> None:
    lines = _instructions(path)
    instructions = [line.partition(" ")[0] for line in lines]
    versions = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["requires-python"]

    assert f"python:{versions.removeprefix('>=')}-slim" in lines[0]
    assert any(f"torch=={TESTED['torch']}." in line for line in lines)
    assert any("pip install --no-cache-dir -c constraints.txt ." in line for line in lines)
    assert instructions.index("USER") < instructions.index("ENTRYPOINT")
    assert lines[instructions.index("ENTRYPOINT")] == 'ENTRYPOINT ["fedcore"]'
    parsed(json.loads(lines[instructions.index("CMD")].removeprefix("CMD ")), place=name_of(path))


def test_the_servers_image_asks_for_its_health_where_the_server_tells_it() -> None:
    lines = _instructions(DOCKERFILES[0])
    (command,) = (json.loads(line.removeprefix("CMD ")) for line in lines if line.startswith("CMD "))
    (check,) = (line.partition(" CMD ")[2] for line in lines if line.startswith("HEALTHCHECK "))
    program = json.loads(check)

    assert program[:2] == ["python", "-c"]
    compile(program[2], "health check", "exec")
    assert f"'{parsed(command, place='server')['health']}'" in program[2]


@pytest.mark.parametrize("folder", FOLDERS, ids=name_of)
def test_an_image_is_built_from_the_package_and_nothing_beside(folder: Path) -> None:
    ignored = (folder / "Dockerfile.dockerignore").read_text(encoding="utf-8").splitlines()
    kept = {line.removeprefix("!") for line in ignored if line.startswith("!")}
    wheel = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["hatch"]["build"]["targets"]
    packages = {*wheel["wheel"]["packages"], *wheel["wheel"]["force-include"]}

    assert ignored[1] == "*"
    assert kept == packages | {"pyproject.toml", "constraints.txt", "README.md", "LICENSE"}


def _sections(path: Path) -> configparser.ConfigParser:
    found = configparser.ConfigParser(interpolation=None, delimiters=("=",))
    found.optionxform = str  # type: ignore[assignment,method-assign]
    found.read(path, encoding="utf-8")
    return found


def _services(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))["services"]
    return found


def _instructions(path: Path) -> list[str]:
    lines = re.sub(r"^#.*\n", "", path.read_text(encoding="utf-8"), flags=re.M).replace("\\\n", " ")
    return [line for line in lines.splitlines() if line.strip()]
