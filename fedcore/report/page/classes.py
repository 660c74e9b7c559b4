"""How far apart the groups are in each of several classes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fedcore.audit.metrics.catalogue import shown_in
from fedcore.report.page.run_record import Bias, Rate
from fedcore.report.page.wording import Quantity, difference_text
from fedcore.report.pictures.figures import Figure, Table, sentences
from fedcore.report.pictures.interval_chart import IntervalChart

_MOST = 20


def class_figures(attribute: str, bias: Bias) -> list[Figure]:
    """Return a picture of the gaps of each class against the others; none if one label is favourable."""
    classes: Mapping[str, Any] = bias.by_class.get(attribute, {}).get("classes", {})
    found = (
        [_figure(attribute, metric, classes, bias) for metric in reversed(shown_in("class pictures"))]
        if classes
        else []
    )
    return [figure for figure in found if figure is not None]


def _figure(attribute: str, metric: str, classes: Mapping[str, Any], bias: Bias) -> Figure | None:
    gaps = {label: one["gaps"][metric] for label, one in classes.items() if metric in one["gaps"]}
    defined = [label for label in gaps if gaps[label]["difference"] is not None]
    if not defined:
        return None
    order = sorted(defined, key=lambda label: (-(gaps[label]["low"] or 0.0), -gaps[label]["difference"]))
    name, words = attribute.replace("*", " and "), Quantity.of(metric).words
    quantity = Quantity(name=f"gap of the {words}", share=True, cost=True)
    clearest = gaps[order[0]]
    sentence = (
        f"Clearest in {order[0]}: {clearest['highest']} over {clearest['lowest']}, {_difference(metric, clearest)}."
    )
    title = f"Gap of the {words} by {name}, class by class"
    chart = IntervalChart(
        rates={label: _as_rate(gaps[label]) for label in order[:_MOST]},
        quantity=quantity,
        min_cell=bias.min_cell,
        says=sentences([f"{title}.", sentence]),
        marked=order[0] if len(order) > 1 else None,
    )
    table = [
        [label, "fewer than two groups have a rate" if label not in defined else
         f"{gaps[label]['highest']} over {gaps[label]['lowest']}", _difference(metric, gaps[label])]
        for label in (*order, *(label for label in gaps if label not in defined))
    ]  # fmt: skip
    return Figure(
        title=title,
        sentence=sentence,
        picture=chart.draw(),
        table=Table(columns=["class", "higher over lower", "difference"], rows=table),
        note="Each class against the others; the intervals hold for all classes at once.",
    )


def _difference(metric: str, gap: Mapping[str, Any]) -> str:
    return difference_text(metric, gap["difference"], gap["low"], gap["high"])


def _as_rate(gap: Mapping[str, Any]) -> Rate:
    return Rate(value=gap["difference"], low=gap["low"], high=gap["high"])
