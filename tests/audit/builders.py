"""Builders with defaults; a test names only what it is about."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fedcore.audit.tables.groups import UNKNOWN, GroupTable
from fedcore.audit.verdict.attribute_audit import AttributeAudit
from fedcore.audit.verdict.fairness import audit_table
from fedcore.audit.verdict.hooks import AuditContext, Point
from fedcore.audit.verdict.limits import Limit
from fedcore.audit.verdict.report import BiasReport
from fedcore.audit.verdict.settings import AuditSettings

LABELS = ("no", "yes")


def table_of(
    groups: Mapping[str, Sequence[int]], *, attribute: str = "sex", labels: Sequence[str] = LABELS
) -> GroupTable:
    """Return an unscored binary table from ``{group: (tn, fp, fn, tp)}``, with "unknown" added if absent."""
    cells = {**groups} if UNKNOWN in groups else {**groups, UNKNOWN: (0, 0, 0, 0)}
    counts = np.array([np.reshape(cell, (2, 2)) for cell in cells.values()], dtype=np.int64)
    return GroupTable(
        attribute=attribute,
        groups=tuple(cells),
        labels=tuple(labels),
        num_bins=2,
        scored=False,
        counts=counts,
    )


def table_of_selections(groups: Mapping[str, tuple[int, int]], *, attribute: str = "sex") -> GroupTable:
    """Return a table from ``{group: (selected, rows)}``, in which every row's label is "yes"."""
    cells = {group: (0, 0, rows - selected, selected) for group, (selected, rows) in groups.items()}
    return table_of(cells, attribute=attribute)


def audit_of_selections(
    groups: Mapping[str, tuple[int, int]], *, attribute: str = "sex", **settings: Any
) -> AttributeAudit:
    return audit_table(table_of_selections(groups, attribute=attribute), AuditSettings(**settings))


def shown_json(audit: AttributeAudit) -> dict[str, Any]:
    """Return what a run writes of one attribute, audited alone."""
    report = BiasReport(plan_sha256="", round=1, settings=audit.settings, audits={audit.attribute: audit})
    content = report.to_json()
    return {name: content[name][audit.attribute] for name in ("overall", "groups", "gaps", "suppressed")}


def limit_of(**parts: Any) -> Limit:
    kind = parts.pop("kind", "difference")
    bound = {"at_most": "0.1"} if kind == "difference" else {"at_least": "0.8"}
    return Limit.of(parts.pop("metric", "selection_rate"), kind=kind, **{**bound, **parts})


def context_of(audits: Mapping[str, AttributeAudit] | None = None, **parts: Any) -> AuditContext:
    fields: dict[str, Any] = {
        "point": Point.BEFORE_RELEASE,
        "round": 3,
        "tables": {"sex": table_of_selections({"female": (30, 100), "male": (40, 100)})},
        "audits": audits or {"sex": audit_of_selections({"female": (30, 100), "male": (40, 100)})},
        "metrics": {"loss": 0.5},
        "plan_sha256": "0" * 64,
        "epsilon": None,
    }
    return AuditContext(**{**fields, **parts})
