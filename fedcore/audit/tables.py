"""The group tables that a plan declares, and the codes to fill them with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

from fedcore.audit.crossing import ATTRIBUTE_MARK, cross, crossed_codes
from fedcore.audit.groups import GroupTable
from fedcore.errors import DataError, PlanError
from fedcore.examples import Examples
from fedcore.plan import AuditSection, RunPlan
from fedcore.task import Task


def empty_tables(task: Task, plan: RunPlan) -> dict[str, GroupTable]:
    """A table of zeros for each audited attribute, by its name; the same on the server and on every client.

    Raises:
        PlanError: The plan lacks an attribute's vocabulary, or the task has no labels to count.
    """
    if plan.audit.sensitive and not task.labels:
        raise PlanError(
            f"audit.sensitive: task {task.name!r} has no labels, and the audit counts labels; leave it empty"
        )
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


def declared_vocabularies(audit: AuditSection, examples: Examples) -> dict[str, tuple[str, ...]]:
    """The vocabularies of the audited attributes, taken from data that stands for everyone's.

    Raises:
        PlanError: Names every audited attribute that the data does not have.
    """
    wanted = [part for attribute in audit.sensitive for part in attribute.split(ATTRIBUTE_MARK)]
    absent = [name for name in dict.fromkeys(wanted) if name not in examples.attributes]
    if absent:
        known = ", ".join(examples.attributes) or "none"
        raise PlanError([f"audit.sensitive: the data has no attribute {name!r}; it has {known}" for name in absent])
    return {name: examples.attributes[name].vocabulary for name in dict.fromkeys(wanted)}


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
