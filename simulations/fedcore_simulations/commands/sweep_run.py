"""What ``fedcore sweep`` does, from options to exit code."""

from __future__ import annotations

import json
import shlex
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.console import Console

from fedcore.errors import PlanError
from fedcore.text.printable import printable_lines
from fedcore.text.wording import counted, named
from fedcore_simulations.study.grid import Axis, Grid

if TYPE_CHECKING:
    from fedcore_simulations.study.sweep import Sweep

_FAILED, _PAUSED, _INTERRUPTED = 2, 75, 130
_ASK_FROM = 200


def sweep_command(
    subject: str | None,
    vary: Sequence[str],
    settings: Sequence[str],
    *,
    seeds: int,
    out: Path | None,
    jobs: int | None,
    yes: bool,
    as_json: bool,
) -> int:
    """Run a grid, with a display on standard error; return the exit code."""
    console = Console(stderr=True, highlight=False)
    command = shlex.join(["fedcore", *sys.argv[1:]])
    grid = Grid(subject=subject, settings=tuple(settings), axes=tuple(Axis.of(option) for option in vary), seeds=seeds)
    grid.check()
    if grid.size >= _ASK_FROM and not yes:
        _ask(grid)
    from fedcore_simulations.study.sweep import Sweep  # torch: only once the grid is known to be right

    sweep = Sweep.prepare(grid, out=out, command=command)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # what batch systems send is a Ctrl-C too
    try:
        _run(sweep, console, jobs)
    except KeyboardInterrupt:
        done = len(sweep.runs) - len(sweep.left)
        console.print(f"\nstopped: {done} of {counted(len(sweep.runs), 'run')} are finished", soft_wrap=True)
        console.print(f"the same command again resumes: {command}", soft_wrap=True, markup=False)
        return _INTERRUPTED
    _print_results(sweep, console, as_json=as_json)
    return _exit_code(sweep)


def _ask(grid: Grid) -> None:
    """Ask before what may take days.

    Raises:
        PlanError: The answer is no, or there is nobody to ask.
    """
    question = f"This sweep has {counted(grid.size, 'run')}. Run all of them?"
    try:
        agreed = click.confirm(question, err=True)
    except click.Abort:  # Ctrl-C, or no terminal
        click.echo(err=True)
        agreed = False
    if not agreed:
        raise PlanError(f"nothing was run: {counted(grid.size, 'run')} need a yes, or the option --yes")


def _run(sweep: Sweep, console: Console, jobs: int | None) -> None:
    from fedcore_simulations.study.display import SweepDisplay

    left = sweep.left
    at_once = jobs or sweep.default_jobs()
    _introduce(sweep, console, at_once)
    rounds = {run.name: run.plan.federation.rounds for run in left}
    if left:
        with SweepDisplay(console, runs=len(sweep.runs), skipped=len(sweep.runs) - len(left), rounds=rounds) as display:
            sweep.run(jobs=min(at_once, len(left)), show=display.show, stopping=display.stopping)


def _introduce(sweep: Sweep, console: Console, jobs: int) -> None:
    left, task = len(sweep.left), sweep.runs[0].plan.task.name
    finished, begun = len(sweep.runs) - left, sweep.begun
    known = f"; {finished} finished already" if finished else ""
    known += f"; {counted(begun, 'run')} to resume" if begun else ""
    side = f", {min(jobs, left)} at a time" if left else ""
    console.print(f"{task}: {counted(len(sweep.runs), 'run')}{known}{side}, in {sweep.directory.path}", soft_wrap=True)
    for note in sweep.notes:
        console.print(f"note: {note}", style="yellow", soft_wrap=True, markup=False)


def _print_results(sweep: Sweep, console: Console, *, as_json: bool) -> None:
    path = sweep.directory.path
    if len(sweep.left) < len(sweep.runs):
        from fedcore_simulations.study.compare import compare

        found = compare([path])
        table, page = found.write_csv(path / "table.csv"), found.write_html(path / "comparison.html")
        print(json.dumps(found.rows, indent=2, ensure_ascii=False) if as_json else found)
        for note in found.notes:
            if note not in sweep.notes:  # those were printed at the start
                console.print(f"note: {note}", style="yellow", soft_wrap=True, markup=False)
        console.print(f"table  {table}\npage   {page}", soft_wrap=True, markup=False)
    _print_failures(sweep, console)


def _print_failures(sweep: Sweep, console: Console) -> None:
    failed = sweep.failed
    if not failed:
        return
    console.print(f"\n{counted(len(failed), 'run')} did not finish:", style="red", soft_wrap=True)
    reasons: dict[str, list[str]] = {}
    for ended in failed:
        reasons.setdefault(f"{'paused: ' if ended.paused else ''}{ended.failure}", []).append(ended.name)
    for reason, names in reasons.items():
        words = f"  {named(names, most=3)}: {printable_lines(reason)}"
        console.print(words, soft_wrap=True, markup=False)
    console.print("the same command again tries these runs once more; the others are kept", soft_wrap=True)


def _exit_code(sweep: Sweep) -> int:
    if not sweep.failed:
        return 0
    return _PAUSED if all(ended.paused for ended in sweep.failed) else _FAILED
