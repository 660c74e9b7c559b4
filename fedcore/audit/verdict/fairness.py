"""From tables to audits; estimates include every group, what is shown hides small groups."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from fedcore.audit.metrics.denominators import denominators, leeways
from fedcore.audit.metrics.estimate_gaps import gap_of
from fedcore.audit.metrics.gaps import Gap
from fedcore.audit.metrics.rate_gaps import gap_between
from fedcore.audit.metrics.rates import METRICS, Rate, group_rates, overall_rates
from fedcore.audit.metrics.regression import overall_estimates, value_estimates
from fedcore.audit.tables.crossing import ATTRIBUTE_MARK
from fedcore.audit.tables.groups import UNKNOWN, GroupTable
from fedcore.audit.tables.values import AuditTable, ValueTable
from fedcore.audit.verdict.attribute_audit import AttributeAudit
from fedcore.audit.verdict.settings import AuditSettings
from fedcore.audit.verdict.suppression import OF_ALL_ROWS, is_small, linked, thin_groups
from fedcore.errors import DataError

__all__ = [
    "METRICS",
    "Gap",
    "Rate",
    "audit_table",
    "audit_tables",
    "group_rates",
    "overall_rates",
]


def audit_tables(tables: Iterable[AuditTable], settings: AuditSettings) -> dict[str, AttributeAudit]:
    """Audit tables that are shown together, ``{attribute: audit}`` in their order.

    Small cells of a crossing stay hidden by its margins too.

    Raises:
        DataError: Two tables of one attribute; or a table cannot be read with these settings.
    """
    by_attribute: dict[str, AuditTable] = {}
    for table in tables:
        if table.attribute in by_attribute:
            raise DataError(f"two tables of attribute {table.attribute!r}: add them up before the audit")
        by_attribute[table.attribute] = table
    few = {attribute: _denominators(table, settings) for attribute, table in by_attribute.items()}
    hidden = thin_groups(
        {name: _of_all_rows(table, few[name]) for name, table in by_attribute.items()}, min_cell=settings.min_cell
    )
    thin = thin_groups(few, min_cell=settings.min_cell)
    found: dict[str, AttributeAudit] = {}
    for block in linked(by_attribute):
        pinned = {
            metric for attribute in block for metric in _pinning(by_attribute[attribute], settings, thin[attribute])
        }
        unpinned = tuple(metric for metric in OF_ALL_ROWS if metric not in pinned)
        for attribute in block:
            audit = audit_of(by_attribute[attribute], settings, hidden[attribute], thin[attribute], unpinned)
            found[attribute] = replace(audit, crosses_shown=ATTRIBUTE_MARK in attribute and len(block) > 1)
    return {attribute: found[attribute] for attribute in by_attribute}


def _pinning(table: AuditTable, settings: AuditSettings, thin: Collection[str]) -> tuple[str, ...]:
    """Return what is hidden of thin groups, because accuracy and selection rate would reveal almost all the rest.

    It is hidden for all that are thin in linked attributes, since these hide each other already: the
    accuracy, or if every class has a selection rate, those.
    """
    if isinstance(table, ValueTable):
        return ()
    left_open = leeways(table, threshold=settings.threshold)
    if not any(left_open[group] < settings.min_cell for group in thin if table.group_sizes[group]):
        return ()
    one_label = len(table.labels) == 2 or settings.favourable is not None
    return ("accuracy",) if one_label else ("selection_rate", "impact_ratio")


def _of_all_rows(table: AuditTable, found: Mapping[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
    """Return each group's total rows, with sampling weights also their effective number."""
    weighted = isinstance(table, GroupTable) and table.sampling is not None
    return {group: (rows[0], rows[len(rows) // 2]) if weighted else rows[:1] for group, rows in found.items()}


def _denominators(table: AuditTable, settings: AuditSettings) -> dict[str, tuple[int, ...]]:
    if isinstance(table, ValueTable):  # every number rests on all rows of the group
        return {group: (size,) for group, size in table.group_sizes.items()}
    return denominators(table, threshold=settings.threshold, favourable=settings.favourable)


def audit_table(table: GroupTable, settings: AuditSettings) -> AttributeAudit:
    """Audit one table that is shown alone; use ``audit_tables`` for several about the same rows.

    Raises:
        DataError: The threshold is on no bin edge of the table, or the table lacks the favourable label.
    """
    return audit_tables([table], settings)[table.attribute]


def audit_of(
    table: AuditTable,
    settings: AuditSettings,
    hidden: Collection[str],
    thin: Collection[str] = (),
    of_thin: tuple[str, ...] = OF_ALL_ROWS,
) -> AttributeAudit:
    """Audit one table, given what may be shown.

    Args:
        hidden: Groups that are not shown, as ``suppressed_groups`` finds them.
        thin: Groups that show only metrics over all rows, as ``thin_groups`` finds them.

    Raises:
        DataError: As ``audit_table``.
    """
    if isinstance(table, ValueTable):
        return _audit_of_values(table, settings, hidden)
    reading: dict[str, Any] = {
        "threshold": settings.threshold,
        "favourable": settings.favourable,
        "confidence": settings.confidence,
    }
    groups, gap = group_rates(table, **reading), partial(gap_between, table.attribute)
    totals = (sum(parts) for parts in zip(*_denominators(table, settings).values(), strict=True))
    audit = AttributeAudit(
        overall=overall_rates(table, **reading),
        groups=groups,
        thin=tuple(group for group in table.groups if group in thin and group not in hidden),
        thin_overall=is_small(totals, settings.min_cell),
        of_thin=of_thin,
        **_about(table, settings, hidden),
    )
    return _with_gaps(audit, groups, gap)


def _audit_of_values(table: ValueTable, settings: AuditSettings, hidden: Collection[str]) -> AttributeAudit:
    """Numbers have no rates; ``Measures`` has the metrics of every group, and this their gaps."""
    overall = {metric: one.measure(settings.confidence) for metric, one in overall_estimates(table).items()}
    audit = AttributeAudit(overall=overall, groups={}, **_about(table, settings, hidden))
    return _with_gaps(audit, value_estimates(table), partial(gap_of, table.attribute))


def _about(table: AuditTable, settings: AuditSettings, hidden: Collection[str]) -> dict[str, Any]:
    sizes = table.group_sizes
    return {
        "attribute": table.attribute,
        "settings": settings,
        "sizes": sizes,
        "gaps": {},
        "shown_gaps": {},
        "small": tuple(group for group, size in sizes.items() if 0 < size < settings.min_cell),
        "suppressed": tuple(group for group in table.groups if group in hidden),
        "not_judged": settings.not_judged(table.attribute, sizes),
    }


def _with_gaps(
    audit: AttributeAudit, quantities: Mapping[str, Mapping[str, Any]], gap: Callable[..., Gap]
) -> AttributeAudit:
    """Return the audit with the gaps of these quantities, over all judged groups and over those shown."""
    confidence = audit.settings.confidence

    def over(metric: str, groups: Collection[str]) -> Gap:
        return gap(metric, {g: one for g, one in quantities[metric].items() if g in groups}, confidence=confidence)

    gaps = {metric: over(metric, audit.judged) for metric in quantities}
    hidden = audit.suppressed or audit.thin
    return replace(
        audit,
        gaps=gaps,
        shown_gaps={metric: over(metric, audit.shown_in(metric)) for metric in quantities} if hidden else gaps,
        to_reference=against_reference(audit, quantities, gap),
    )


def against_reference(
    audit: AttributeAudit, quantities: Mapping[str, Mapping[str, Any]], gap: Callable[..., Gap]
) -> dict[str, dict[str, Gap]]:
    """Return ``{group: {metric: gap between it and the reference}}``, all groups at once (Bonferroni).

    Args:
        audit: Of the attribute; empty without a reference.
        quantities: ``{metric: {group: quantity}}``.
        gap: Makes the gap of a metric, two groups' quantities and a confidence.
    """
    reference = audit.reference
    others = [group for group in audit.judged if group not in (reference, UNKNOWN)]
    if reference is None or reference not in audit.sizes or not others:
        return {}
    each = 1 - (1 - audit.settings.confidence) / len(others)
    return {
        group: {
            metric: replace(
                gap(metric, {reference: found[reference], group: found[group]}, confidence=each), reference=reference
            )
            for metric, found in quantities.items()
        }
        for group in others
    }
