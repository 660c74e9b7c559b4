"""From tables to audits; estimates include every group, what is shown hides small groups."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from typing import Any

from fedcore.audit.metrics.catalogue import value_estimates
from fedcore.audit.metrics.confusion import denominators, leeways
from fedcore.audit.metrics.gaps import Gap
from fedcore.audit.metrics.group_gaps import Quantity, at_confidence, gap_between
from fedcore.audit.metrics.rates import group_rates
from fedcore.audit.tables.crossing import ATTRIBUTE_MARK
from fedcore.audit.tables.groups import UNKNOWN, GroupTable
from fedcore.audit.tables.values import AuditTable, ValueTable
from fedcore.audit.verdict.attribute_audit import AttributeAudit
from fedcore.audit.verdict.settings import AuditSettings
from fedcore.audit.verdict.suppression import OF_ALL_ROWS, is_small, linked, thin_groups
from fedcore.errors import DataError


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
    sizes = table.group_sizes
    totals = (sum(parts) for parts in zip(*_denominators(table, settings).values(), strict=True))
    quantities = _quantities(table, settings)
    overall = {metric: of[UNKNOWN] for metric, of in _quantities(table.whole(), settings).items()}
    audit = AttributeAudit(
        attribute=table.attribute,
        settings=settings,
        sizes=sizes,
        overall={metric: at_confidence(one, settings.confidence) for metric, one in overall.items()},
        groups={} if isinstance(table, ValueTable) else quantities,
        gaps={},
        shown_gaps={},
        small=tuple(group for group, size in sizes.items() if 0 < size < settings.min_cell),
        suppressed=tuple(group for group in table.groups if group in hidden),
        thin=tuple(group for group in table.groups if group in thin and group not in hidden),
        thin_overall=is_small(totals, settings.min_cell),
        of_thin=of_thin,
        not_judged=settings.not_judged(table.attribute, sizes),
    )
    return with_gaps(audit, quantities)


def _quantities(table: AuditTable, settings: AuditSettings) -> Mapping[str, Mapping[str, Any]]:
    """Return ``{metric: {group: rate, or for numbers an estimate}}``."""
    return value_estimates(table) if isinstance(table, ValueTable) else group_rates(table, **settings.reading)


def with_gaps(audit: AttributeAudit, quantities: Mapping[str, Mapping[str, Quantity]]) -> AttributeAudit:
    """Return the audit with the gaps of these quantities, too: over all judged groups, and over those shown."""

    def over(metric: str, groups: Iterable[str], confidence: float = audit.settings.confidence) -> Gap:
        kept = {group: quantities[metric][group] for group in groups if group in quantities[metric]}
        return gap_between(audit.attribute, metric, kept, confidence=confidence)

    def against(group: str, each: float) -> dict[str, Gap]:
        pair = (str(audit.reference), group)
        return {metric: replace(over(metric, pair, each), reference=audit.reference) for metric in quantities}

    gaps = {metric: over(metric, audit.judged) for metric in quantities}
    hidden = audit.suppressed or audit.thin
    shown = {metric: over(metric, audit.shown_in(metric)) for metric in quantities} if hidden else gaps
    others = [group for group in audit.judged if group not in (audit.reference, UNKNOWN)]
    if audit.reference not in audit.sizes:
        others = []
    each = 1 - (1 - audit.settings.confidence) / max(1, len(others))  # of all groups at once (Bonferroni)
    return replace(
        audit,
        gaps={**audit.gaps, **gaps},
        shown_gaps={**audit.shown_gaps, **shown},
        to_reference={group: {**audit.to_reference.get(group, {}), **against(group, each)} for group in others},
    )
