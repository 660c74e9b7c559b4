"""Rates by group with their intervals, also of counts with noise."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedcore.audit.metrics.catalogue import CATALOGUE, RATES
from fedcore.audit.metrics.confusion import cells, favourable_index, predicted_counts
from fedcore.audit.statistics.intervals import Interval, normal_quantile, wilson_interval
from fedcore.audit.tables.groups import UNKNOWN, GroupTable, Sampling


@dataclass(frozen=True, slots=True, kw_only=True)
class Noise:
    """Variances of the noise on a rate's successes and on its other rows."""

    successes: float = 0.0
    others: float = 0.0

    @property
    def present(self) -> bool:
        return self.successes + self.others > 0.0

    def drowns(self, n: int) -> bool:
        """Whether so few rows may be noise alone: fewer than three standard deviations."""
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
        n: Denominator; for a true positive rate, the group's rows of the favourable label.
        evidence: Successes and rows behind it: those counted, or with noise on the counts as many fewer as would be as
            uncertain without it.
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
            sums: Of the weights of the first and of the second, and of the squares of the second's. The effective
                number of rows is ``(sum w)^2 / sum w^2``. Source: Kish, L. (1965), "Survey Sampling", sec. 11.7.
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
        """Return the rate of ``successes`` among ``n`` rows, undefined if n is 0 or drowned in noise."""
        if n <= 0 or noise.drowns(n):
            return cls(value=None, low=None, high=None, successes=0, n=0)
        successes = min(max(successes, 0), n) if noise.present else successes
        known = cls(value=successes / n, low=None, high=None, successes=successes, n=n, noise=noise)
        ends = known.interval(confidence)
        return replace(known, low=ends.low, high=ends.high, evidence=noise.evidence(successes, n))

    def interval(self, confidence: float) -> Interval:
        """Return the interval at any confidence; raises `DataError` if the rate is undefined."""
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
        threshold: A row of a scored table is predicted positive if its score is at least this; on a bin edge.
        favourable: The label that counts as positive; by default the second of two. With more than two labels
            the metrics besides accuracy take it against all others, and are left out without it.

    Raises:
        DataError: The threshold is on no inner bin edge, or the favourable label is none of the labels.
    """
    predicted = predicted_counts(table, threshold)
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
    found = group_rates(table.whole(), threshold=threshold, favourable=favourable, confidence=confidence)
    return {metric: of[UNKNOWN] for metric, of in found.items()}


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


def _noise(table: GroupTable, threshold: float, favourable: str | None) -> dict[str, Noise]:
    """Return the noise on each metric's counts: variances of cells add up."""
    ones = replace(table, counts=np.ones_like(table.counts))
    summed = _successes_and_trials(table, predicted_counts(ones, threshold), favourable)
    return {
        metric: Noise(successes=table.variance * float(k[0]), others=table.variance * float(n[0] - k[0]))
        for metric, (k, n) in summed.items()
    }


def _successes_and_trials(
    table: GroupTable, predicted: NDArray[Any], favourable: str | None
) -> dict[str, tuple[NDArray[Any], NDArray[Any]]]:
    """Return two arrays of counts of shape (groups,) for each metric; `predicted` of `predicted_counts`."""
    known = cells(predicted, favourable_index(table, favourable))
    names = ((metric, CATALOGUE[metric].cells or ("", "")) for metric in RATES)
    parts = ((metric, counted.split(), among.split()) for metric, (counted, among) in names)
    return {
        metric: (np.sum([known[name] for name in counted], axis=0), np.sum([known[name] for name in among], axis=0))
        for metric, counted, among in parts
        if known.keys() >= {*counted, *among}
    }


def bounds(rate: Rate, unknown: Rate) -> Interval | None:
    """Return the lowest and highest rate of a group if any of the unknown rows may be its own; None without rows.

    Sharp: the lowest if all unknown failures and no unknown successes are the group's, the highest the other way
    round. It concerns the rows at hand and is not a confidence interval. Source: Manski, C. F. (1989), "Anatomy of the
    selection problem", J. Hum. Resour. 24:343-360.
    """
    failures = unknown.n - unknown.successes
    if not rate.n and not unknown.n:
        return None
    least = Fraction(rate.successes, rate.n + failures) if rate.n + failures else Fraction(1)
    with_all = rate.n + unknown.successes
    greatest = Fraction(rate.successes + unknown.successes, with_all) if with_all else Fraction(0)
    return Interval(low=float(least), high=float(greatest))
