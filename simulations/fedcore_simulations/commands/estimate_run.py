"""What ``fedcore simulate --estimate`` does."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from fedcore.errors import PlanError
from fedcore.plan.own_files import with_own_files
from fedcore_simulations.commands.options import plan_from_options


def estimate_command(
    subject: str | None,
    options: Mapping[str, Any],
    settings: Sequence[str],
    *,
    resume_from: Path | None,
    as_json: bool,
) -> int:
    """Print what the run would take; nothing is written.

    Raises:
        FedcoreError: The plan cannot be run.
    """
    if resume_from is not None:
        raise PlanError("--estimate is about a run from its start; leave --resume out")
    plan = with_own_files(plan_from_options(subject, options, settings))
    Console(stderr=True, highlight=False).print("preparing, and trying a few clients …", style="dim")
    from fedcore.tasks.registry import load_task
    from fedcore_simulations.estimate import estimate

    found = estimate(load_task(plan), plan)
    if as_json:
        print(json.dumps(asdict(found), indent=2))
        return 0
    table = Table.grid(padding=(0, 2))
    for name, text in found.lines():
        table.add_row(name, text)
    Console(highlight=False).print(table)
    return 0
