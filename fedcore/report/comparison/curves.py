"""The headline metric of every configuration over rounds, seconds, bytes, ε and energy."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from statistics import fmean
from typing import get_args

from fedcore.privacy.accounting import rounded_up
from fedcore.report.comparison.configurations import Configuration
from fedcore.report.comparison.figures import ENERGY, ComparedRun, seconds_of
from fedcore.report.page.run_record import Rate
from fedcore.report.page.wording import Quantity
from fedcore.report.pictures.figures import Figure, Table
from fedcore.report.pictures.interval_chart import IntervalChart
from fedcore.report.pictures.line_chart import Curve, LineChart, Weight
from fedcore.report.pictures.scales import thinned

_COLOURS: tuple[Weight, ...] = tuple(each for each in get_args(Weight) if each.startswith("s"))
_MOST_POINTS = 200
_UNITS = ((1e9, "GB"), (1e6, "MB"), (1e3, "kB"))

Places = Mapping[int, float]
"""Where each evaluated round is on an axis."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawn:
    """A configuration in the pictures.

    Attributes:
        mark: The letter that names it in pictures and table.
    """

    mark: str
    weight: Weight
    configuration: Configuration


def drawn(configurations: Sequence[Configuration], headline: str) -> list[Drawn]:
    """Give each configuration a letter, and the best eight a colour; the others are faint."""
    sign = -1.0 if Quantity.of(headline).cost else 1.0
    known = [k for k, configuration in enumerate(configurations) if headline in configuration.figures]
    best = sorted(known, key=lambda k: -sign * configurations[k].figures[headline].value)[: len(_COLOURS)]
    colours = dict(zip(sorted(best), _COLOURS, strict=False))
    return [
        Drawn(mark=letters(k), weight=colours.get(k, "faint"), configuration=configuration)
        for k, configuration in enumerate(configurations)
    ]


def letters(number: int) -> str:
    """A to Z, then AA, AB and so on."""
    before, last = divmod(number, 26)
    return (letters(before - 1) if before else "") + chr(ord("A") + last)


def curve_figures(configurations: Sequence[Drawn], headline: str) -> list[Figure]:
    """The final values, then a picture for each axis on which some run has a place."""
    final = (
        [_final(configurations, headline)]
        if any(one.configuration.figures[headline].low is not None for one in configurations)
        else []
    )
    unit, name = _unit(configurations)
    axes: list[tuple[str, str, Callable[[ComparedRun], Places]]] = [
        ("round", "", _rounds),
        ("ε spent", "An upper bound: the largest of the configuration's runs.", _epsilons),
        ("seconds", "Time of the rounds; other runs on the machine at the same time make them longer.", _seconds),
        ("simulated seconds", "Time that the clients' devices would have taken.", _simulated),
        (f"{name} sent and received", "Models and updates, without headers.", lambda run: _bytes(run, unit)),
        ("kWh", "The energy of a round is its share of the run's seconds.", _energies),
    ]
    return final + [figure for axis in axes if (figure := _figure(configurations, headline, *axis)) is not None]


def _figure(
    configurations: Sequence[Drawn], headline: str, axis: str, note: str, places: Callable[[ComparedRun], Places]
) -> Figure | None:
    over = max if axis.startswith("ε") else fmean
    points = {one.mark: _points(one.configuration, headline, places, over) for one in configurations}
    if not any(points.values()):
        return None
    quantity = Quantity.of(headline)
    # Later curves are drawn over earlier ones: those with a colour last.
    order = sorted(configurations, key=lambda one: one.weight != "faint")
    curves = [Curve(name=one.mark, points=points[one.mark], weight=one.weight) for one in order if points[one.mark]]
    said = f"{quantity.title} on held-out rows, mean over the runs of a configuration."
    chart = LineChart(
        curves=curves,
        quantity=quantity,
        says=f"{said} Across: {axis}.",
        across=axis,
        rounds=axis == "round",
        beside=True,
    )
    rows = [
        [one.mark, Quantity(name=axis).text(x), quantity.text(y, exact=True)]
        for one in configurations
        for x, y in points[one.mark]
    ]
    return Figure(
        title=f"{quantity.title} over {axis if axis != 'round' else 'rounds'}", sentence=said, note=note,
        picture=chart.draw(), table=Table(columns=["configuration", axis, quantity.words], rows=rows),
    )  # fmt: skip


def _points(
    configuration: Configuration,
    headline: str,
    places: Callable[[ComparedRun], Places],
    over: Callable[[Sequence[float]], float],
) -> list[tuple[float, float]]:
    """Mean metric and place of each round that all runs of the configuration have."""
    measured = [{one.number: one.evaluation or {} for one in run.record.evaluated} for run in configuration.runs]
    placed = [places(run) for run in configuration.runs]
    common = sorted(set.intersection(*(set(by_round) & set(at) for by_round, at in zip(measured, placed, strict=True))))
    chosen = [common[k] for k in thinned(len(common), at_most=_MOST_POINTS)]
    return [
        (over([at[number] for at in placed]), fmean([by_round[number][headline] for by_round in measured]))
        for number in chosen
        if all(headline in by_round[number] for by_round in measured)
    ]


def _rounds(run: ComparedRun) -> Places:
    return {one.number: float(one.number) for one in run.record.evaluated}


def _epsilons(run: ComparedRun) -> Places:
    return {one.number: rounded_up(one.epsilon) for one in run.record.evaluated if one.epsilon is not None}


def _seconds(run: ComparedRun) -> Places:
    spent = accumulate(one.wall_seconds for one in run.record.rounds)
    found = {one.number: seconds for one, seconds in zip(run.record.rounds, spent, strict=True)}
    return found if any(found.values()) else {}


def _simulated(run: ComparedRun) -> Places:
    rounds = run.record.rounds
    return {one.number: one.simulated_clock for one in rounds if one.simulated_clock is not None}


def _bytes(run: ComparedRun, unit: float) -> Places:
    moved = accumulate((one.bytes_sent + one.bytes_received) / unit for one in run.record.rounds)
    found = {one.number: total for one, total in zip(run.record.rounds, moved, strict=True)}
    return found if any(found.values()) else {}


def _energies(run: ComparedRun) -> Places:
    energy, seconds = run.record.summary.get(ENERGY), seconds_of(run.record)
    if not energy or not seconds:
        return {}
    return {number: energy * place / seconds for number, place in _seconds(run).items()}


def _unit(configurations: Sequence[Drawn]) -> tuple[float, str]:
    """The largest unit of which the longest run moves at least one."""
    totals = [max(_bytes(run, 1.0).values(), default=0.0) for one in configurations for run in one.configuration.runs]
    return next(((size, name) for size, name in _UNITS if max(totals, default=0.0) >= size), (1.0, "bytes"))


def _final(configurations: Sequence[Drawn], headline: str) -> Figure:
    quantity = Quantity.of(headline)
    means = {f"{one.mark}  {one.configuration.label}": one.configuration.figures[headline] for one in configurations}
    rates = {name: Rate(value=mean.value, low=mean.low, high=mean.high) for name, mean in means.items()}
    said = "Mean over the runs of a configuration, with its 95\u202f% interval."
    chart = IntervalChart(
        rates=rates, quantity=quantity, min_cell=1, says=f"{quantity.title} of each configuration. {said}"
    )
    rows = [[name, quantity.text(rate.value, exact=True)] for name, rate in rates.items()]
    return Figure(
        title=f"Final {quantity.words}", sentence=said, picture=chart.draw(),
        table=Table(columns=["configuration", quantity.words], rows=rows),
    )  # fmt: skip
