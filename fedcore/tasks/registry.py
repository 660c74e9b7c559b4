"""From the name in a plan to a task."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from fedcore.errors import PlanError, TaskError
from fedcore.plugins import Plugin, Registry, load_object, search_working_directory

if TYPE_CHECKING:
    from fedcore.plan import RunPlan
    from fedcore.task import Task, TaskExtras

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

_EARLY = {"tabular": "fedcore.tasks.tabular.settings:check_columns_of"}
_PARTS = ("build_model", "load_data", "loss", "predict", "measure")


def load_task(plan: RunPlan) -> Task:
    """Build the task that a plan names, with the plan's options.

    Raises:
        TaskError: It cannot be imported or built, or lacks a part of the contract.
    """
    from_plan = _extras(plan).from_plan
    made = _from_options(_read(plan.task.name), plan.task.options) if from_plan is None else _made(from_plan, plan)
    return checked_task(made, plan.task.name)


def settled(plan: RunPlan) -> RunPlan:
    """The plan with the content of the files that its task's options name, so that its hash and its clients have it.

    Raises:
        TaskError: The task cannot be imported.
        FedcoreError: A file cannot be used.
    """
    settle = _extras(plan).settle
    return plan if settle is None else settle(plan)


def makes_clients(plan: RunPlan) -> bool:
    """Whether the task's data has as many clients as the plan says."""
    return _extras(plan).makes_clients


def check_known(name: str) -> None:
    """Refuse a name that no reference task has; what it takes to import one is left to `load_task`.

    Raises:
        TaskError: With the nearest name.
    """
    _read(name)


def check_early(plan: RunPlan) -> None:
    """Refuse what is wrong with a plan's task, as far as that shows before anything slow is imported.

    Raises:
        TaskError: There is no such task, or no such module.
        PlanError, DataError: Its options or its table are wrong.
    """
    plugin = _read(plan.task.name)
    if plugin.name in _EARLY:
        load_object(_EARLY[plugin.name], what="check")(plan)
    if plugin.name not in TASKS.rows and not _has_module(plugin.target):
        TASKS.load(plan.task.name)  # raises the error of its import


def _has_module(target: str) -> bool:
    search_working_directory()
    try:
        return find_spec(target.partition(":")[0]) is not None
    except (ImportError, ValueError):
        return False


def _extras(plan: RunPlan) -> TaskExtras:
    from fedcore.task import extras_of  # torch

    _read(plan.task.name)
    return extras_of(TASKS.load(plan.task.name))


def _made(from_plan: Callable[[RunPlan], Task], plan: RunPlan) -> Task:
    try:
        return from_plan(plan)
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
