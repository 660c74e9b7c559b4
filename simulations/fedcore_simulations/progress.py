"""What is shown while a simulation runs, and at its end."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from fedcore.audit.tables.values import ValueTable
from fedcore.plugins import name_of
from fedcore.privacy.accounting import rounded_up
from fedcore.privacy.linter import DROWNED, Finding
from fedcore.text.wording import counted, named
from fedcore_server.rounds.round_record import RoundRecord, served_by_group
from fedcore_server.runs.audit_words import audit_words
from fedcore_simulations.preparation import Preparation

_VERDICT_STYLE = {"PASS": "green", "FAIL": "red", "INCONCLUSIVE": "yellow"}


class RoundsDisplay:
    """A live line with a bar in a terminal; about twenty plain lines elsewhere."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = Live(console=console, transient=True, refresh_per_second=8) if console.is_terminal else None
        self._rounds = 0
        self._seen = 0
        self._started = 0.0

    def __enter__(self) -> Self:
        """Nothing is shown before `start`."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Clear the live line."""
        self.stop()

    def start(self, ready: Preparation) -> Callable[[RoundRecord], None]:
        """Introduce what was prepared; return the function that shows a round."""
        plan = ready.plan
        private = plan.privacy.unit != "none"
        noise = f", noise multiplier {plan.privacy.noise_multiplier:g}" if private else ""
        clients = counted(len(ready.clients), "client")
        self._console.print(
            f"{ready.task.name}: {counted(ready.examples, 'row')}, {clients} ({name_of(plan.federation.partition)}), "
            f"{counted(plan.federation.rounds, 'round')}, privacy {plan.privacy.unit}{noise}, {ready.device}",
            soft_wrap=True,
        )
        for note in (*getattr(ready.task, "notes", ()), *filter(None, [ready.device_note])):
            self._console.print(f"note: {note}", soft_wrap=True, markup=False)
        for line in _warnings(ready.findings):
            self._console.print(line, soft_wrap=True, markup=False, style="yellow")
        self._rounds, self._started = plan.federation.rounds, time.monotonic()
        if self._live:
            self._live.start()
        return self._show

    @property
    def has_started(self) -> bool:
        """Whether a run was prepared, so that what fails from then on may be gone on with."""
        return self._rounds > 0

    def stop(self) -> None:
        """Give the terminal back."""
        if self._live:
            self._live.stop()

    def _show(self, record: RoundRecord) -> None:
        self._seen += 1
        number = record.report.round
        elapsed = time.monotonic() - self._started
        left = elapsed / self._seen * (self._rounds - number)
        told = [f"round {number}/{self._rounds}", *_figures(record), f"{left:.0f} s left"]
        if self._live:
            grid = Table.grid(padding=(0, 1))
            grid.add_row(ProgressBar(total=self._rounds, completed=number, width=24), Text(" · ".join(told)))
            self._live.update(grid)
        elif number == self._rounds or number % max(1, self._rounds // 20) == 0 or not record.report.committed:
            self._console.print("  ".join(told), soft_wrap=True)


def print_outcome(console: Console, summary: Mapping[str, Any], directory: Path) -> None:
    """The short table at the end, why the audit did not pass, and where the report lies."""
    table = Table(show_header=False, box=None, padding=(0, 2))
    for name, value in summary["metrics"].items():
        table.add_row(name.replace("_", " "), f"{value:.1%}" if "accuracy" in name else f"{value:.4g}")
    table.add_row("privacy", _privacy_words(summary))
    gap = summary["worst_gap"]
    if gap:
        table.add_row(gap["which"], gap["words"])
        table.add_row("", f"interval {gap['reach'].strip()}")
    if summary["audit_verdict"]:
        verdict = summary["audit_verdict"]
        table.add_row("audit", Text(verdict, style=_VERDICT_STYLE[verdict]))
    elif gap:
        table.add_row("audit", "no limits declared, so no verdict")
    clients, rounds = counted(summary["clients"], "client"), counted(summary["rounds"], "round")
    table.add_row("work", f"{clients} x {rounds} in {summary['wall_seconds']:.1f} s")
    dropped = [name for name, facts in (summary["participation"] or {}).items() if facts["rejected"]]
    if dropped:
        table.add_row("dropped", Text(f"{named(dropped)} (see the warning below)", style="yellow"))
    console.print(table)
    for line in audit_words(directory):
        console.print(Text(f"  {line}"), soft_wrap=True)
    console.print(f"  report  {directory / 'report.html'}", soft_wrap=True)
    for warning in summary["warnings"]:
        console.print(Text(f"! {warning}", style="yellow"), soft_wrap=True)


def _warnings(findings: Iterable[Finding]) -> Iterator[str]:
    """A short line for each, and once where the rest is to be had; in full only what makes the run worthless."""
    short = False
    for finding in findings:
        in_full = finding.rule is DROWNED
        yield f"warning: {finding.rule.id}: {finding.text if in_full else finding.where}"
        short = short or not in_full
    if short:
        yield "fedcore lint privacy PLAN says why, and what to do"


def _figures(record: RoundRecord) -> list[str]:
    report, evaluation = record.report, record.evaluation
    quorum = "" if report.committed else "no quorum: "
    short = bool(quorum) or len(report.counted) < len(report.asked)
    told = [f"{quorum}{len(report.counted)} of {len(report.asked)} counted"] if short else []
    if evaluation is None:
        return told
    told += [f"{name} {value:.3f}" for name, value in evaluation.metrics.items()]
    numbers = any(isinstance(table, ValueTable) for table in evaluation.tables.values())
    worst = _worst_group(served_by_group(evaluation), worse=max if numbers else min)
    if worst:
        told.append(f"worst group {worst[0]} {worst[1]:.3f}")
    if record.epsilon is not None:
        told.append(f"ε {rounded_up(record.epsilon):.2f}")
    return told


def _worst_group(
    groups: Mapping[str, Mapping[str, Mapping[str, Any]]], *, worse: Callable[..., tuple[str, float]]
) -> tuple[str, float] | None:
    """The group served worst, by the lowest accuracy or the greatest error."""
    known = [
        (f"{attribute} {group}", rate["value"])
        for attribute, rates in groups.items()
        for group, rate in rates.items()
        if rate["value"] is not None
    ]
    return worse(known, key=lambda pair: pair[1]) if known else None


def _privacy_words(summary: Mapping[str, Any]) -> str:
    if summary["unit"] is None:
        return "none"
    epsilon = "∞" if summary["epsilon"] is None else f"{rounded_up(summary['epsilon']):.2f}"
    return f"ε = {epsilon} per {summary['unit']}, δ = {summary['delta']:g}"
