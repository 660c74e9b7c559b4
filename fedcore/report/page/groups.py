"""How well each group is served, with intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fedcore.audit.metrics.catalogue import CATALOGUE, HEADLINES, headlines_of
from fedcore.report.page.beyond_rates import more_figures, rates_figure
from fedcore.report.page.classes import class_figures
from fedcore.report.page.gaps import gap_rows, gap_sentence, gap_table
from fedcore.report.page.run_record import Rate, Round, RunRecord
from fedcore.report.page.wording import Quantity
from fedcore.report.pictures.figures import Figure, Table, drawn_rounds
from fedcore.report.pictures.line_chart import Curve, LineChart

_DRAWN = [name for name in headlines_of("page") if CATALOGUE[name].watched]
_UNKNOWN = "unknown"

Rates = Mapping[str, Rate]


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One attribute; `gaps` has the metrics that are drawn, `all_gaps` all of them."""

    heading: str
    figures: Sequence[Figure]
    gaps: Sequence[Sequence[str]]
    all_gaps: Table


def group_parts(record: RunRecord) -> list[Part]:
    curves = record.final.groups if record.final else {}
    attributes = dict.fromkeys([*record.bias.groups, *curves])
    parts = [_part(attribute, record) for attribute in attributes]
    return [part for part in parts if part.figures]


def headline(rates: Mapping[str, Rates]) -> str | None:
    """Return the measured metric that best shows how well a group is served."""
    return next((metric for metric in HEADLINES if rates.get(metric)), None)


def worst_group(metric: str, rates: Rates) -> str | None:
    """Return the group that is certainly served worst; None if fewer than two groups can be compared.

    By the end of its interval nearest to being served well: the lowest rate is often that of the fewest rows.
    """
    defined = {group: served_at_best(metric, rate) for group, rate in rates.items() if group != _UNKNOWN}
    known = {group: sure for group, sure in defined.items() if sure is not None}
    return min(known, key=known.__getitem__) if len(known) > 1 else None


def served_at_best(metric: str, rate: Rate) -> float | None:
    """Return how well the group is served at best, the higher the better; None if unknown."""
    if rate.value is None:
        return None
    if Quantity.of(metric).cost:
        return -(rate.value if rate.low is None else rate.low)
    return rate.value if rate.high is None else rate.high


def shown_rates(record: RunRecord, attribute: str) -> dict[str, Rates]:
    """Return ``{metric: {group: rate}}`` from the audit, or else from the last evaluation."""
    audited = record.bias.groups.get(attribute)
    last = record.final.groups.get(attribute, {}) if record.final else {}
    served = next((metric for metric in HEADLINES if metric in record.metrics), HEADLINES[0])
    found = audited or ({served: last} if last else {})
    return {
        metric: {group: rate for group, rate in rates.items() if group != _UNKNOWN or rate.n != 0}
        for metric, rates in found.items()
    }


def _part(attribute: str, record: RunRecord) -> Part:
    rates = shown_rates(record, attribute)
    figures = [interval_figure(attribute, metric, rates[metric], record) for metric in _DRAWN if rates.get(metric)]
    history = [one for one in record.evaluated if one.groups.get(attribute)]
    served = headline(rates)
    if len(history) > 1 and served is not None:
        figures.insert(1, _curve_figure(attribute, history, served, rates[served]))
    figures += class_figures(attribute, record.bias)
    figures += more_figures(attribute, rates, record.bias)
    gaps = record.bias.gaps.get(attribute, {})
    return Part(
        heading=f"By {_name(attribute)}",
        figures=figures,
        gaps=gap_rows({metric: gaps[metric] for metric in _DRAWN if metric in gaps}),
        all_gaps=gap_table(gaps),
    )


def interval_figure(attribute: str, metric: str, rates: Rates, record: RunRecord) -> Figure:
    bias, overall = record.bias, record.bias.overall.get(attribute, {}).get(metric, Rate()).value
    return rates_figure(
        metric,
        {group: rates[group] for group in sorted(rates, key=lambda group: _place(rates[group]))},
        name=_name(attribute),
        sentence=gap_sentence(metric, bias.gaps.get(attribute, {}).get(metric, {})),
        min_cell=bias.min_cell,
        marked=worst_group(metric, rates) if metric in HEADLINES else None,
        confidence=f"{100 * bias.confidence:g}\u202f%",
        reference=overall if overall is not None or metric not in HEADLINES else record.metrics.get(metric),
    )


def _place(rate: Rate) -> float:
    """Undefined after defined, suppressed after undefined."""
    if rate.value is not None:
        return rate.value
    return 3.0 if rate.suppressed else 2.0


def _curve_figure(attribute: str, history: Sequence[Round], metric: str, final: Rates) -> Figure:
    quantity, name = Quantity.of(metric), _name(attribute)
    rounds, note = drawn_rounds(history)
    worst = worst_group(metric, final)
    curves = [_curve(group, attribute, rounds, group == worst) for group in final]
    curves = sorted((curve for curve in curves if curve.drawn), key=lambda curve: curve.weight == "accent")
    ends = "highest" if quantity.cost else "lowest"
    said = f"{worst} ends {ends}, and is drawn bold." if worst else "One line for each group."
    title = f"{quantity.title} by {name} over the rounds"
    chart = LineChart(
        curves=curves or [Curve(name="", points=[])], quantity=quantity, says=f"{title}. {said}" if curves else ""
    )
    return Figure(
        title=title,
        sentence=said,
        picture=chart.draw(),
        table=Table(
            columns=["round", *(curve.name for curve in curves)],
            rows=[
                [f"{one.number}", *(quantity.text(dict(curve.points)[one.number]) for curve in curves)]
                for one in rounds
            ],
        ),
        note=note,
    )


def _curve(group: str, attribute: str, rounds: Sequence[Round], worst: bool) -> Curve:
    points = [(float(one.number), one.groups[attribute].get(group, Rate()).value) for one in rounds]
    return Curve(name=group, points=points, weight="accent" if worst else "faint")


def _name(attribute: str) -> str:
    """Return the attribute for use in a heading; a crossing ``a*b`` as ``a and b``."""
    return attribute.replace("*", " and ").replace("_", " ")
