"""The subcommands of ``fedcore lint``. Imports nothing heavy: help must be instant."""

from __future__ import annotations

from typing import Annotated

import typer

lint = typer.Typer(
    name="lint",
    help="Find what would make a claim false, before anything is trained.",
    no_args_is_help=True,
    rich_markup_mode="rich",
)


@lint.callback()
def _group() -> None:
    """Keep `privacy` a subcommand, though it is the only one."""


@lint.command()
def privacy(
    subject: Annotated[
        str, typer.Argument(metavar="PLAN", help="A plan file, a task, or a scenario, as for simulate.")
    ],
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="SECTION.KEY=VALUE", help="Set any key of the plan.")
    ] = None,
    no_measure: Annotated[bool, typer.Option("--no-measure", help="Do not read the plan's data.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Refuse a plan, model or loss whose privacy claim would be false; one line for each finding.

    Rules are in docs/privacy-linter.md. Exit code 1 when something is refused, 0 when nothing is, 2 for a plan that
    cannot be read. Every run applies the same rules before it starts.

    Example:
      fedcore lint privacy plan.toml
    """
    from fedcore_simulations.commands.options import plan_from_options

    plan = plan_from_options(subject, {}, settings or [])
    from fedcore_simulations.commands.lint_run import (  # torch: once the plan is right
        lint_plan,
        print_findings,
        print_json,
    )

    report = lint_plan(plan, measure=not no_measure)
    (print_json if as_json else print_findings)(report)
    if report.refused:
        raise typer.Exit(1)
