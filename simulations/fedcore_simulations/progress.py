"""What is shown while a simulation runs, and at its end."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from fedcore.listeners import Beginning, Ending
from fedcore.method.names import method_words
from fedcore.plan import RunPlan
from fedcore.plugins import name_of
from fedcore.privacy.accounting import rounded_up
from fedcore.report.page.wording import seconds_text
from fedcore.round_line import worst_group
from fedcore.text.wording import counted, energy_text, named
from fedcore_server.runs.audit_words import audit_words

_VERDICT_STYLE = {"PASS": "green", "FAIL": "red", "INCONCLUSIVE": "yellow"}


class RoundsDisplay:
    """A listener: a live line with a bar in a terminal; about twenty plain lines elsewhere."""

    name = "progress display"

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = Live(console=console, transient=True, refresh_per_second=8) if console.is_terminal else None
        self._rounds = 0
        self._seen = 0
        self._started = 0.0

    def __enter__(self) -> Self:
        """Nothing is shown before the run begins."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Clear the live line."""
        self.stop()

    def run_begins(self, plan: RunPlan, beginning: Beginning) -> None:
        """Introduce what was prepared."""
        private = plan.privacy.unit != "none"
        noise = f", noise multiplier {plan.privacy.noise_multiplier:g}" if private else ""
        clients = f"{counted(len(beginning.clients), 'client')} ({name_of(plan.federation.partition)})"
        self._console.print(
            f"{beginning.task}: {counted(beginning.rows or 0, 'row')}, {clients}, "
            f"{counted(plan.federation.rounds, 'round')}, {method_words(plan)}, "
            f"privacy {plan.privacy.unit}{noise}, {beginning.device}, engine {beginning.engine}",
            soft_wrap=True,
        )
        for note in beginning.notes:
            self._console.print(f"note: {note}", soft_wrap=True, markup=False)
        for line in beginning.warnings:
            self._console.print(line, soft_wrap=True, markup=False, style="yellow")
        self._rounds, self._started = plan.federation.rounds, time.monotonic()
        if self._live:
            self._live.start()

    @property
    def has_started(self) -> bool:
        """Whether a run was prepared, so that it can be resumed after a failure."""
        return self._rounds > 0

    def stop(self) -> None:
        """Give the terminal back."""
        if self._live:
            self._live.stop()

    def round_closed(self, line: Mapping[str, Any]) -> None:
        self._seen += 1
        number = line["round"]
        elapsed = time.monotonic() - self._started
        left = elapsed / self._seen * (self._rounds - number)
        shown = [f"round {number}/{self._rounds}", *_figures(line), f"{left:.0f} s left"]
        if self._live:
            grid = Table.grid(padding=(0, 1))
            grid.add_row(ProgressBar(total=self._rounds, completed=number, width=24), Text(" · ".join(shown)))
            self._live.update(grid)
        elif self._is_shown(line):
            self._console.print("  ".join(shown), soft_wrap=True)

    def run_ends(self, ending: Ending) -> None:
        self.stop()

    def _is_shown(self, line: Mapping[str, Any]) -> bool:
        """About twenty lines, the last one, and whatever is unusual."""
        number = line["round"]
        regular = number == self._rounds or number % max(1, self._rounds // 20) == 0
        return regular or not line["committed"] or line.get("stop") is not None


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
    if summary.get("simulated_seconds") is not None:
        table.add_row("simulated", f"{seconds_text(summary['simulated_seconds'])} by the clients' devices")
    energy = f", {energy_text(summary['energy_kwh'])}" if summary.get("energy_kwh") else ""
    table.add_row("work", f"{clients} x {rounds} in {summary['wall_seconds']:.1f} s{energy}")
    dropped = [name for name, facts in (summary["participation"] or {}).items() if facts["rejected"]]
    if dropped:
        table.add_row("dropped", Text(f"{named(dropped)} (see the warning below)", style="yellow"))
    console.print(table)
    for line in audit_words(directory):
        console.print(Text(f"  {line}"), soft_wrap=True)
    console.print(f"  report  {directory / 'report.html'}", soft_wrap=True)
    for warning in summary["warnings"]:
        console.print(Text(f"! {warning}", style="yellow"), soft_wrap=True)


def _figures(line: Mapping[str, Any]) -> list[str]:
    quorum = "" if line["committed"] else "no quorum: "
    counted_all = len(line["counted"]) == len(line["asked"])
    shown = [] if counted_all and not quorum else [f"{quorum}{len(line['counted'])} of {len(line['asked'])} counted"]
    if line["evaluation"] is None:
        return shown
    shown += [f"{name} {value:.3f}" for name, value in line["evaluation"].items()]
    if sampled := line.get("evaluated_on"):
        shown.append(f"on {sampled['clients']} of {sampled['of']} clients")
    if worst := worst_group(line):
        shown.append(f"worst group {worst.name} {worst.value:.3f}")
    if line["epsilon"] is not None:
        shown.append(f"ε {rounded_up(line['epsilon']):.2f}")
    return shown


def _privacy_words(summary: Mapping[str, Any]) -> str:
    if summary["unit"] is None:
        return "none"
    epsilon = "∞" if summary["epsilon"] is None else f"{rounded_up(summary['epsilon']):.2f}"
    return f"ε = {epsilon} per {summary['unit']}, δ = {summary['delta']:g}"
