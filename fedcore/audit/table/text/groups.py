"""A table of metrics by group, side by side, and notes on the groups, in sentences."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from fedcore.audit.metrics.catalogue import CATALOGUE
from fedcore.audit.metrics.estimates import Measure
from fedcore.audit.metrics.rates import Rate
from fedcore.audit.table.text.columns import aligned
from fedcore.audit.tables.groups import UNKNOWN
from fedcore.audit.verdict.attribute_audit import AttributeAudit
from fedcore.audit.verdict.shown import Shown
from fedcore.audit.verdict.suppression import OF_ALL_ROWS
from fedcore.text.figures import figure_text

MANY = 20

Shares = Mapping[str, Mapping[str, Rate | Measure]]
"""``{metric: {group: what was measured}}``."""
_LONGEST_NAME = 28
_NOT_SHOWN = "not shown"


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


def group_block(attribute: str, shown: Shown, metrics: Sequence[str], *, hidden: bool) -> list[str]:
    """Return a line for each group, with its rows and these metrics; ``hidden`` adds lines for hidden groups."""
    measured: dict[str, Mapping[str, Rate | Measure | None]] = {**shown.rates, **shown.estimates}
    measured["impact_ratio"] = shown.impact
    table = [[attribute, "n", *(CATALOGUE[metric].column for metric in metrics)]]
    for group in shown.groups:
        cells = [
            _NOT_SHOWN if shown.audit.hides(metric, group) else _cell(measured[metric].get(group), metric)
            for metric in metrics
        ]
        table.append([_name(group), f"{shown.audit.sizes[group]:,}", *cells])
    return aligned([*table, *(_hidden_lines(shown.audit.suppressed) if hidden else [])])


def _hidden_lines(suppressed: Sequence[str]) -> list[list[str]]:
    if len(suppressed) > MANY:
        return [[f"{len(suppressed)} further groups", _NOT_SHOWN]]
    return [[_name(group), _NOT_SHOWN] for group in suppressed]


def _cell(one: Rate | Measure | None, metric: str) -> str:
    if one is None:
        return "-"
    if one.value is None or one.low is None or one.high is None:
        return "undefined"
    if CATALOGUE[metric].share:
        return f"{100 * one.value:.1f} ({100 * one.low:.1f}-{100 * one.high:.1f})"
    if CATALOGUE[metric].in_own_unit:
        return figure_text(one.value, one.low, one.high, significant=4, to=" to ")
    return figure_text(one.value, one.low, one.high, least=3)


def _name(group: str) -> str:
    return group if len(group) <= _LONGEST_NAME else f"{group[: _LONGEST_NAME - 1]}…"
