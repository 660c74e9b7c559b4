"""From the name in a plan to a task."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from fedcore.errors import PlanError, TaskError
from fedcore.plugins import Plugin, Registry, load_object

if TYPE_CHECKING:
    from fedcore.plan import RunPlan
    from fedcore.task import Task

TASKS = Registry(
    what="task",
    rows={
        "digits": "fedcore.tasks.digits:Digits",
        "diabetes": "fedcore.tasks.diabetes:Diabetes",
        "diabetes-progression": "fedcore.tasks.diabetes:DiabetesProgression",
        "tabular": "fedcore.tasks.tabular.task:Tabular",
        "synthetic": "fedcore.tasks.synthetic:Synthetic",
    },
)

MAKE_CLIENTS = frozenset({"synthetic"})
"""Tasks whose data has as many clients as the plan says."""

_PARTS = ("build_model", "load_data", "loss", "predict", "measure")


def load_task(plan: RunPlan) -> Task:
    """Build the task that a plan names, with the plan's options.

    A class with a ``from_plan`` method is given the whole plan instead of ``task.options``.

    Raises:
        TaskError: It cannot be imported or built, or lacks a part of the contract.
    """
    plugin = _read(plan.task.name)
    found = load_object(plugin.target, what="task")
    made = _from_plan(found, plan) if hasattr(found, "from_plan") else _from_options(plugin, plan.task.options)
    return checked_task(made, plan.task.name)


def settled(plan: RunPlan) -> RunPlan:
    """The plan with the content of the files that its task's options name, so that its hash and its clients have it.

    A task that reads files has a class method ``settle``, from a plan to a plan.

    Raises:
        TaskError: The task cannot be imported.
        FedcoreError: A file cannot be used.
    """
    settle = getattr(load_object(_read(plan.task.name).target, what="task"), "settle", None)
    if settle is None:
        return plan
    found: RunPlan = settle(plan)
    return found


def check_known(name: str) -> None:
    """Refuse a name that no reference task has; what it takes to import one is left to whoever loads it.

    Raises:
        TaskError: With the nearest name.
    """
    _read(name)


def _from_plan(found: Any, plan: RunPlan) -> Any:
    try:
        return found.from_plan(plan)
    except TypeError as error:
        raise TaskError(f"task {plan.task.name!r} cannot be built from task.options: {error}") from error


def _from_options(plugin: Plugin, options: Mapping[str, Any]) -> Any:
    try:
        return TASKS.build(replace(plugin, options=options))
    except PlanError as error:
        raise TaskError(f"task.options: {error}") from error


def _read(name: str) -> Plugin:
    try:
        return TASKS.read(name)
    except PlanError as error:
        raise TaskError(str(error)) from None


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
