"""Notes on an attribute's groups, in sentences."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from fedcore.audit.metrics.estimates import Measure
from fedcore.audit.metrics.rates import Rate
from fedcore.audit.tables.groups import UNKNOWN
from fedcore.audit.verdict.attribute_audit import AttributeAudit
from fedcore.audit.verdict.suppression import OF_ALL_ROWS

MANY = 20

Shares = Mapping[str, Mapping[str, Rate | Measure]]
"""``{metric: {group: what was measured}}``."""


def attribute_notes(attribute: str, audit: AttributeAudit, shown: Shares) -> list[str]:
    """Return notes on one attribute: groups of numbers; unknown, hidden and undefined groups."""
    found = []
    if len(audit.sizes) > MANY and all(_is_number(group) for group in audit.sizes if group != UNKNOWN):
        found.append(
            f"{attribute}: {len(audit.sizes) - 1} numbers are groups of their own; --bands makes fewer of them"
        )
    found += alike_notes(attribute, audit.sizes)
    unknown = audit.sizes[UNKNOWN]
    if unknown and UNKNOWN not in audit.suppressed:
        found.append(f"{attribute}: {unknown:,} rows of unknown group; their rates are shown, and not compared")
    if audit.suppressed:
        found.append(
            f"{attribute}: not shown, because it has fewer than {audit.settings.min_cell} rows (--min-cell) or would "
            f"reveal such a group: {_named(audit.suppressed)}"
        )
    thin = [g for g in audit.thin if any(metric not in OF_ALL_ROWS for metric in shown)]
    if thin:
        found.append(
            f"{attribute}: shown in part, because a rate rests on fewer than {audit.settings.min_cell} rows "
            f"(--min-cell) or would reveal such a rate: {_named(thin)}"
        )
    found += not_judged_notes(attribute, audit)
    for metric, rates in shown.items():
        undefined = [group for group, one in rates.items() if one.value is None and group != UNKNOWN]
        if undefined:
            found.append(f"{attribute}: {metric.replace('_', ' ')} is undefined for {_named(undefined)}")
    return found


def alike_notes(attribute: str, groups: Iterable[str]) -> list[str]:
    """Return a sentence that names groups differing only by case or spaces; else nothing."""
    alike: dict[str, list[str]] = {}
    for group in groups:
        alike.setdefault("".join(group.casefold().split()), []).append(group)
    same = ["/".join(map(repr, names)) for names in alike.values() if len(names) > 1]
    if not same:
        return []
    return [f"{attribute}: groups of their own that differ by case or spaces only: {_named(same)}; are they one group?"]


def not_judged_notes(attribute: str, audit: AttributeAudit) -> list[str]:
    """Return a sentence that names the groups too small to be judged, and the option; else nothing."""
    if not audit.not_judged:
        return []
    rows, share = audit.settings.min_rows, audit.settings.min_share
    least = [f"{rows:,} rows (--min-rows)"] if rows else []
    least += [f"{100 * float(share):g} % of the rows (--min-share)"] if share else []
    return [f"{attribute}: shown and not judged, for less than {' or '.join(least)}: {_named(audit.not_judged)}"]


def _named(groups: Sequence[str]) -> str:
    """Return the first groups by name, and the number of others; JSON has them all."""
    more = f" and {len(groups) - MANY} more" if len(groups) > MANY else ""
    return ", ".join(groups[:MANY]) + more


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
