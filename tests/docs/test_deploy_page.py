"""The pages on deployment list all of what they list, and their first part runs as it stands there."""

from __future__ import annotations

import ast
import contextlib
import re
import signal
import stat
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from fedcore.plan import RunPlan
from fedcore.plan.digest import digest_of
from fedcore.refusals import Refusal
from fedcore_clients.agent.worker import data_name
from fedcore_clients.policy.allowance import allowing
from fedcore_clients.policy.privacy_gate import check_privacy
from fedcore_clients.policy.settings import SECTIONS, Policy
from fedcore_server.runs.deployable_plan import deployable
from fedcore_server.runs.following import _EXIT_CODES
from fedcore_server.runs.store import RunState
from fedcore_server.service.metrics_page import MetricsPage
from tests.deployment.federation import environment, free_port
from tests.docs.pages import ROOT, Block, blocks, listed, packaged_modules

PAGE = ROOT / "docs/deploy.md"
_REJECTING = {"UpdateRejectedError", "Rejection", "Failure", "ObjectError"}
_CODE = re.compile(r"[A-Z]{3,}(_[A-Z]+)*")
_STEP_SECONDS = 240.0


def test_the_table_of_the_policy_has_every_section() -> None:
    rows = listed("docs/deploy.md", "The policy")

    assert rows == set(SECTIONS)


def test_the_plan_that_is_shown_can_be_deployed_and_the_policy_that_is_shown_allows_it() -> None:
    (plan,) = (block for block in _part("A plan of your own") if block.language == "toml" and not block.comment)
    (allowed,) = (block for block in _part("The policy") if block.comment == "not a plan: part of a policy")
    resolved = deployable(RunPlan.from_mapping(tomllib.loads(plan.text)))
    policy = Policy.from_mapping(tomllib.loads(allowed.text))

    check_privacy(resolved, policy.privacy)
    assert policy.data.allowed[data_name(resolved)] == (resolved.task.name,)
    assert set(resolved.audit.sensitive) <= set(policy.release.group_tables)


def test_the_table_of_refusals_has_every_code_with_its_meaning() -> None:
    rows = re.findall(r"^\| `([A-Z_]+)` \| ([^|]+) \| (yes)? *\|", PAGE.read_text(encoding="utf-8"), re.M)

    assert rows == [(code, code.meaning, "yes" if code.final else "") for code in Refusal]


def test_every_code_of_a_refusal_is_used_by_clients() -> None:
    paths = [path for path in packaged_modules() if "fedcore_clients" in path.parts]
    used = {code for path in paths for code in re.findall(r"Refusal\.([A-Z_]+)", path.read_text(encoding="utf-8"))}

    assert used == set(Refusal)


def test_the_table_of_rejections_has_every_code_of_the_server() -> None:
    paths = [path for path in packaged_modules() if "fedcore_clients" not in path.parts]

    assert listed("docs/operations.md", "A reply that is not counted") == {
        code for path in paths for code in _codes(path)
    }


def test_the_table_of_states_has_every_state_of_a_run() -> None:
    assert listed("docs/operations.md", "A run, from plan to end") == {state.value for state in RunState}


def test_the_table_of_exit_codes_has_every_end_of_a_run() -> None:
    page = (ROOT / "docs/operations.md").read_text(encoding="utf-8")
    shown = {int(code) for code in re.findall(r"^\| (\d+) \|", page, re.M)}

    assert shown >= {*_EXIT_CODES.values(), 0, 1, 2, 3, 4}


def test_the_table_of_metrics_has_every_metric() -> None:
    names = set(re.findall(r"^# TYPE (fedcore_\w+) (?:counter|histogram|gauge)$", MetricsPage().text(), re.M))

    assert listed("docs/operations.md", "Watching") == {name for name in names if not name.endswith("_created")}


def test_the_way_to_two_clients_takes_in_every_block_of_its_part() -> None:
    shells = [block for block in _first_part() if block.language == "bash"]

    assert [block.comment.partition(":")[0] for block in shells] == [
        "not run",
        *["run"] * 5,
        *["stays"] * 3,
        *["run"] * 3,
    ]


@pytest.mark.slow
@pytest.mark.xdist_group("servers")
def test_the_way_from_nothing_to_two_clients_works_as_it_is_written(tmp_path: Path) -> None:
    told = _walked(_first_part(), tmp_path)

    assert "ready (0 warnings)" in told[-3]
    assert "round 10/10  2 of 2 counted" in told[-2]
    assert "requests accepted 20, answered 20" in told[-1]
    assert (tmp_path / "federation/runs/digits-0001/report.html").is_file()


@pytest.mark.slow
@pytest.mark.xdist_group("servers")
def test_a_table_at_four_sites_works_as_it_is_written(tmp_path: Path) -> None:
    told = _walked(_part("A table at four sites"), tmp_path)

    assert "ready (0 warnings)" in told[-1]
    assert "round 10/10  4 of 4 counted" in told[-1]
    assert float(re.findall(r"accuracy ([\d.]+)", told[-1])[-1]) > 0.6
    run = tmp_path / "federation/runs/tabular-0001"
    assert "declared so by the plan's schema" in (run / "privacy.json").read_text(encoding="utf-8")


def test_the_schema_and_the_plan_of_the_table_fit_each_other_and_the_policy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for block in _part("A table at four sites"):
        _write_file(block, tmp_path)
    policy = Policy.from_mapping(allowing(["tabular"], groups=["sex"], schema=tmp_path / "schema.toml"))
    resolved = deployable(RunPlan.from_toml("plan.toml"))

    check_privacy(resolved, policy.privacy)
    assert digest_of(resolved.task.options["schema"]) in policy.tasks.schemas
    assert resolved.audit.vocabularies == {"sex": ("female", "male", "unknown")}


def _walked(steps: list[Block], root: Path) -> list[str]:
    """Follow a part of the page; what each of its commands printed."""
    _put_fedcore_into(root / "bin")
    port, told = free_port(), []
    with contextlib.ExitStack() as running:
        for block in steps:
            text = block.text.replace("9092", str(port))
            _write_file(block, root)
            if block.comment == "run":
                told.append(_run(text, root))
            elif block.comment.startswith("stays:"):
                running.enter_context(_staying(text, root, block.comment))
    return told


def _write_file(block: Block, root: Path) -> None:
    name = block.file or block.comment.partition("not a plan: file ")[2]
    if name:
        (root / name).write_text(block.text, encoding="utf-8")


def _part(heading: str) -> list[Block]:
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(f"\n## {heading}\n")
    first = before.count("\n")
    last = first + rest.split("\n## ")[0].count("\n")
    return [block for block in blocks(PAGE) if first < block.line <= last + 2]


def _first_part() -> list[Block]:
    end = PAGE.read_text(encoding="utf-8").split("\n## Two hosts\n")[0].count("\n")
    return [block for block in blocks(PAGE) if block.line < end]


def _codes(path: Path) -> Iterator[str]:
    """Every text that is all capitals in what makes a rejection."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and ast.unparse(node.func) in _REJECTING:
            yield from _capitals([*node.args[:2], *(word.value for word in node.keywords if word.arg == "code")])


def _capitals(nodes: list[ast.AST]) -> Iterator[str]:
    for node in nodes:
        for each in ast.walk(node):
            if _is_text(each) and _CODE.fullmatch(each.value):
                yield each.value


def _is_text(node: ast.AST | None) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def _put_fedcore_into(folder: Path) -> None:
    folder.mkdir()
    program = folder / "fedcore"
    program.write_text(
        f"#!{sys.executable}\nif __name__ == '__main__':\n    from fedcore.cli import main\n\n    main()\n"
    )
    program.chmod(program.stat().st_mode | stat.S_IXUSR)


def _surroundings(root: Path) -> dict[str, str]:
    found = environment()
    return found | {"PATH": f"{root / 'bin'}:{found['PATH']}", "COLUMNS": "200"}


def _run(text: str, root: Path) -> str:
    """Run a block; where it asks whether the words are the same, they are."""
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", text],
        cwd=root,
        env=_surroundings(root),
        input="y\n",
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=_STEP_SECONDS,
        check=False,
    )
    assert done.returncode == 0, f"{text}\n{done.stdout}"
    return done.stdout


@contextlib.contextmanager
def _staying(text: str, root: Path, name: str) -> Iterator[None]:
    """Run a block in a terminal of its own, from its first line on until the end of the test."""
    log = root / f"{name.partition(':')[2].strip()}.log"
    with log.open("w") as file:
        process = subprocess.Popen(
            ["bash", "-c", f"exec {text}"], cwd=root, env=_surroundings(root), stdout=file, stderr=file
        )
    try:
        deadline = time.monotonic() + _STEP_SECONDS
        while not log.read_text():
            assert process.poll() is None, f"{text} ended with {process.returncode}"
            assert time.monotonic() < deadline, f"{text} says nothing"
            time.sleep(0.1)
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0, log.read_text()
