"""What a threshold for each group would do: rates before and after, and the price."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fedcore.audit.group_thresholds import price_words
from fedcore_server.report.figures import Figure, Table, sentences
from fedcore_server.report.interval_chart import IntervalChart, IntervalRow
from fedcore_server.report.quantities import Quantity
from fedcore_server.report.run_record import Bias, Rate
from fedcore_server.report.wording import difference_text, rate_text

_UNKNOWN = "unknown"
_WHEN = {"before": "one for all", "after": "its own"}

Found = Mapping[str, Any]


def threshold_figures(attribute: str, bias: Bias) -> list[Figure]:
    """Return a picture where thresholds by group were asked for, else nothing."""
    found = bias.thresholds.get(attribute)
    if found is None:
        return []
    metric, name = str(found["metric"]), attribute.replace("*", " and ")
    quantity, title = Quantity.of(metric), f"A threshold for each {name}, not in use"
    said = sentences([_gap(metric, found), _price(found)])
    chart = IntervalChart(
        rows=_chart_rows(metric, found),
        quantity=quantity,
        reference=None,
        min_cell=bias.min_cell,
        says=sentences([f"{quantity.title} by {name}, with one threshold and with its own.", said]),
    )
    return [
        Figure(
            title=title,
            sentence=said or "Fewer than two groups can be compared.",
            picture=chart.draw(),
            table=Table(
                columns=[name, "threshold", f"{quantity.words}, one threshold", "its own", "accuracy, one", "its own"],
                rows=[_line(group, one, metric, bias) for group, one in _listed(found).items()],
            ),
            note=sentences([str(found["warning"]), "Chosen on one half of the held-out rows, judged on the other."]),
        )
    ]


def _listed(found: Found) -> dict[str, Found]:
    return {g: one for g, one in found["groups"].items() if g != _UNKNOWN or one["before"]["accuracy"]["n"] != 0}


def _chart_rows(metric: str, found: Found) -> list[IntervalRow]:
    return [
        IntervalRow(name=f"{group}: {words}", rate=Rate.of(one[when][metric]), marked=when == "after")
        for group, one in _listed(found).items()
        if group != _UNKNOWN
        for when, words in (_WHEN if not one["kept"] else {"before": "one for all, kept"}).items()
    ]


def _line(group: str, one: Found, metric: str, bias: Bias) -> list[str]:
    rates = [
        rate_text(Rate.of(one[when][name]), Quantity.of(name), min_cell=bias.min_cell, exact=True)
        for name in (metric, "accuracy")
        for when in _WHEN
    ]
    kept = group == _UNKNOWN or one["kept"]
    return [group, f"{one['threshold']:g}{', as for all' if kept else ''}", *rates]


def _gap(metric: str, found: Found) -> str:
    gaps = [found["gaps"][when][metric] for when in _WHEN]
    if any(gap["difference"] is None for gap in gaps):
        return ""
    before, after = (difference_text(metric, gap["difference"], gap["low"], gap["high"]) for gap in gaps)
    return f"Gap {before} with one threshold, {after} with one for each group."


def _price(found: Found) -> str:
    cost = found["accuracy"]["cost"]
    if cost["value"] is None:
        return ""
    return f"Price in accuracy: {price_words(cost['value'], cost['low'], cost['high'])}."
