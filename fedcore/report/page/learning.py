"""The metrics and the length of updates over the rounds."""

from __future__ import annotations

from collections.abc import Sequence

from fedcore.report.page.run_record import Round, RunRecord
from fedcore.report.page.wording import Quantity
from fedcore.report.pictures.figures import Figure, Table, drawn_rounds, sentences
from fedcore.report.pictures.line_chart import Curve, LineChart

_MOST_METRICS = 5


def learning_figures(record: RunRecord) -> list[Figure]:
    """Return a figure for each metric, the headline first, then the length of the updates."""
    names = dict.fromkeys([record.headline or "", *(name for one in record.evaluated for name in one.evaluation or ())])
    rounds, note = drawn_rounds(record.evaluated)
    metrics = [name for name in names if any(name in (one.evaluation or {}) for one in rounds)][:_MOST_METRICS]
    committed, of_committed = drawn_rounds([one for one in record.rounds if one.committed])
    figures = [
        _metric_figure(name, rounds, committed, sentences([note]) or of_committed, record.chosen_round)
        for name in metrics
    ]
    if not figures and any("loss" in one.training for one in committed):
        said = "Mean over the rows that the clients trained on; no round was evaluated on held-out rows."
        losses = [(one.number, one.training.get("loss")) for one in committed]
        figures.append(_series_figure("Training loss", said, losses, of_committed))
    if any(one.update_norm is not None for one in committed):
        said = "Euclidean norm of the clients' mean update: how far the model still moves."
        norms = [(one.number, one.update_norm) for one in committed]
        figures.append(_series_figure("Length of the update", said, norms, of_committed))
    return figures


def _metric_figure(
    name: str, rounds: Sequence[Round], committed: Sequence[Round], note: str, chosen: int | None
) -> Figure:
    quantity = Quantity.of(name)
    points = [(float(one.number), (one.evaluation or {}).get(name)) for one in rounds]
    held_out = Curve(name="test" if name.startswith("test_") else "held-out", points=points)
    trained = [(float(one.number), one.training.get(name)) for one in committed]
    training = Curve(name="training", points=trained, weight="faint")
    curves = [training, held_out] if training.drawn else [held_out]
    columns = ["round", *(curve.name + " rows" for curve in reversed(curves))]
    numbers = sorted({number for curve in curves for number, _ in curve.points})
    values = [dict(curve.drawn) for curve in reversed(curves)]
    table = [
        [f"{number:g}", *(quantity.text(of[number], exact=True) if number in of else "–" for of in values)]
        for number in numbers
    ]
    said = _course(held_out, quantity)
    if chosen is not None:
        said += f" The model is that of round {chosen}, chosen within the limits."
    chart = LineChart(
        curves=curves,
        quantity=quantity,
        says=f"{quantity.title} over the rounds. {said}",
        mark=None if chosen is None else (float(chosen), "chosen"),
    )
    return Figure(
        title=quantity.title,
        sentence=said,
        picture=chart.draw(),
        table=Table(columns=columns if training.drawn else ["round", quantity.words], rows=table),
        note=note,
    )


def _course(curve: Curve, quantity: Quantity) -> str:
    last, value = curve.drawn[-1]
    better = min if quantity.cost else max
    best, top = better(curve.drawn, key=lambda point: point[1])
    ends = f"{quantity.text(value)} after round {last:g}"
    if best == last or quantity.text(top) == quantity.text(value):
        return f"{ends}, the best of all rounds." if len(curve.drawn) > 1 else f"{ends}."
    return f"{ends}; best {quantity.text(top)} in round {best:g}."


def _series_figure(title: str, said: str, values: Sequence[tuple[int, float | None]], note: str) -> Figure:
    quantity = Quantity(name=title, cost=True)
    points = [(float(number), value) for number, value in values]
    chart = LineChart(
        curves=[Curve(name="", points=points)], quantity=quantity, zero=True, says=f"{title} over the rounds. {said}"
    )
    rows = [[str(number), quantity.text(value, exact=True)] for number, value in values]
    return Figure(
        title=title,
        sentence=said,
        picture=chart.draw(),
        table=Table(columns=["round", title.lower()], rows=rows),
        note=sentences([note]),
    )
