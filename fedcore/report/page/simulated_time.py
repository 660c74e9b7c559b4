"""A run in simulated time: what was learned by when, and who trained when."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from fedcore.report.page.run_record import Round, RunRecord
from fedcore.report.page.wording import Quantity, seconds_text
from fedcore.report.pictures.figures import Figure, Table, drawn_rounds
from fedcore.report.pictures.line_chart import Curve, LineChart
from fedcore.report.pictures.timeline_chart import Span, timeline_chart
from fedcore.text.wording import counted

_MOST_CLIENTS, _MOST_ROUNDS = 36, 24


def simulated_time_figures(record: RunRecord) -> list[Figure]:
    """Return the headline metric over simulated time and a timeline; nothing of a run without simulated time."""
    timed = [one for one in record.rounds if one.simulated_clock is not None]
    figures = [_learning(record), _timeline(timed)] if timed else []
    return [figure for figure in figures if figure is not None]


def _learning(record: RunRecord) -> Figure | None:
    name = record.headline
    rounds, note = drawn_rounds([one for one in record.evaluated if name in (one.evaluation or {})])
    if name is None or not rounds:
        return None
    quantity = Quantity.of(name)
    points = [(one.simulated_clock or 0.0, (one.evaluation or {})[name]) for one in rounds]
    title = f"{quantity.title} over simulated time"
    said = f"{quantity.text(points[-1][1])} after {seconds_text(points[-1][0])} of simulated time."
    chart = LineChart(
        curves=[Curve(name="held-out", points=points)],
        quantity=quantity,
        says=f"{title}. {said}",
        across="simulated seconds",
        rounds=False,
    )
    rows = [[f"{clock:.6g}", quantity.text(value, exact=True)] for clock, value in points]
    table = Table(columns=["simulated seconds", quantity.words], rows=rows)
    return Figure(title=title, sentence=said, picture=chart.draw(), table=table, note=note)


def _timeline(rounds: Sequence[Round]) -> Figure | None:
    shown = rounds[:_MOST_ROUNDS]
    spans = [span for one in shown for span in _spans(one)]
    clients = dict.fromkeys(span.client for span in spans)
    if not spans:
        return None
    lost = sum(bool(span.code) for one in rounds for span in _spans(one))
    total = sum(len(one.simulated_spans) for one in rounds)
    said = f"{lost:,} of {counted(total, 'reply', 'replies')} were lost: late, or their device dropped out."
    note = "A line is a client's work from request to reply; red where it was lost. Dashed: the end of a round."
    if len(shown) < len(rounds) or len(clients) > _MOST_CLIENTS:
        few = min(len(clients), _MOST_CLIENTS)
        note += f" Drawn are the first {counted(len(shown), 'round')}, and {counted(few, 'client')} in them."
    first = set(list(clients)[:_MOST_CLIENTS])
    drawn = [span for span in spans if span.client in first]
    closings = [one.simulated_clock for one in shown if one.simulated_clock is not None]
    rows = [[str(s.round), s.client, f"{s.begin:.6g}", f"{s.end:.6g}", s.code or "counted"] for s in drawn]
    return Figure(
        title="Who trained when",
        sentence=said,
        picture=timeline_chart(drawn, closings, says=f"Timeline. {said}"),
        table=Table(columns=["round", "client", "from second", "to second", "reply"], rows=rows),
        note=note,
    )


def _spans(one: Round) -> Iterator[Span]:
    codes = {rejection.client: rejection.code for rejection in one.rejected}
    for client, (begin, end) in one.simulated_spans.items():
        yield Span(client=client, round=one.number, begin=begin, end=end, code=codes.get(client, ""))
