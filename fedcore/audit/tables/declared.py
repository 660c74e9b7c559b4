"""The tables that a plan declares, and the codes to fill them with."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from numpy.typing import NDArray

from fedcore.audit.tables.crossing import ATTRIBUTE_MARK, cross, crossed_codes
from fedcore.audit.tables.groups import GroupTable
from fedcore.audit.tables.values import AuditTable, ValueTable
from fedcore.data.examples import Examples
from fedcore.errors import DataError, PlanError
from fedcore.plan import AuditSection, RunPlan
from fedcore.task import Task, extras_of


def empty_tables(task: Task, plan: RunPlan) -> dict[str, AuditTable]:
    """A table of zeros for each audited attribute, by its name; the same on the server and on every client.

    Raises:
        PlanError: The plan lacks an attribute's vocabulary, or the task has neither labels to count nor numbers to sum.
    """
    if plan.audit.sensitive and not task.labels:
        return _tables_of_values(task, plan)
    scored = len(task.labels) == 2
    return {
        attribute: GroupTable.zeros(
            attribute=attribute,
            groups=_groups(attribute, plan.audit),
            labels=task.labels,
            num_bins=plan.audit.score_bins if scored else len(task.labels),
            scored=scored,
        )
        for attribute in plan.audit.sensitive
    }


def predicts_numbers(task: Task) -> bool:
    """Whether a task's targets are numbers: it has a ``target_range``."""
    return not task.labels and extras_of(task).target_range != ()


def target_range(task: Task, examples: Examples | None) -> tuple[float, float] | None:
    """The range of a numeric target, declared by the task or read from public data.

    Args:
        examples: The data; None if nothing may be read from it, such as the extremes of protected records.
    """
    if not predicts_numbers(task):
        return None
    declared = extras_of(task).target_range
    if declared or examples is None:
        return declared or None
    targets = examples.columns["targets"]
    return float(targets.min()), float(targets.max())


def _tables_of_values(task: Task, plan: RunPlan) -> dict[str, AuditTable]:
    if not predicts_numbers(task):
        raise PlanError(
            f"audit.sensitive: task {task.name!r} has neither labels nor a target_range, and the audit counts labels "
            "or sums the errors of numbers; leave it empty"
        )
    span = plan.audit.target_range or extras_of(task).target_range or None
    problems = [*_problems_of_values(task, plan, span)]
    if span is None or problems:
        raise PlanError(problems)
    return {
        attribute: ValueTable.zeros(
            attribute=attribute, groups=_groups(attribute, plan.audit), span=span, num_bins=plan.audit.score_bins
        )
        for attribute in plan.audit.sensitive
    }


def _problems_of_values(task: Task, plan: RunPlan, span: tuple[float, float] | None) -> Iterator[str]:
    if span is None:
        yield (
            f"audit.target-range: the targets of task {task.name!r} are numbers; declare the least and the greatest "
            "that there can be"
        )
    if plan.privacy.evaluation_noise_multiplier is not None:
        yield (
            "privacy.evaluation-noise-multiplier: of a numeric target the audit sums errors, and no noise is put on "
            "these sums; leave it out, or leave audit.sensitive empty"
        )
    if plan.audit.favourable is not None:
        yield "audit.favourable: it names a label, and the targets of the task are numbers"


def declared_vocabularies(audit: AuditSection, examples: Examples) -> dict[str, tuple[str, ...]]:
    """The vocabularies of the audited attributes, read from data that represents every client's.

    Raises:
        PlanError: Names every audited attribute that the data lacks, or has with another vocabulary than the
            plan declares: a client would refuse such a plan.
    """
    wanted = [part for attribute in audit.sensitive for part in attribute.split(ATTRIBUTE_MARK)]
    absent = [name for name in dict.fromkeys(wanted) if name not in examples.attributes]
    if absent:
        known = ", ".join(examples.attributes) or "none"
        raise PlanError([f"audit.sensitive: the data has no attribute {name!r}; it has {known}" for name in absent])
    found = {name: examples.attributes[name].vocabulary for name in dict.fromkeys(wanted)}
    declared = {name: groups for name, groups in audit.vocabularies.items() if name in found}
    if differing := [name for name, groups in declared.items() if groups != found[name]]:
        raise PlanError([_difference(name, declared[name], found[name]) for name in differing])
    return found


def _difference(name: str, declared: Sequence[str], found: Sequence[str]) -> str:
    parts = [f"group {group!r} of the data is not declared" for group in found if group not in declared]
    parts += [f"the data has no group {group!r}" for group in declared if group not in found]
    differences = ", ".join(parts) or "the data has these groups in another order or number"
    groups = ", ".join(f'"{group}"' for group in found)
    return f"audit.vocabularies: of {name!r}, {differences}; write {name} = [{groups}], or leave it out in a simulation"


def attribute_codes(examples: Examples, attribute: str, audit: AuditSection) -> NDArray[Any]:
    """Each row's group, as a position in the declared vocabulary.

    Raises:
        DataError: The rows lack the attribute, or have it with another vocabulary than the plan declares.
    """
    names = attribute.split(ATTRIBUTE_MARK)
    for name in names:
        found = examples.attributes.get(name)
        if found is None or found.vocabulary != audit.vocabularies[name]:
            raise DataError(f"the data has no attribute {name!r} with the vocabulary that the plan declares")
    codes = {name: examples.attributes[name].codes.cpu().numpy() for name in names}
    if len(names) == 1:
        return codes[attribute]
    return crossed_codes(_parts(attribute, audit), codes)


def _groups(attribute: str, audit: AuditSection) -> tuple[str, ...]:
    parts = _parts(attribute, audit)
    return cross(parts) if len(parts) > 1 else tuple(parts[attribute])


def _parts(attribute: str, audit: AuditSection) -> Mapping[str, tuple[str, ...]]:
    names = attribute.split(ATTRIBUTE_MARK)
    absent = [name for name in names if name not in audit.vocabularies]
    if absent:
        raise PlanError([f"audit.vocabularies: missing the categories of {name!r}" for name in absent])
    return {name: audit.vocabularies[name] for name in names}
