"""The subcommand ``sweep``. Imports nothing heavy: help must be instant."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Subject = Annotated[
    str | None,
    typer.Argument(
        metavar="[PLAN.toml|SCENARIO|TASK]",
        help="What every run is of, as in fedcore simulate. Default: digits.",
        show_default=False,
    ),
]
Vary = Annotated[
    list[str] | None,
    typer.Option(
        metavar="SECTION.KEY=VALUE,VALUE",
        help="Values of a key of the plan; repeat it for more keys. Commas inside quotes, brackets or braces do not "
        'separate: aggregation.encode=["int8"],["top-k:0.1","int8"].',
    ),
]
Seeds = Annotated[int, typer.Option(min=1, help="Runs of each combination, with the plan's seed and the next ones.")]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="SECTION.KEY=VALUE", help="Set any key of the plan, for every run."),
]
Out = Annotated[
    Path | None,
    typer.Option(
        help="Directory of the sweep; default runs/sweep-TASK-0001 and so on, and the same for the same grid."
    ),
]
Jobs = Annotated[
    int | None,
    typer.Option(min=1, help="Runs side by side, each in a process; default one for each core, and 1 on a GPU."),
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before a large sweep.")]
Json = Annotated[bool, typer.Option("--json", help="Print the rows of the table as JSON.")]


def sweep(  # noqa: PLR0917 - typer reads the options from the signature
    subject: Subject = None,
    vary: Vary = None,
    seeds: Seeds = 1,
    settings: Settings = None,
    out: Out = None,
    jobs: Jobs = None,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Run a grid of settings, each with several seeds, and compare the results.

    Each run is an ordinary run directory. After Ctrl-C, give the same command again: finished runs are skipped, and
    stopped ones are resumed. A larger grid in the same --out adds runs.

    Examples:
      fedcore sweep digits --vary privacy.epsilon=1,2,4,8 --vary federation.partition=iid,dirichlet:0.3 --seeds 3
      fedcore sweep plan.toml --vary training.learning-rate=0.01,0.1 --set federation.rounds=20 --out runs/rates
    """
    from fedcore_simulations.commands.sweep_run import sweep_command

    raise typer.Exit(
        sweep_command(subject, vary or [], settings or [], seeds=seeds, out=out, jobs=jobs, yes=yes, as_json=as_json)
    )
