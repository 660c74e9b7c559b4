"""The audited attribute that an algorithm uses."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from fedcore.audit.tables.groups import GroupTable
from fedcore.audit.tables.values import AuditTable
from fedcore.errors import DataError

if TYPE_CHECKING:
    from fedcore.plan import RunPlan


def audited_attribute(attribute: str, plan: RunPlan) -> str:
    """The named attribute, or the only one."""
    return attribute or plan.audit.sensitive[0]


def attribute_problems(attribute: str, plan: RunPlan) -> Iterator[str]:
    audited = plan.audit.sensitive
    if not attribute and len(audited) != 1:
        yield f"attribute: one is needed; audit.sensitive has {len(audited)}"
    if attribute and attribute not in audited:
        yield f"attribute: {attribute!r} is not audited; add it to audit.sensitive"


def label_problems(tables: Mapping[str, AuditTable]) -> Iterator[str]:
    if any(not isinstance(table, GroupTable) for table in tables.values()):
        yield "it needs labels, and the targets of the task are numbers"


def labelled(table: AuditTable) -> GroupTable:
    """The table of a task with labels; a task without is refused before the first round."""
    if isinstance(table, GroupTable):
        return table
    raise DataError(f"attribute {table.attribute!r}: a table of groups and labels is needed; the targets are numbers")
