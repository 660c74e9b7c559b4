"""Rates by group: how often something happens to the rows of a group, and how sure that is."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedcore.audit.statistics.intervals import Interval, normal_quantile, wilson_interval
from fedcore.audit.tables.groups import UNKNOWN, GroupTable, Sampling
from fedcore.errors import DataError

# For each metric the cells of the confusion table that are counted, and those they are counted among.
# T and F: the prediction is true or false; P and N: it is the favourable label or not.
_CELLS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "selection_rate": (("TP", "FP"), ("TP", "FP", "FN", "TN")),
    "true_positive_rate": (("TP",), ("TP", "FN")),
    "false_positive_rate": (("FP",), ("FP", "TN")),
    "true_negative_rate": (("TN",), ("FP", "TN")),
    "false_negative_rate": (("FN",), ("TP", "FN")),
    "positive_predictive_value": (("TP",), ("TP", "FP")),
    "negative_predictive_value": (("TN",), ("FN", "TN")),
    "base_rate": (("TP", "FN"), ("TP", "FP", "FN", "TN")),
}
METRICS: tuple[str, ...] = ("accuracy", *_CELLS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Noise:
    """Noise on the two counts that a rate is made of.

    Attributes:
        successes: Variance of the noise on the rows counted.
        others: Variance of the noise on the rows they are counted among, less those.
    """

    successes: float = 0.0
    others: float = 0.0

    @property
    def present(self) -> bool:
        """Whether there is any."""
        return self.successes + self.others > 0.0

    def drowns(self, n: int) -> bool:
        """Whether so few rows were counted that they may be noise alone: fewer than three standard deviations."""
        return self.present and n < 3.0 * math.sqrt(self.successes + self.others)

    def interval(self, share: float, n: int, *, confidence: float) -> Interval:
        """Return the score interval of a rate of noisy counts, within [0, 1]; Wilson's where there is no noise.

        It holds every p with ``|share - p| <= z sqrt(V(p))``. To first order the variance V(p) of a noisy rate is
        ``p (1 - p) / n`` of sampling and ``(v (1 - p)² + w p²) / n²`` of noise with variance v on the successes and w
        on the others.
        """
        v, w, z2 = self.successes, self.others, normal_quantile(confidence) ** 2
        square, linear, constant = (v + w - n) / n**2, (n - 2 * v) / n**2, v / n**2
        a, b, c = 1 - z2 * square, -(2 * share + z2 * linear), share**2 - z2 * constant
        if a <= 0:
            return Interval(low=0.0, high=1.0)
        half = math.sqrt(max(0.0, b * b - 4 * a * c))
        ends = [min(1.0, max(0.0, (-b + side) / (2 * a))) for side in (-half, half)]
        return Interval(low=ends[0], high=ends[1])

    def evidence(self, successes: int, n: int) -> tuple[float, float]:
        """Successes and rows of a sample without noise whose rate is about as uncertain.

        By V of `interval`, with p taken with two successes and two failures added (Agresti and Coull 1998), so that it
        is never 0 or 1.
        """
        if not self.present:
            return successes, n
        p = (successes + 2) / (n + 4)
        sampling = p * (1 - p) * n
        share = sampling / (sampling + self.successes * (1 - p) ** 2 + self.others * p**2)
        return share * successes, share * n


EXACT = Noise()


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """One rate of one group with its score interval, all as shares in [0, 1].

    Attributes:
        value: successes / n; None if undefined, which is when n is 0. Undefined is never shown as 0.
        low: Lower end of the interval, or None.
        high: Upper end of the interval, or None.
        successes: Rows counted.
        n: Rows they are counted among; for a true positive rate, the group's rows of the favourable label.
        evidence: Successes and rows that speak for it: those counted, or with noise on the counts about as many fewer
            as would be as uncertain without it.
        noise: On the two counts.
        weighted: Whether rows count by sampling weights, so that the value is not that of the counts.
    """

    value: float | None
    low: float | None
    high: float | None
    successes: int
    n: int
    evidence: tuple[float, float] = (0.0, 0.0)
    noise: Noise = EXACT
    weighted: bool = False

    @classmethod
    def sampled(cls, successes: int, n: int, *, sums: tuple[float, float, float], confidence: float) -> Rate:
        """Return the rate of rows of unequal weights, at the effective number of rows.

        Args:
            successes: Rows counted, whatever their weights.
            n: Rows they are counted among.
            sums: Of the weights of the first and of the second, and of the squares of the second's. The effective
                number of rows is ``(sum w)^2 / sum w^2``. Source: Kish, L. (1965), "Survey Sampling", sec. 11.7.
            confidence: Of the interval.
        """
        counted, among, squares = sums
        if not n or among <= 0:
            return cls(value=None, low=None, high=None, successes=0, n=0)
        share, effective = min(1.0, counted / among), among**2 / squares
        known = cls(
            value=share, low=None, high=None, successes=successes, n=n, weighted=True,
            evidence=(share * effective, effective),
        )  # fmt: skip
        ends = known.interval(confidence)
        return replace(known, low=ends.low, high=ends.high)

    @classmethod
    def of(cls, successes: int, n: int, *, confidence: float, noise: Noise = EXACT) -> Rate:
        """Return the rate of ``successes`` among ``n`` rows, undefined if n is 0 or drowned in noise.

        Args:
            confidence: Of the interval.
            noise: On the two counts.
        """
        if n <= 0 or noise.drowns(n):
            return cls(value=None, low=None, high=None, successes=0, n=0)
        successes = min(max(successes, 0), n) if noise.present else successes
        known = cls(value=successes / n, low=None, high=None, successes=successes, n=n, noise=noise)
        ends = known.interval(confidence)
        return replace(known, low=ends.low, high=ends.high, evidence=noise.evidence(successes, n))

    def interval(self, confidence: float) -> Interval:
        """Return the interval of a rate that is defined, at any confidence.

        Raises:
            DataError: It is undefined.
        """
        if not self.noise.present:
            rows = self.evidence if self.weighted else (self.successes, self.n)
            return wilson_interval(*rows, confidence=confidence)
        return self.noise.interval(self.successes / self.n, self.n, confidence=confidence)

    @property
    def fraction(self) -> Fraction | None:
        """The exact rate: in floating point (4/6) / (5/6) is less than 0.8."""
        if self.weighted:
            return None if self.value is None else Fraction(self.value)
        return Fraction(self.successes, self.n) if self.n else None


def group_rates(
    table: GroupTable, *, threshold: float = 0.5, favourable: str | None = None, confidence: float = 0.95
) -> dict[str, dict[str, Rate]]:
    """Return every metric of every group, ``{metric: {group: rate}}``, "unknown" among the groups.

    Args:
        table: Pooled counts.
        threshold: A row of a scored table is predicted positive if its score is at least this; on a bin edge.
        favourable: The label that counts as positive; by default the second of two. With more than two labels
            the metrics besides accuracy take it against all others, and are left out without it.
        confidence: Of each rate's interval, taken alone.

    Raises:
        DataError: The threshold is on no inner bin edge, or the favourable label is none of the labels.
    """
    predicted = _predicted_counts(table, threshold)
    if table.sampling is not None:
        return _sampled_rates(table, table.sampling, favourable, confidence)
    noise = _noise(table, threshold, favourable)
    return {
        metric: {
            group: Rate.of(int(k), int(n), confidence=confidence, noise=noise[metric])
            for group, k, n in zip(table.groups, successes, trials, strict=True)
        }
        for metric, (successes, trials) in _successes_and_trials(table, predicted, favourable).items()
    }


def overall_rates(
    table: GroupTable, *, threshold: float = 0.5, favourable: str | None = None, confidence: float = 0.95
) -> dict[str, Rate]:
    """Return every metric over all rows, those of unknown group included; else as ``group_rates``."""
    if table.sampling is not None:
        sampling = Sampling(
            weights=table.sampling.weights.sum(axis=0, keepdims=True),
            squares=table.sampling.squares.sum(axis=0, keepdims=True),
        )
        one = replace(table, groups=(UNKNOWN,), counts=table.counts.sum(axis=0, keepdims=True), sampling=None)
        found = _sampled_rates(one, sampling, favourable, confidence)
        return {metric: of[UNKNOWN] for metric, of in found.items()}
    predicted = _predicted_counts(table, threshold).sum(axis=0, keepdims=True)
    noise = _noise(table, threshold, favourable, groups=len(table.groups))
    return {
        metric: Rate.of(int(successes[0]), int(trials[0]), confidence=confidence, noise=noise[metric])
        for metric, (successes, trials) in _successes_and_trials(table, predicted, favourable).items()
    }


def _sampled_rates(
    table: GroupTable, sampling: Sampling, favourable: str | None, confidence: float
) -> dict[str, dict[str, Rate]]:
    """Return every metric of every group of a table of decisions, by the weights of its rows."""
    rows, sums, squares = (
        _successes_and_trials(table, cells, favourable) for cells in (table.counts, sampling.weights, sampling.squares)
    )
    return {
        metric: {
            group: Rate.sampled(
                int(rows[metric][0][g]),
                int(rows[metric][1][g]),
                sums=(float(sums[metric][0][g]), float(sums[metric][1][g]), float(squares[metric][1][g])),
                confidence=confidence,
            )
            for g, group in enumerate(table.groups)
        }
        for metric in rows
    }


def denominators(
    table: GroupTable, *, threshold: float = 0.5, favourable: str | None = None
) -> dict[str, tuple[int, ...]]:
    """Return for every group its rows, and the rows that each of its rates rests on; arguments as ``group_rates``.

    Of several labels none of which is favourable those of every class against the others. Of rows with sampling weights
    also how many of equal weights would be as uncertain as each of these (Kish), for of ten lines one may weigh all.
    """
    index = _favourable_index(table, favourable)
    columns = _bases(_predicted_counts(table, threshold), index)
    if table.sampling is not None:
        weights, squares = _bases(table.sampling.weights, index), _bases(table.sampling.squares, index)
        columns += [_effective(*of) for of in zip(columns, weights, squares, strict=True)]
    return {group: tuple(int(column[place]) for column in columns) for place, group in enumerate(table.groups)}


def _bases(cells: NDArray[Any], index: int | None) -> list[NDArray[Any]]:
    """Return what the rates of each group rest on, from cells of shape (groups, labels, predicted labels)."""
    rows, by_class = cells.sum(axis=(1, 2)), [*cells.sum(axis=2).T, *cells.sum(axis=1).T]
    kept = by_class if index is None else [by_class[index], by_class[cells.shape[1] + index]]
    return [rows, *kept, *(rows - one for one in kept)]


def _effective(lines: NDArray[Any], weights: NDArray[Any], squares: NDArray[Any]) -> NDArray[Any]:
    """Return the effective number of rows of so many lines, from 1 to their number; of none 0."""
    held = (lines > 0) & (squares > 0)
    found = np.divide(weights**2, squares, out=np.zeros(len(lines)), where=held)
    return np.where(held, np.clip(found + 1e-9, 1, lines), 0)


def leeways(table: GroupTable, *, threshold: float = 0.5) -> dict[str, int]:
    """Return for every group by how many rows its labels are left open by its accuracy and selection rates.

    Of two labels from max(0, S + C - N) to min(S, C) rows may be selected rightly, of N with C predicted rightly and S
    selected: as many more as the least of S, N - S, C and N - C, and they tell all other counts. Of more labels a row
    that is predicted wrongly may be of any other, so that only C and N - C count.
    """
    predicted = _predicted_counts(table, threshold)
    rows, counts = predicted.sum(axis=(1, 2)), [np.trace(predicted, axis1=1, axis2=2)]
    counts += [predicted[:, :, 1].sum(axis=1)] if len(table.labels) == 2 else []
    open_by = np.min([side for count in counts for side in (count, rows - count)], axis=0)
    return dict(zip(table.groups, open_by.tolist(), strict=True))


def _noise(table: GroupTable, threshold: float, favourable: str | None, *, groups: int = 1) -> dict[str, Noise]:
    """Return the noise on each metric's counts, in the sum of so many groups.

    Noise is independent from cell to cell, so that variances add up as counts do.
    """
    ones = replace(table, counts=np.ones_like(table.counts))
    summed = _successes_and_trials(table, _predicted_counts(ones, threshold), favourable)
    each = groups * table.variance
    return {
        metric: Noise(successes=each * float(k[0]), others=each * float(n[0] - k[0]))
        for metric, (k, n) in summed.items()
    }


def _successes_and_trials(
    table: GroupTable, predicted: NDArray[Any], favourable: str | None
) -> dict[str, tuple[NDArray[Any], NDArray[Any]]]:
    """Return for each metric two rows of counts with one entry a group; ``predicted`` as below."""
    counts = {"accuracy": (np.trace(predicted, axis1=1, axis2=2), predicted.sum(axis=(1, 2)))}
    index = _favourable_index(table, favourable)
    if index is None:
        return counts
    cells = _confusion(predicted, index)
    for metric, (counted, among) in _CELLS.items():
        counts[metric] = (
            np.sum([cells[name] for name in counted], axis=0),
            np.sum([cells[name] for name in among], axis=0),
        )
    return counts


def _predicted_counts(table: GroupTable, threshold: float) -> NDArray[np.int64]:
    """Return counts of shape (groups, labels, predicted labels)."""
    if not table.scored:
        return table.counts
    edge = _edge(table, threshold)
    below, above = table.counts[:, :, :edge].sum(axis=2), table.counts[:, :, edge:].sum(axis=2)
    return np.stack([below, above], axis=2)


def _edge(table: GroupTable, threshold: float) -> int:
    place = threshold * table.num_bins
    if not 0 < threshold < 1:
        raise DataError(f"attribute {table.attribute!r}: threshold {threshold!r} must lie between 0 and 1")
    if abs(place - round(place)) < 1e-9 and 0 < round(place) < table.num_bins:
        return round(place)
    lower = min(max(int(place), 1), table.num_bins - 1)
    nearest = sorted({lower, min(lower + 1, table.num_bins - 1)})
    raise DataError(
        f"attribute {table.attribute!r}: threshold {threshold!r} is on no edge of the {table.num_bins} "
        f"score bins; the nearest are {' and '.join(f'{edge / table.num_bins:g}' for edge in nearest)}"
    )


def _favourable_index(table: GroupTable, favourable: str | None) -> int | None:
    if favourable is None:
        return 1 if len(table.labels) == 2 else None
    if favourable not in table.labels:
        raise DataError(f"the favourable label {favourable!r} is none of the labels {', '.join(table.labels)}")
    return table.labels.index(favourable)


def _confusion(predicted: NDArray[Any], index: int) -> dict[str, NDArray[Any]]:
    """Return the four cells of label ``index`` against the rest, each of shape (groups,)."""
    true_positive = predicted[:, index, index]
    positive, selected = predicted[:, index, :].sum(axis=1), predicted[:, :, index].sum(axis=1)
    return {
        "TP": true_positive,
        "FN": positive - true_positive,
        "FP": selected - true_positive,
        "TN": predicted.sum(axis=(1, 2)) - positive - selected + true_positive,
    }
