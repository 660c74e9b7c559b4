"""What the documentation tells a user to type is what fedcore reads."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fedcore.plan import RunPlan
from fedcore_clients.policy.settings import SECTIONS, Policy
from fedcore_simulations.commands.options import checked_plan, plan_from_options, with_settings
from fedcore_simulations.study.grid import Axis, Grid
from tests.docs.commands import is_command, known_options, parsed
from tests.docs.pages import PAGES, ROOT, blocks, name_of, prose, with_blocks

README_COMMANDS = (
    "python -m pip install -c constraints.txt . && fedcore simulate",
    'python -m pip install -c constraints.txt -e ".[test]" && python -m pytest',
)
SHELLS = ("bash", "console", "sh")
_COMMAND = re.compile(r"(?:docker compose .* (?:run --rm (?:server|client)|exec server fedcore)|fedcore) (.*)")


def test_the_readme_gives_both_commands_each_in_a_block_of_its_own() -> None:
    shown = [block.text.strip() for block in blocks(ROOT / "README.md") if block.language in SHELLS]

    assert set(README_COMMANDS) <= set(shown)


@pytest.mark.parametrize("command", README_COMMANDS)
def test_the_checks_run_every_part_of_the_commands_of_the_readme(command: str) -> None:
    script = (ROOT / ".ci/run").read_text(encoding="utf-8").replace(" --quiet", "")

    for part in command.split(" && "):
        assert re.search(rf"(^|&& ){re.escape(part)}\)?$", script, re.M), f".ci/run does not run: {part}"


def test_every_fedcore_command_in_the_documentation_is_understood() -> None:
    for place, line in _command_lines():
        _check_plan(place, parsed(shlex.split(line)[1:], place=place))


def test_every_option_named_in_the_text_exists() -> None:
    known = known_options()
    for page in PAGES:
        for command in re.findall(r"`(?:fedcore \w+[^`]* )?(--[a-z][a-z-]*)[^`]*`", prose(page)):
            assert command in known, f"{name_of(page)}: no command has an option {command}"


def test_every_command_named_in_the_text_exists() -> None:
    for page in PAGES:
        for words in re.findall(r"`fedcore ([a-z]+(?: [a-z]+)?)", prose(page)):
            assert is_command(words.split()), f"{name_of(page)}: there is no command fedcore {words}"


@pytest.mark.parametrize("page", with_blocks("toml"), ids=name_of)
def test_every_toml_block_is_a_plan_without_an_unknown_key(page: Path) -> None:
    for block in blocks(page):
        if block.language == "toml" and not block.is_marked("not a plan"):
            RunPlan.from_mapping(tomllib.loads(block.text))


def test_every_part_of_a_policy_that_is_shown_is_one() -> None:
    shown = [block for page in PAGES for block in blocks(page) if block.comment == "not a plan: part of a policy"]

    assert shown
    for block in shown:
        Policy.from_mapping(tomllib.loads(block.text))


def test_every_key_of_a_plan_or_policy_named_in_the_text_exists() -> None:
    known = {
        f"{section}.{key.replace('_', '-')}"
        for section, field in RunPlan.model_fields.items()
        for key in field.annotation.model_fields  # type: ignore[union-attr]
    }
    known |= {f"{section}.{field.alias}" for section, kind in SECTIONS.items() for field in kind.model_fields.values()}
    sections = "|".join(RunPlan.model_fields)
    for page in PAGES:
        for key in re.findall(rf"`((?:{sections})\.[a-z][a-z-]*)(?: = [^`]*)?`", prose(page)):
            assert key in known or key.endswith((".html", ".json", ".toml")), (
                f"{name_of(page)}: no plan has the key {key}"
            )


def test_the_plan_reference_is_what_its_script_writes() -> None:
    script = ROOT / "docs/plan_reference.py"
    written = subprocess.run([sys.executable, str(script)], capture_output=True, check=True, encoding="utf-8").stdout

    assert (ROOT / "docs/plan-reference.md").read_text(encoding="utf-8") == written, (
        "run: python docs/plan_reference.py > docs/plan-reference.md"
    )


def test_the_page_of_the_linter_is_what_its_script_writes() -> None:
    script = ROOT / "docs/privacy_linter.py"
    written = subprocess.run([sys.executable, str(script)], capture_output=True, check=True, encoding="utf-8").stdout

    assert (ROOT / "docs/privacy-linter.md").read_text(encoding="utf-8") == written, (
        "run: python docs/privacy_linter.py > docs/privacy-linter.md"
    )


def _command_lines() -> Iterator[tuple[str, str]]:
    """Every command of fedcore in a shell block, with its place; lines of output are no commands."""
    for page in PAGES:
        for block in blocks(page):
            if block.language not in SHELLS:
                continue
            for line in block.text.replace("\\\n", " ").splitlines():
                for part in line.removeprefix("$ ").split(" && "):
                    if command := _COMMAND.match(part):
                        yield f"{name_of(page)}:{block.line}", f"fedcore {command[1].partition('  #')[0]}"


def _plan_shown(place: str, subject: str | None) -> dict[str, Any] | None:
    """The plan that the same page shows in a block whose first line names its file."""
    page = next(page for page in PAGES if place.startswith(f"{name_of(page)}:"))
    texts = (block.text for block in blocks(page) if block.language == "toml")
    return next((tomllib.loads(text) for text in texts if text.startswith(f"# {subject}\n")), None)


def _check_plan(place: str, given: dict[str, Any]) -> None:
    """Read what ``--set`` sets, and the grid of a sweep, over the plan of the scenario that is named."""
    if given.get("vary"):
        subject = None if given["subject"] == "plan.toml" else given["subject"]
        axes = tuple(map(Axis.of, given["vary"]))
        Grid(subject=subject, settings=tuple(given["settings"] or ()), axes=axes, seeds=given["seeds"]).check()
    if given.get("settings"):
        subject = (
            given["subject"]
            if given["subject"] in ("digits", "diabetes", "diabetes-progression", "tabular", "synthetic")
            else None
        )
        try:
            if shown := _plan_shown(place, given["subject"]):
                checked_plan(with_settings(shown, given["settings"]))
            else:
                plan_from_options(subject, {}, given["settings"])
        except Exception as error:
            raise AssertionError(f"{place}: {error}") from error
