"""The subcommand ``track``. Imports nothing heavy: help must be instant."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fedcore.tracking.registry import TRACKERS

Run = Annotated[Path, typer.Argument(metavar="RUN", help="The directory of a run.", show_default=False)]
To = Annotated[
    list[str],
    typer.Option("--to", metavar="TRACKER", help=f"{TRACKERS.choices()}; may be repeated."),
]


def track(run: Run, to: To) -> None:
    """Copy a run that is finished, paused or stopped to MLflow or TensorBoard.

    Examples:
      fedcore track runs/digits-0001 --to mlflow
      fedcore track federation/runs/digits-0001 --to tensorboard
    """
    from fedcore.text.wording import counted
    from fedcore.tracking.registry import check_tracker, load_tracker

    for name in to:
        check_tracker(name)
    from fedcore.tracking.replay import replay

    rounds = replay(run, [load_tracker(name) for name in to])
    print(f"{counted(rounds, 'round')} of {run} copied to {', '.join(to)}")
