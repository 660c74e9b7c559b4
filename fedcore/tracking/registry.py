"""The trackers that a plan names in ``run.track``, and ``fedcore track`` in ``--to``."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING

from fedcore.errors import PlanError
from fedcore.listeners import RunListener
from fedcore.plugins import Reference, Registry

if TYPE_CHECKING:
    from fedcore.plan import RunPlan

TRACKERS = Registry(
    what="tracker",
    rows={
        "mlflow": "fedcore.tracking.mlflow:MlflowTracker",
        "tensorboard": "fedcore.tracking.tensorboard:TensorboardTracker",
    },
    parts=("run_begins", "round_closed", "run_ends"),
)


def check_tracker(reference: Reference) -> None:
    """Refuse a tracker that is unknown or not installed; nothing heavy is imported.

    A registered tracker names the package that it needs in ``package``; the extra that installs it has the tracker's
    name.

    Raises:
        PlanError: With the nearest name, or with the command that installs it.
    """
    name = TRACKERS.read(reference).name
    if name not in TRACKERS.rows:
        return
    package = TRACKERS.load(name).package
    if importlib.util.find_spec(package) is None:
        raise PlanError(f"tracker {name!r} needs {package}, which is not installed: pip install 'fedcore[{name}]'")


def load_tracker(reference: Reference) -> RunListener:
    """A new tracker.

    Raises:
        PlanError: It is unknown or not installed, or its options are wrong.
        TaskError: One of your own cannot be imported, or lacks a part.
    """
    check_tracker(reference)
    tracker: RunListener = TRACKERS.make(reference)
    return tracker


def load_trackers(plan: RunPlan) -> tuple[RunListener, ...]:
    """The trackers that a plan names, checked before anything is trained.

    Raises:
        PlanError: See `load_tracker`.
        TaskError: See `load_tracker`.
    """
    return tuple(map(load_tracker, plan.run.track))
