"""What is shown while a sweep runs: which run of how many, and the time left."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from fedcore.audit.metrics.catalogue import HEADLINES
from fedcore.report.page.wording import Quantity, seconds_text
from fedcore_simulations.study.job import Ended, Progress


class SweepDisplay:
    """A bar over the grid with a line for each run in work; without a terminal, a line for each run that ends.

    Args:
        runs: Runs of the whole grid.
        skipped: Those that were finished before.
        rounds: Rounds of each run that is left, by its name.
    """

    def __init__(self, console: Console, *, runs: int, skipped: int, rounds: dict[str, int]) -> None:
        self._console, self._runs, self._ended = console, runs, skipped
        self._left = rounds
        self._total = sum(rounds.values())
        self._at: dict[str, Progress] = {}
        self._started = time.monotonic()
        self._before = 0
        self._live = Live(console=console, transient=True, refresh_per_second=4) if console.is_terminal else None

    def __enter__(self) -> Self:
        """Show the bar."""
        if self._live:
            self._live.start()
            self._live.update(self._picture())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give the terminal back."""
        if self._live:
            self._live.stop()

    def show(self, event: Progress | Ended) -> None:
        if isinstance(event, Progress):
            if event.name not in self._at:
                self._before += event.round  # of a resumed run: not done now
            self._at[event.name] = event
        else:
            self._ended += 1
            self._left.pop(event.name, None)
            self._at.pop(event.name, None)
            self._console.print(self._line(event), soft_wrap=True, markup=False)
        if self._live:
            self._live.update(self._picture())

    def stopping(self) -> None:
        self._console.print("stopping: runs in work store their last round …")

    def _line(self, event: Ended) -> str:
        width = len(str(self._runs))
        return f"[{self._ended:{width}}/{self._runs}] {event.name}  {outcome(event)}{self._time_left()}"

    def _picture(self) -> RenderableType:
        head = Table.grid(padding=(0, 1))
        words = f"{self._ended} of {self._runs} runs done{self._time_left()}"
        head.add_row(ProgressBar(total=max(1, self._total), completed=self._done(), width=24), Text(words))
        lines = [Text(f"  {each.name}  round {each.round}/{each.rounds}", style="dim") for each in self._at.values()]
        return Group(head, *lines)

    def _done(self) -> int:
        return self._total - sum(self._left.values()) + sum(each.round for each in self._at.values())

    def _time_left(self) -> str:
        done = self._done() - self._before
        left = self._total - self._done()
        if done <= 0 or left <= 0:
            return ""
        return f"  {seconds_text((time.monotonic() - self._started) / done * left)} left"


def outcome(event: Ended) -> str:
    """How a run ended, in a few figures or in the first line of its error."""
    if event.summary is None:
        return f"{'paused' if event.paused else 'FAILED'}: {event.failure.splitlines()[0] if event.failure else ''}"
    metrics = event.summary["metrics"]
    names = sorted(metrics, key=lambda name: name not in HEADLINES)
    shown = [f"{Quantity.of(name).words} {Quantity.of(name).text(metrics[name])}" for name in names[:3]]
    if event.summary["audit_verdict"]:
        shown.append(f"audit {event.summary['audit_verdict']}")
    return "  ".join([*shown, seconds_text(event.summary["wall_seconds"])])
