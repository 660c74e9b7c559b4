"""One table in, one audit out; the estimate keeps every group, what is shown keeps small groups back."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from functools import partial
from typing import Any

from fedcore.audit.attribute_audit import AttributeAudit
from fedcore.audit.estimates import gap_of
from fedcore.audit.gaps import Gap
from fedcore.audit.groups import UNKNOWN, GroupTable
from fedcore.audit.rate_gaps import gap_between
from fedcore.audit.rates import METRICS, Rate, group_rates, overall_rates
from fedcore.audit.regression import overall_estimates, value_estimates
from fedcore.audit.settings import AuditSettings
from fedcore.audit.suppression import suppressed_groups
from fedcore.audit.values import AuditTable, ValueTable
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
    """Audit tables that are shown together, so that small cells of a crossing stay hidden by its margins too.

    Returns:
        ``{attribute: audit}`` in the order of the tables.

    Raises:
        DataError: Two tables of one attribute; or a table cannot be read with these settings.
    """
    by_attribute: dict[str, AuditTable] = {}
    for table in tables:
        if table.attribute in by_attribute:
            raise DataError(f"two tables of attribute {table.attribute!r}: add them up before the audit")
        by_attribute[table.attribute] = table
    sizes = {attribute: table.group_sizes for attribute, table in by_attribute.items()}
    hidden = suppressed_groups(sizes, min_cell=settings.min_cell)
    return {attribute: audit_of(table, settings, hidden[attribute]) for attribute, table in by_attribute.items()}


def audit_table(table: GroupTable, settings: AuditSettings) -> AttributeAudit:
    """Audit one table that is shown alone; use ``audit_tables`` for several about the same rows.

    Raises:
        DataError: The threshold is on no bin edge of the table, or the favourable label is none of its
            labels.
    """
    return audit_tables([table], settings)[table.attribute]


def audit_of(table: AuditTable, settings: AuditSettings, hidden: Collection[str]) -> AttributeAudit:
    """Audit one table of which it is known what may be shown.

    Args:
        table: Pooled counts.
        settings: How they are read.
        hidden: Groups that are not shown, as ``suppressed_groups`` finds them.

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
    groups = group_rates(table, **reading)
    sizes = table.group_sizes
    gaps = _gaps(table.attribute, groups, (), settings.confidence)
    return AttributeAudit(
        attribute=table.attribute,
        settings=settings,
        sizes=sizes,
        overall=overall_rates(table, **reading),
        groups=groups,
        gaps=gaps,
        shown_gaps=_gaps(table.attribute, groups, hidden, settings.confidence) if hidden else gaps,
        small=tuple(group for group, size in sizes.items() if 0 < size < settings.min_cell),
        suppressed=tuple(group for group in table.groups if group in hidden),
        to_reference=_to_reference(table.attribute, groups, settings),
    )


def _audit_of_values(table: ValueTable, settings: AuditSettings, hidden: Collection[str]) -> AttributeAudit:
    """Of numbers there are no rates; what is measured of every group is in ``Measures``, its gaps are here."""
    confidence, estimates = settings.confidence, value_estimates(table)
    gap, sizes = partial(gap_of, table.attribute), table.group_sizes

    def gaps(left_out: Collection[str]) -> dict[str, Gap]:
        kept = {m: {g: one for g, one in of.items() if g not in left_out} for m, of in estimates.items()}
        return {metric: gap(metric, of, confidence=confidence) for metric, of in kept.items()}

    return AttributeAudit(
        attribute=table.attribute,
        settings=settings,
        sizes=sizes,
        overall={metric: one.measure(confidence) for metric, one in overall_estimates(table).items()},
        groups={},
        gaps=gaps(()),
        shown_gaps=gaps(hidden),
        small=tuple(group for group, size in sizes.items() if 0 < size < settings.min_cell),
        suppressed=tuple(group for group in table.groups if group in hidden),
        to_reference=against_reference(estimates, settings.references.get(table.attribute), gap, confidence=confidence),
    )


def _gaps(
    attribute: str, groups: Mapping[str, Mapping[str, Rate]], left_out: Collection[str], confidence: float
) -> dict[str, Gap]:
    return {
        metric: gap_between(
            attribute,
            metric,
            {group: rate for group, rate in rates.items() if group not in left_out},
            confidence=confidence,
        )
        for metric, rates in groups.items()
    }


def _to_reference(
    attribute: str, rates: Mapping[str, Mapping[str, Rate]], settings: AuditSettings
) -> dict[str, dict[str, Gap]]:
    return against_reference(
        rates, settings.references.get(attribute), partial(gap_between, attribute), confidence=settings.confidence
    )


def against_reference(
    quantities: Mapping[str, Mapping[str, Any]],
    reference: str | None,
    gap: Callable[..., Gap],
    *,
    confidence: float,
) -> dict[str, dict[str, Gap]]:
    """Return ``{group: {metric: gap between it and the reference}}``, all groups at once (Bonferroni).

    Args:
        quantities: ``{metric: {group: quantity}}``.
        reference: The group to compare with; None for no comparison.
        gap: From a metric, two groups' quantities and a confidence to their gap.
        confidence: With which the intervals of one metric hold together.
    """
    first = next(iter(quantities.values()), {})
    others = [group for group in first if group not in (reference, UNKNOWN)]
    if reference is None or reference not in first or not others:
        return {}
    each = 1 - (1 - confidence) / len(others)
    return {
        group: {
            metric: gap(metric, {reference: found[reference], group: found[group]}, confidence=each)
            for metric, found in quantities.items()
        }
        for group in others
    }
