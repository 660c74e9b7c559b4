"""What ``fedcore simulate`` does, from options to exit code."""

from __future__ import annotations

import json
import shlex
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from fedcore.errors import FedcoreError, RunPausedError
from fedcore.plan.own_files import with_own_files
from fedcore.text.printable import printable_lines
from fedcore_server.runs.place import check_free, check_resumable, next_free
from fedcore_simulations.commands.more_rounds import More
from fedcore_simulations.commands.options import plan_from_options

_FAILED, _PAUSED, _INTERRUPTED = 2, 75, 130


def run_command(
    subject: str | None,
    options: Mapping[str, Any],
    settings: Sequence[str],
    *,
    out: Path | None,
    resume_from: Path | None,
    as_json: bool,
) -> int:
    """Run or resume a simulation, with a display on standard error; return the exit code."""
    console = Console(stderr=True, highlight=False)
    command = shlex.join(["fedcore", *sys.argv[1:]])
    more = More.of(subject, options, settings, out) if resume_from is not None else More()
    plan = with_own_files(plan_from_options(subject, options, settings)) if resume_from is None else None
    directory = resume_from or out or next_free(Path("runs"), _directory_name(plan.task.name if plan else ""))
    if plan is not None:
        check_free(directory)
    elif more.rounds is None:
        check_resumable(directory)
    console.print("preparing: data, partition, checks, privacy accounting …", style="dim")
    from fedcore_server.runs.release import exit_code  # torch: only once the plan is known to be right
    from fedcore_simulations.progress import RoundsDisplay, print_outcome
    from fedcore_simulations.runner import resume, simulate

    signal.signal(signal.SIGTERM, signal.default_int_handler)  # what batch systems send is a Ctrl-C too
    with RoundsDisplay(console) as display:
        try:
            if plan is None:
                result = resume(
                    directory,
                    rounds=more.rounds,
                    workers=options["engine.workers"],
                    engine=options["engine.name"],
                    listeners=[display],
                    command=command,
                )
            else:
                result = simulate(None, plan, out=directory, listeners=[display], command=command)
        except KeyboardInterrupt:
            display.stop()
            console.print("\nstopped")
            _say_how_to_resume(console, directory)
            return _INTERRUPTED
        except RunPausedError as error:
            display.stop()
            console.print(f"paused: {error}", soft_wrap=True, markup=False)
            _say_how_to_resume(console, directory)
            return _PAUSED
        except FedcoreError as error:
            if not display.has_started:
                raise
            display.stop()
            console.print(f"error: {printable_lines(str(error))}", soft_wrap=True, markup=False)
            _say_how_to_resume(console, directory)
            return _FAILED
    if as_json:
        print(json.dumps(result.summary, indent=2, ensure_ascii=False))
    else:
        print_outcome(Console(highlight=False), result.summary, directory)
    return exit_code(result.summary)


def _say_how_to_resume(console: Console, directory: Path) -> None:
    if (directory / "checkpoint" / "state.safetensors").is_file():
        again = shlex.join(["fedcore", "simulate", "--resume", str(directory)])
        console.print(f"the last finished round is kept. Resume with: {again}", soft_wrap=True)
    else:
        console.print("no round was finished; there is nothing to resume")


def _directory_name(task: str) -> str:
    return task.rpartition(":")[2].replace(".", "-") or "run"
