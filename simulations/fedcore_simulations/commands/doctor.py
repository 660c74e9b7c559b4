"""The subcommand ``doctor``. Imports nothing heavy: help must be instant."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Home = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR", help="Home of a server or of a client; without it, only this machine.", show_default=False
    ),
]
PlanFile = Annotated[
    Path | None,
    typer.Option(
        "--plan",
        metavar="PLAN",
        help="Plan that is to be run; its task is built, unless a client's policy forbids it.",
        show_default=False,
    ),
]
Data = Annotated[
    list[str] | None,
    typer.Option(metavar="NAME=PATH", help="A data set, tried with the plan's task; may be repeated."),
]


def doctor(
    home: Home = None,
    plan: PlanFile = None,
    data: Data = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON alone on standard output.")] = False,
) -> None:
    """Check before a run what would fail in it; exit code 1 when something would. Nothing is changed.

    Examples:
      fedcore doctor
      fedcore doctor --home federation --plan plan.toml
      fedcore doctor --home hospital-a --plan plan.toml --data wards=wards.csv
    """
    from fedcore_simulations.commands.doctor_run import diagnose, print_page

    diagnosis = diagnose(home, plan, _paths(data or []))
    if as_json:
        import json

        print(json.dumps(diagnosis.to_json(), indent=2, ensure_ascii=False))
    else:
        print_page(diagnosis)
    raise typer.Exit(1 if diagnosis.problems else 0)


def _paths(data: list[str]) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for each in data:
        name, separator, path = each.partition("=")
        if not (name and separator and path):
            raise typer.BadParameter(f"expected NAME=PATH, found {each!r}", param_hint="--data")
        found[name] = Path(path)
    return found
