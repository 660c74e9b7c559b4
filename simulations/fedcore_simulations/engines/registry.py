"""The engines that a plan names in ``engine.name``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fedcore.errors import PlanError
from fedcore.plugins import Reference, Registry, name_of

if TYPE_CHECKING:
    import torch

    from fedcore.plan import RunPlan
    from fedcore.task import Task
    from fedcore_clients.training.local_model import Client
    from fedcore_simulations.engines.contract import Engine

AUTO = "auto"
ENGINES = Registry(
    what="engine",
    rows={"loop": "fedcore_simulations.engines.loop:LoopEngine"},  # fastest first; the last one takes every run
    parts=("refusal", "available", "train", "evaluate", "__enter__", "__exit__"),
)


def check_engine(reference: Reference) -> None:
    """Refuse a name that no engine has; nothing is imported.

    Raises:
        PlanError: With the nearest name.
    """
    if reference != AUTO:
        ENGINES.read(reference)


def build_engine(
    task: Task, plan: RunPlan, clients: Sequence[Client], device: torch.device, *, memory: Path | None = None
) -> Engine:
    """The engine that the plan names, not yet started; for ``auto`` the first that can run this plan.

    Args:
        memory: Directory of what clients keep between rounds; a temporary one where it is not given.

    Raises:
        PlanError: It cannot train this run exactly, and says why.
        TaskError: An engine of your own cannot be imported.
    """
    from fedcore_simulations.engines.workers import default_workers

    workers = plan.engine.workers or default_workers()
    why = ""
    for reference in ENGINES.rows if plan.engine.name == AUTO else (plan.engine.name,):
        engine: Engine = ENGINES.make(reference, task, plan, clients, num_workers=workers, device=device, memory=memory)
        if (refusal := engine.refusal()) is None:
            return engine
        why = f"engine {name_of(reference)!r} cannot run this plan: {refusal}; use another engine.name, or auto"
    raise PlanError(why)
