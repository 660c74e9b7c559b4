"""The clients: results, rows and participation."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

from fedcore.report.page.run_record import Rate, RunRecord, Split
from fedcore.report.page.wording import Quantity, interval_text, listed
from fedcore.report.pictures.client_chart import ClientChart, ClientValue
from fedcore.report.pictures.figures import Figure, Table, sentences
from fedcore.report.pictures.heat_map import HeatMap
from fedcore.report.pictures.interval_chart import IntervalChart
from fedcore.report.pictures.participation_chart import participation_chart
from fedcore.report.pictures.scales import thinned
from fedcore.text.wording import counted

_EVENNESS = {
    "mean": "mean accuracy of a client",
    "worst_decile": "accuracy of the worst tenth",
    "gini": "Gini coefficient of accuracy",
}
_MOST_ROWS, _MOST_COLUMNS, _MOST_PARTICIPANTS, _TABLED = 60, 24, 20, 1000


def client_figures(record: RunRecord) -> list[Figure]:
    """Return the spread over clients, its evenness, the split, and the participation if a reply was rejected."""
    figures = [_spread(record), _evenness(record), _split(record.split), _participation(record)]
    return [figure for figure in figures if figure is not None]


def client_values(record: RunRecord) -> tuple[list[ClientValue], list[str]]:
    """Return the clients' final results, the worst first, and the clients without any."""
    final, name = record.final, record.headline
    if final is None or name is None:
        return [], []
    found = {client: (values.get(name), int(values.get("n") or 0)) for client, values in final.clients.items()}
    valued = [(value, client, n) for client, (value, n) in found.items() if value is not None and n > 0]
    cost = Quantity.of(name).cost
    order = sorted(valued, key=lambda one: (-one[0] if cost else one[0], one[1]))
    worst = math.ceil(len(order) / 10) if len(order) > 1 else 0
    clients = [
        ClientValue(name=client, value=value, n=n, marked=place < worst)
        for place, (value, client, n) in enumerate(order)
    ]
    named = {one.name for one in clients}
    return clients, [client for client in found if client not in named]


def _spread(record: RunRecord) -> Figure | None:
    clients, without = client_values(record)
    if not clients:
        return None
    quantity = Quantity.of(record.headline or "")
    title = f"{quantity.title} at each client"
    first, last = quantity.text(clients[0].value), quantity.text(clients[-1].value)
    said = f"From {first} to {last} over {len(clients)} clients at the end." if len(clients) > 1 else f"{first}."
    missing = f"{listed(without)}: not defined, for want of held-out rows." if without else ""
    rows = [[one.name, quantity.text(one.value, exact=True), f"{one.n:,}"] for one in clients]
    rows += [[name, "not defined", "0"] for name in without]
    more = f"The table has the first {_TABLED:,} clients; summary.json has all." if len(rows) > _TABLED else ""
    return Figure(
        title=title,
        sentence=said,
        picture=ClientChart(clients=clients, quantity=quantity, says=f"{title}. {said} {missing}".rstrip()).draw(),
        table=Table(columns=["client", quantity.words, "held-out rows"], rows=rows[:_TABLED]),
        note=sentences(
            ["A dot's area grows with the client's held-out rows; the worst tenth is orange.", missing, more]
        ),
    )


def _evenness(record: RunRecord) -> Figure | None:
    found = record.bias.spread
    if not found.get("judged"):
        return None
    share, title = Quantity.of("accuracy"), "How evenly clients are served"
    rates = {name: Rate.of(found[key]) for key, name in _EVENNESS.items() if found[key] is not None}
    reaches = {name: interval_text(rate.low, rate.high, share, exact=True) for name, rate in rates.items()}
    rows = [[name, share.text(rate.value, exact=True), reaches[name]] for name, rate in rates.items()]
    few = f"; {counted(found['too_few_rows'], 'client')} of too few rows left out" if found["too_few_rows"] else ""
    said = f"Over {counted(found['judged'], 'client')}, with {100 * record.bias.confidence:g}\u202f% intervals{few}."
    chart = IntervalChart(
        rates=rates,
        quantity=share,
        marked=_EVENNESS["worst_decile"],
        min_cell=record.bias.min_cell,
        says=f"{title}. {said} {'; '.join(f'{name} {value} ({reach})' for name, value, reach in rows)}.",
    )
    return Figure(
        title=title,
        sentence=said,
        picture=chart.draw(),
        table=Table(columns=["figure", "value", "interval"], rows=rows),
        note="The Gini coefficient is 0 if all are served alike. This is about clients, not about groups of people.",
    )


def _split(split: Split | None) -> Figure | None:
    if split is None:
        return None
    order, note = _drawn_clients(split)
    columns, counts = _drawn_columns(split)
    sizes = [sum(row) for row in split.counts]
    said = _sizes_sentence(sizes)
    name = split.attribute.replace("_", " ")
    title = "Rows by client" if name == "rows" else f"Rows by {name} and client"
    chart = HeatMap(
        rows=[split.clients[place] for place in order],
        columns=columns,
        counts=[counts[place] for place in order],
        says=f"{title}. {said}",
    )
    held_out = len(split.held_out) == len(split.clients)
    rows = [
        [name, *(f"{n:,}" for n in split.counts[k]), f"{sizes[k]:,}", *([f"{split.held_out[k]:,}"] if held_out else [])]
        for k, name in enumerate(split.clients)
    ]
    headings = ["client", *split.categories, "all rows", *(["held out"] if held_out else [])]
    return Figure(title=title, sentence=said, picture=chart.draw(), table=Table(columns=headings, rows=rows), note=note)


def _drawn_clients(split: Split) -> tuple[Sequence[int], str]:
    """Return the clients that get a row: if too many, some evenly spaced by size."""
    if len(split.clients) <= _MOST_ROWS:
        return range(len(split.clients)), "The darker a cell, the larger its share of the client’s rows."
    by_size = sorted(range(len(split.clients)), key=lambda k: -sum(split.counts[k]))
    places = thinned(len(by_size), at_most=_MOST_ROWS // 2)
    note = (
        f"{len(places)} of {len(by_size)} clients are drawn, evenly spaced from the one with most rows to the one "
        "with fewest; the table has all. The darker a cell, the larger its share of the client’s rows."
    )
    return [by_size[place] for place in places], note


def _drawn_columns(split: Split) -> tuple[list[str], list[list[int]]]:
    """Return names and counts of the columns: if too many, the most frequent ones and the rest in one."""
    if len(split.categories) <= _MOST_COLUMNS:
        return list(split.categories), [list(row) for row in split.counts]
    totals = [sum(row[k] for row in split.counts) for k in range(len(split.categories))]
    kept = sorted(sorted(range(len(totals)), key=lambda k: -totals[k])[: _MOST_COLUMNS - 1])
    counts = [[*(row[k] for k in kept), sum(row) - sum(row[k] for k in kept)] for row in split.counts]
    return [*(split.categories[k] for k in kept), "other"], counts


def _sizes_sentence(sizes: Sequence[int]) -> str:
    if min(sizes) == max(sizes):
        return f"Every client holds {counted(sizes[0], 'row')}."
    return f"The smallest client holds {counted(min(sizes), 'row')}, the largest {max(sizes):,}."


def _participation(record: RunRecord) -> Figure | None:
    rejected = record.rejected
    if not rejected:
        return None
    everyone = dict.fromkeys(name for one in record.rounds for name in (*one.asked, *one.counted))
    by_client = Counter(rejection.client for rejection in rejected)
    shown = [*dict.fromkeys([*everyone, *by_client])]
    note = "A line spans the rounds in which a client's update counted; a cross is a reply that did not."
    if len(shown) > _MOST_PARTICIPANTS:
        shown = [name for name, _ in by_client.most_common(_MOST_PARTICIPANTS)]
        note += f" Only clients with rejected replies are drawn: {len(shown)} of {len(everyone)}."
    said = (
        f"{counted(len(rejected), 'reply', 'replies')} of {listed([name for name, _ in by_client.most_common()])} "
        f"{'was' if len(rejected) == 1 else 'were'} not counted."
    )
    rows = [[str(one.round), one.client, one.code, one.reason] for one in rejected]
    return Figure(
        title="Who took part",
        sentence=said,
        picture=participation_chart(shown, record.rounds, says=f"Participation. {said}"),
        table=Table(columns=["round", "client", "code", "reason"], rows=rows),
        note=note,
    )
