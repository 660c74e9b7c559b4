"""All checks that fit a home, run and shown on one page."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from fedcore import __version__
from fedcore.checkup.finding import Check, Finding, State, examine, problem
from fedcore.checkup.machine import disk, machine_checks
from fedcore.errors import PlanError
from fedcore.plan import RunPlan
from fedcore.text.wording import counted

_MARKS = {
    State.OK: ("✓", "green"),
    State.WARNING: ("!", "yellow"),
    State.PROBLEM: ("✗", "red"),
    State.SKIPPED: ("–", "dim"),
}
_WIDTH_OF_A_FILE = 140


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosis:
    """Result of all checks.

    Attributes:
        kind: ``server``, ``client``, or ``machine`` where no home was checked.
    """

    kind: str
    home: Path | None
    findings: tuple[Finding, ...]

    @property
    def problems(self) -> int:
        return self._count(State.PROBLEM)

    @property
    def warnings(self) -> int:
        return self._count(State.WARNING)

    def to_json(self) -> dict[str, Any]:
        return {
            "fedcore_version": __version__,
            "kind": self.kind,
            "home": None if self.home is None else str(self.home),
            "problems": self.problems,
            "warnings": self.warnings,
            "findings": [asdict(finding) for finding in self.findings],
        }

    def _count(self, state: State) -> int:
        return sum(finding.state is state for finding in self.findings)


def diagnose(home: Path | None, plan_file: Path | None, data: Mapping[str, Path]) -> Diagnosis:
    """Run all checks; every failure becomes a finding.

    Args:
        home: A server's or a client's; ``None`` checks this machine only.
        plan_file: The plan that is to be run.
        data: Path of each data set by its name.
    """
    plan, unread = _read(plan_file)
    kind = _kind(home)
    if unread:  # at once, and by itself: the other checks take their time
        return Diagnosis(kind=kind, home=home, findings=tuple(unread))
    with _spinner() as show:
        checks = (*machine_checks(), *_checks_of(kind, home, plan, data))
        found = examine(checks, progress=show)
    return Diagnosis(kind=kind, home=home, findings=tuple(found))


def print_page(diagnosis: Diagnosis) -> None:
    """A line for each finding, and under it what to do."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = _WIDTH_OF_A_FILE
    table = Table(box=None, show_header=False, pad_edge=False)
    for finding in diagnosis.findings:
        mark, style = _MARKS[finding.state]
        table.add_row(Text(mark, style=style), Text(_plain(finding.name)), _message_of(finding))
    console.print(table)
    console.print(f"\n{_verdict(diagnosis)}", soft_wrap=True)


@contextmanager
def _spinner() -> Iterator[Callable[[str], None]]:
    """Show on a terminal what is being checked; nothing elsewhere."""
    console = Console(stderr=True, highlight=False)
    if not console.is_terminal:
        yield lambda _: None
        return
    with console.status("checking …") as status:
        yield lambda name: status.update(f"checking {name} …")


def _read(path: Path | None) -> tuple[RunPlan | None, list[Finding]]:
    if path is None:
        return None, []
    try:
        return RunPlan.from_toml(path), []
    except PlanError as error:
        return None, [problem("plan", each, f"correct {path}") for each in error.problems]


def _kind(home: Path | None) -> str:
    if home is None:
        return "machine"
    if (home / "consortium.toml").is_file():
        return "server"
    return "client" if (home / "client.toml").is_file() else "unknown"


def _checks_of(kind: str, home: Path | None, plan: RunPlan | None, data: Mapping[str, Path]) -> Sequence[Check]:
    if kind == "client" and home is not None:
        from fedcore_clients.agent.home import ClientHome
        from fedcore_clients.checkup.home import client_checks

        return client_checks(ClientHome(home), plan=plan, data=data, clock=_now)
    if kind == "server" and home is not None:
        from fedcore_server.checkup.home import server_checks
        from fedcore_server.consortium.home import ConsortiumHome

        return (*server_checks(ConsortiumHome(home), plan=plan, clock=_now), *_own_data(plan, data))
    return (*_elsewhere(home, plan), *_own_data(plan, data))


def _elsewhere(home: Path | None, plan: RunPlan | None) -> Iterator[Check]:
    """Without a home: the disk here, and the plan by itself."""
    if home is not None:
        message = f"{home} is not a home: expected a consortium.toml (a server's) or a client.toml (a client's) in it"
        advice = "name another --home; or fedcore consortium init, or fedcore client join"
        yield Check(name="home", run=lambda: iter([problem("home", message, advice)]))
    yield Check(name="disk", run=lambda: disk(Path.cwd()))
    if plan is not None:
        from fedcore_server.checkup.plan import plan_findings

        yield Check(name="plan", run=lambda: plan_findings(plan, None))


def _own_data(plan: RunPlan | None, data: Mapping[str, Path]) -> Iterator[Check]:
    """Data without a client's policy: the caller wrote the plan."""
    if data:
        from fedcore_clients.checkup.data import data_checks
        from fedcore_clients.checkup.plan_trial import PlanTrial

        yield from data_checks(data, None if plan is None else PlanTrial(plan, None), None)


def _message_of(finding: Finding) -> Text:
    advice = f"\n→ {_plain(finding.advice)}" if finding.advice and finding.state is not State.OK else ""
    return Text(_plain(finding.what)).append(advice, style="bold" if finding.state is State.PROBLEM else "")


def _plain(text: str) -> str:
    """On one line, without control characters: it may hold words of others."""
    joined = "; ".join(line for line in text.splitlines() if line)
    return "".join(letter if letter.isprintable() else "�" for letter in joined)


def _verdict(diagnosis: Diagnosis) -> str:
    if diagnosis.problems:
        return f"{counted(diagnosis.problems, 'problem')}, {counted(diagnosis.warnings, 'warning')}: a run would fail"
    if diagnosis.kind == "machine":
        hint = "name a --home to look at it too"
        return f"this machine is ready ({counted(diagnosis.warnings, 'warning')}); {hint}"
    return f"ready ({counted(diagnosis.warnings, 'warning')})"


def _now() -> datetime:
    return datetime.now(UTC)
