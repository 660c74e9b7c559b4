"""Metrics of groups other than rates: impact ratios, areas, calibration, and a gap's split over clients."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fedcore.audit.metrics.catalogue import CATALOGUE, shown_in, split_over_clients
from fedcore.report.page.gaps import gap_sentence
from fedcore.report.page.run_record import Bias, Rate
from fedcore.report.page.wording import Quantity, count_text, interval_text, rate_text, ratio_text
from fedcore.report.pictures.calibration_chart import CalibrationCurve, calibration_chart
from fedcore.report.pictures.figures import Figure, Table, sentences
from fedcore.report.pictures.interval_chart import IntervalChart
from fedcore.report.pictures.split_chart import PARTS, SplitRow, split_chart
from fedcore.text.wording import counted

_MOST_CURVES = 6


def more_figures(attribute: str, rates: Mapping[str, Mapping[str, Rate]], bias: Bias) -> list[Figure]:
    figures = [
        _intervals(attribute, metric, rates.get(metric, {}), bias)
        for metric in shown_in("page")
        if not CATALOGUE[metric].watched
    ]
    figures += [_calibration(attribute, bias), _split(attribute, bias)]
    return [figure for figure in figures if figure is not None]


def _intervals(attribute: str, metric: str, rates: Mapping[str, Rate], bias: Bias) -> Figure | None:
    defined = {group: rate.value for group, rate in rates.items() if rate.value is not None}
    if not defined:
        return None
    order = sorted(rates, key=lambda group: (defined.get(group, 2.0), group))
    return rates_figure(
        metric,
        {group: rates[group] for group in order},
        name=attribute.replace("*", " and "),
        sentence=_sentence(metric, bias.gaps.get(attribute, {}).get(metric, {})),
        min_cell=bias.min_cell,
        marked=order[0] if len(defined) > 1 else None,
    )


def rates_figure(
    metric: str,
    rates: Mapping[str, Rate],
    *,
    name: str,
    sentence: str,
    min_cell: int,
    marked: str | None,
    confidence: str = "",
    reference: float | None = None,
) -> Figure:
    """Return a picture of a metric by group with intervals, in the order of `rates`; `name` is the attribute's."""
    quantity, intervals = Quantity.of(metric), f"{confidence} interval".strip()
    title = f"{quantity.title} by {name}"
    chart = IntervalChart(
        rates=rates,
        quantity=quantity,
        min_cell=min_cell,
        reference=reference,
        marked=marked,
        says=sentences([f"{title}, with {intervals}s, the lowest first.", sentence]),
    )
    rows = []
    for group, rate in rates.items():
        reach = interval_text(rate.low, rate.high, quantity, exact=True) or "not defined"
        text = rate_text(rate, quantity, min_cell=min_cell, exact=True)
        rows.append([group, text, *(("not shown",) * 2 if rate.suppressed else (reach, count_text(rate.n)))])
    return Figure(
        title=title,
        sentence=sentence or f"With {intervals}s, the lowest first.",
        picture=chart.draw(),
        table=Table(columns=[name, quantity.words, intervals, "rows"], rows=rows),
        note=CATALOGUE[metric].note,
    )


def _sentence(metric: str, gap: Mapping[str, Any]) -> str:
    if metric != "impact_ratio":
        return gap_sentence(metric, gap)
    if gap.get("ratio") is None or gap.get("low") is None or gap.get("high") is None:
        return ""
    return f"Smallest: {gap['lowest']} {ratio_text(gap['ratio'], 1 - gap['high'], 1 - gap['low'])}."


def _calibration(attribute: str, bias: Bias) -> Figure | None:
    curves = {group: bins for group, bins in bias.calibration.get(attribute, {}).items() if bins}
    if not curves:
        return None
    errors = bias.groups.get(attribute, {}).get("expected_calibration_error", {})
    order = sorted(curves, key=lambda group: errors.get(group, Rate()).value or 0.0)[-_MOST_CURVES:]
    worst, name = order[-1], attribute.replace("*", " and ")
    drawn = [
        CalibrationCurve(name=group, bins=curves[group], weight=_weight(group, worst, len(order))) for group in order
    ]
    sentence = f"{worst} is furthest from the dashed line, on which scores are probabilities." if len(order) > 1 else ""
    title, quantity = f"Calibration by {name}", Quantity.of("true_positive_rate")
    rows = [
        [group, f"{one['score']:.3f}", quantity.text(one["value"], exact=True),
         interval_text(one["low"], one["high"], quantity, exact=True), count_text(one["n"])]
        for group, bins in curves.items()
        for one in bins
    ]  # fmt: skip
    left_out = "" if len(order) == len(curves) else f" The {len(order)} groups furthest from it are drawn."
    return Figure(
        title=title,
        sentence=sentence or "The dashed line is where scores are probabilities.",
        picture=calibration_chart(drawn, says=sentences([f"{title}, with intervals.", sentence])),
        table=Table(columns=[name, "mean score", "favourable", "interval", "rows"], rows=rows),
        note=f"Rows of like scores: what share of them is favourable. No point stands for fewer than {bias.min_cell} "
        f"rows.{left_out}",
    )


def _weight(group: str, worst: str, count: int) -> str:
    if group == worst and count > 1:
        return "accent"
    return "main" if count <= 2 else "faint"


def _split(attribute: str, bias: Bias) -> Figure | None:
    splits, gaps = bias.sites.get(attribute, {}), bias.gaps.get(attribute, {})
    shown = [metric for metric in split_over_clients() if metric in splits]
    if not shown:
        return None
    rows = [
        SplitRow(
            name=Quantity.of(metric).words,
            parts=[splits[metric][part] for part in PARTS],
            low=gaps.get(metric, {}).get("low"),
            high=gaps.get(metric, {}).get("high"),
        )
        for metric in shown
    ]
    name, words = attribute.replace("*", " and "), [_sites_words(splits[metric]) for metric in shown[:1]]
    title = f"Gaps by {name}, split over clients"
    odds = [splits[metric]["odds_ratio"] for metric in shown]
    table = [
        [row.name, *(f"{100 * part:+.1f}" for part in row.parts), ratio_text(one["value"], one["low"], one["high"])]
        for row, one in zip(rows, odds, strict=True)
    ]
    return Figure(
        title=title,
        sentence=" ".join(words),
        picture=split_chart(rows, says=sentences([f"{title}, in points.", *words])),
        table=Table(columns=["metric", *PARTS.values(), "odds ratio"], rows=table),
        note="In points. Within: what remains if clients had both groups in the same shares. Between: what remains if "
        "each served both alike. The line below a bar is the interval of the whole gap.",
    )


def _sites_words(split: Mapping[str, Any]) -> str:
    """Return how many clients can be judged, and how many of them are over each limit, without names."""
    alone, few = split["not_judged"]["one_group_only"], split["not_judged"]["too_few_rows"]
    text = f"{counted(split['judged'], 'client')} of {split['judged'] + alone + few} can be judged alone"
    reasons = [f"{alone} {'has' if alone == 1 else 'have'} one of the groups only" if alone else "",
               f"{few} {'has' if few == 1 else 'have'} too few rows" if few else ""]  # fmt: skip
    text += "".join(f"; {reason}" for reason in reasons if reason) + "."
    over = [
        f"{one['sites']} of {one['judged']} are over the limit ({one['limit']}), {one['over_beyond_chance']} of them "
        f"beyond chance; {one['within_beyond_chance']} are within it beyond chance."
        for one in split["over_limit"]
        if one["sites"] is not None
    ]
    return " ".join([text, *over])
