"""``fedcore audit privacy-cost``. Imports nothing heavy: help must be instant."""

from __future__ import annotations

from typing import Annotated

import typer


def privacy_cost(
    plan: Annotated[str, typer.Argument(metavar="PLAN.toml|SCENARIO", help="A plan with privacy and an audit.")],
    runs: Annotated[int, typer.Option(min=1, help="Runs of each arm; more runs, narrower intervals.")] = 3,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON alone.")] = False,
) -> None:
    """Measure what privacy costs each group: in total, by clipping, and by noise.

    The plan is trained here without clipping, with clipping alone, and as it is, on the same rows; the models are
    thrown away. The first two arms are not private: keep the output where the data are.

    Example:
      fedcore audit privacy-cost digits --runs 5
    """
    from fedcore_simulations.commands.options import plan_from_options

    parsed = plan_from_options(plan, {}, [])
    from fedcore_simulations.privacy_cost.command_run import cost_command  # torch: once the plan is known to be right

    raise typer.Exit(cost_command(parsed, runs=runs, as_json=as_json))
