"""From the name in a plan to a task."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Any

from fedcore.errors import TaskError
from fedcore.plugins import load_object

if TYPE_CHECKING:
    from fedcore.plan import RunPlan
    from fedcore.task import Task

REFERENCE_TASKS = {
    "digits": "fedcore.tasks.digits:Digits",
    "diabetes": "fedcore.tasks.diabetes:Diabetes",
    "diabetes-progression": "fedcore.tasks.diabetes:DiabetesProgression",
    "tabular": "fedcore.tasks.tabular.task:Tabular",
    "synthetic": "fedcore.tasks.synthetic:Synthetic",
}

MAKE_CLIENTS = frozenset({"synthetic"})
"""Tasks whose data has as many clients as the plan says."""

_PARTS = ("build_model", "load_data", "loss", "predict", "measure")


def load_task(plan: RunPlan) -> Task:
    """Build the task that a plan names, with the plan's options.

    The object may be a task, or a class or function that makes one from ``task.options``. A class with a
    ``from_plan`` method is given the whole plan instead.

    Raises:
        TaskError: It cannot be imported or built, or lacks a part of the contract.
    """
    return checked_task(_build(_found(plan.task.name), plan), plan.task.name)


def settled(plan: RunPlan) -> RunPlan:
    """The plan with the content of the files that its task's options name, so that its hash and its clients have it.

    A task that reads files has a class method ``settle``, from a plan to a plan.

    Raises:
        TaskError: The task cannot be imported.
        FedcoreError: A file cannot be used.
    """
    settle = getattr(_found(plan.task.name), "settle", None)
    if settle is None:
        return plan
    found: RunPlan = settle(plan)
    return found


def check_known(name: str) -> None:
    """Refuse a name that no reference task has; what it takes to import one is left to whoever loads it.

    Raises:
        TaskError: With the nearest name.
    """
    if ":" not in name and name not in REFERENCE_TASKS:
        near = difflib.get_close_matches(name, REFERENCE_TASKS, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(REFERENCE_TASKS)}."
        raise TaskError(f"no reference task {name!r}; {hint} A task of your own is named module:object")


def _found(name: str) -> Any:
    check_known(name)
    return load_object(REFERENCE_TASKS.get(name, name), what="task")


def checked_task(made: Any, name: str) -> Task:
    """Refuse an object that lacks a part of the contract.

    Raises:
        TaskError: Names every missing part.
    """
    missing = [part for part in _PARTS if not callable(getattr(made, part, None))]
    if missing:
        raise TaskError(f"task {name!r} lacks {', '.join(missing)}; see fedcore.task.Task, or subclass a task family")
    if not isinstance(getattr(made, "name", None), str):
        raise TaskError(f"task {name!r} needs a text attribute 'name', shown in results")
    if not isinstance(getattr(made, "labels", None), tuple):
        raise TaskError(f"task {name!r} needs an attribute 'labels': a tuple of class names, () where there are none")
    task: Task = made
    return task


def _build(found: Any, plan: RunPlan) -> Any:
    try:
        if hasattr(found, "from_plan"):
            return found.from_plan(plan)
        if isinstance(found, type) or not hasattr(found, "build_model"):
            return found(**plan.task.options)
    except TypeError as error:
        raise TaskError(f"task {plan.task.name!r} cannot be built from task.options: {error}") from error
    return found
