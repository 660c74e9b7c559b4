"""The engines that a plan names in ``engine.name``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
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
    rows={
        "batched": "fedcore_simulations.engines.batched.engine:BatchedEngine",
        "compiled": "fedcore_simulations.engines.compiled.engine:CompiledEngine",
        "loop": "fedcore_simulations.engines.loop:LoopEngine",
        "ray": "fedcore_simulations.engines.ray.engine:RayEngine",
    },
    parts=("refusal", "available", "train", "evaluate", "__enter__", "__exit__"),
)
_AUTOMATIC = ("compiled", "batched", "loop")  # fastest first; the last one takes every run
_WORTH_COMPILING = 20_000
"""Client-rounds from which on importing numba, and compiling at its first use, cost less than they save."""


def check_engine(reference: Reference) -> None:
    """Refuse a name that no engine has; nothing is imported.

    Raises:
        PlanError: With the nearest name.
    """
    if reference != AUTO:
        ENGINES.read(reference)


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """The engine of a run.

    Attributes:
        note: Why it is not a faster one; empty where it is the fastest, or the plan's own.
    """

    reference: Reference
    note: str = ""


def choose_engine(task: Task, plan: RunPlan, clients: Sequence[Client], device: torch.device) -> Choice:
    """The engine that the plan names, or for ``auto`` the fastest that trains this run exactly.

    It depends on the plan, the task and what is installed, not on how fast each happened to be, so that the same plan
    gives the same bits. A short run does without ``compiled``.

    Raises:
        PlanError: It cannot train this run exactly, and says why.
        TaskError: An engine of your own cannot be imported.
    """
    automatic, why = plan.engine.name == AUTO, list[str]()
    for reference in _automatic(plan, len(clients)) if automatic else (plan.engine.name,):
        refusal = build_engine(reference, task, plan, clients, device).refusal()
        if refusal is None:
            return Choice(reference=reference, note="; ".join(why))
        why.append(f"engine {name_of(reference)!r} cannot run this plan: {refusal}")
    raise PlanError(why[-1] if automatic else f"{why[-1]}; use another engine.name, or auto")


def _automatic(plan: RunPlan, clients: int) -> Sequence[str]:
    asked = plan.federation.rounds * (plan.federation.cohort_size or clients)
    return _AUTOMATIC if asked >= _WORTH_COMPILING else _AUTOMATIC[1:]


def build_engine(
    reference: Reference,
    task: Task,
    plan: RunPlan,
    clients: Sequence[Client],
    device: torch.device,
    *,
    memory: Path | None = None,
) -> Engine:
    """An engine, not yet started.

    Args:
        memory: Directory of what clients keep between rounds; a temporary one where it is not given.
    """
    from fedcore_simulations.engines.workers import default_workers

    workers = plan.engine.workers or default_workers()
    engine: Engine = ENGINES.make(reference, task, plan, clients, num_workers=workers, device=device, memory=memory)
    return engine
