"""The tables that a profile requires, from the rows of a table."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from fractions import Fraction
from typing import Any

from fedcore.audit.metrics.rates import Rate
from fedcore.audit.table.result import TableResult
from fedcore.audit.table.rows import Labels
from fedcore.audit.table.text.columns import aligned
from fedcore.audit.tables.groups import UNKNOWN
from fedcore.audit.verdict.attribute_audit import AttributeAudit
from fedcore.audit.verdict.profiles import (
    NYC_LL144,
    PROFILES,
    Category,
    FourFifths,
    Profile,
    categories,
    four_fifths,
    left_out,
)

Lines = list[Category] | list[FourFifths]


def profile_json(result: TableResult[Labels]) -> dict[str, Any] | None:
    profile = _profile(result)
    if profile is None:
        return None
    content: dict[str, Any] = {name: getattr(profile, name) for name in ("name", "title", "date")}
    content |= {name: list(getattr(profile, name)) for name in ("sources", "remarks")}
    if profile.document:
        return content
    content |= {
        "unknown": {attribute: _unknown(result, attribute) for attribute in result.audits},
        "tables": {attribute: [_line(one) for one in _lines(result, attribute)] for attribute in result.audits},
    }
    if profile is NYC_LL144:
        return content | {"median": result.rows.outcomes.median}
    few = {attribute: list(left_out(_shown_rates(result, attribute))) for attribute in result.audits}
    return content | {"left_out_under_two_percent": few}


def profile_lines(result: TableResult[Labels]) -> Iterator[str]:
    profile = _profile(result)
    if profile is None:
        return
    yield f"profile {profile.name}: {profile.title}"
    yield f"  as of {profile.date}; {'; '.join(profile.sources)}"
    if profile is NYC_LL144 and result.rows.outcomes.median is not None:
        yield f"  scoring rate: share of scores above the sample's median, {result.rows.outcomes.median:g}"
    for attribute in () if profile.document else result.audits:
        yield ""
        lines = _lines(result, attribute)
        head = _HEADS[profile.name]
        yield from (f"  {line}" for line in aligned([[attribute, *head], *(_cells(one) for one in lines)]))
        if profile is not NYC_LL144 and (few := left_out(_shown_rates(result, attribute))):
            yield f"  left out, for less than 2 % of the rows: {', '.join(few)}"
        unknown = _unknown(result, attribute)
        yield f"  unknown {attribute}: {'not shown' if unknown is None else f'{unknown:,}'}"


_HEADS = {
    "nyc-ll144": ["n", "selected", "rate", "impact ratio", "without < 2 %"],
    "us-four-fifths": ["n", "selected", "rate", "ratio", "standard deviations", "Fisher p", "reading"],
}


def _profile(result: TableResult[Labels]) -> Profile | None:
    return None if result.options.profile is None else PROFILES[result.options.profile]


def _lines(result: TableResult[Labels], attribute: str) -> Lines:
    rates = _shown_rates(result, attribute)
    return categories(rates) if _profile(result) is NYC_LL144 else four_fifths(rates)


def _audit(result: TableResult[Labels], attribute: str) -> AttributeAudit:
    """The audit behind the profile's own table."""
    profile = _profile(result)
    shows_all = profile is not None and profile.shows_all and result.options.min_cell is None
    return (result.hiding(1) if shows_all else result).audits[attribute]


def _shown_rates(result: TableResult[Labels], attribute: str) -> dict[str, Rate]:
    audit = _audit(result, attribute)
    return {group: rate for group, rate in audit.groups["selection_rate"].items() if group not in audit.suppressed}


def _unknown(result: TableResult[Labels], attribute: str) -> int | None:
    audit = _audit(result, attribute)
    return None if UNKNOWN in audit.suppressed else audit.sizes[UNKNOWN]


def _line(one: Category | FourFifths) -> dict[str, Any]:
    return {name: float(value) if isinstance(value, Fraction) else value for name, value in asdict(one).items()}


def _cells(one: Category | FourFifths) -> list[str]:
    rate = "undefined" if one.rate is None else f"{100 * one.rate:.1f} %"
    cells = [one.category, f"{one.n:,}", f"{one.selected:,}", rate]
    if isinstance(one, Category):
        large = "left out" if one.under_two_percent else _ratio(one.impact_ratio_without_small)
        return [*cells, _ratio(one.impact_ratio), large]
    deviations = "-" if one.standard_deviations is None else f"{one.standard_deviations:.2f}"
    p_value = "-" if one.fisher_p is None else f"{one.fisher_p:.3g}" if one.fisher_p else "under 1e-300"
    return [*cells, _ratio(one.ratio), deviations, p_value, _reading(one)]


def _reading(one: FourFifths) -> str:
    if one.category == one.reference:
        return "highest rate"
    if not one.under_four_fifths:
        return "4/5 or over"
    return "under 4/5, but one person reverses it" if one.one_person_reverses else "under 4/5"


def _ratio(value: Fraction | None) -> str:
    return "undefined" if value is None else f"{float(value):.3f}"
