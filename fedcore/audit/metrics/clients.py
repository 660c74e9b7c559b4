"""How evenly a model serves clients: another question than how it serves groups of people."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedcore.audit.metrics.estimates import Measure
from fedcore.audit.metrics.rates import Rate
from fedcore.audit.statistics.intervals import Interval, exact_interval, mean_interval
from fedcore.audit.statistics.resampling import NUM_DRAWS, SEED, upper_quantile

CLIENT_METHODS = {
    "mean of clients": "score interval with the largest variance that clients of that mean can have",
    "worst tenth of clients": "Clopper-Pearson intervals of all clients at once, Bonferroni (Dunn 1961)",
    "Gini coefficient of clients": "parametric bootstrap of the mean difference, over the interval of the mean",
}

Counts = NDArray[np.int64]

_PRIOR = 0.5
"""Successes and failures added to each client's before others are drawn, so that 0 % and 100 % may vary (Jeffreys)."""
_MOST_DRAWN, _FEWEST_DRAWS = 4_000_000, 400
_STEPS = 1000
"""Ends of intervals are rounded to multiples of one over this."""


def worst_decile(rates: NDArray[np.float64]) -> float:
    """Return the mean of the lowest tenth of the rates, at least one."""
    last = np.sort(rates)[: math.ceil(len(rates) / 10)]
    return math.fsum(last) / len(last)


def worst_decile_interval(successes: Counts, rows: Counts, *, confidence: float) -> Interval:
    """Return the interval of the worst decile; arguments as of `mean_interval`.

    It rises with every client's rate, so that the ends of intervals that hold for all clients together give the ends of
    its own. They are exact ones (Clopper and Pearson 1934): at such confidence Wilson's are too short near 0 and 100 %.
    """
    each = 1 - (1 - confidence) / len(rows)
    ends = [exact_interval(int(k), int(n), confidence=each) for k, n in zip(successes, rows, strict=True)]
    return Interval(
        low=worst_decile(np.array([end.low for end in ends])), high=worst_decile(np.array([end.high for end in ends]))
    )


def mean_difference(rates: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return ``sum_ij |x_i - x_j| / n^2`` over the last axis."""
    n, rising = rates.shape[-1], np.sort(rates, axis=-1)
    places = 2 * np.arange(n) - n + 1
    found: NDArray[np.float64] = 2 * (rising * places).sum(axis=-1) / n**2
    return found


def gini_interval(successes: Counts, rows: Counts, *, confidence: float) -> Interval:
    """Return the interval of the Gini coefficient, D / (2 mean) with the mean difference D; arguments as before.

    D is a seminorm, so that D of the estimates is off by at most D of their errors, also where all clients are
    alike. A parametric bootstrap has the quantile of that; half of the error is for D, and half for the mean.
    Source: Efron, B. and Tibshirani, R. (1993), "An introduction to the bootstrap", ch. 6.5.
    """
    half = (1 + confidence) / 2
    found, mean = float(mean_difference(successes / rows)), mean_interval(successes, rows, confidence=half)
    away = upper_quantile(mean_difference(_errors(successes, rows)), half)
    most = 1.0 - 1.0 / len(rows)
    high = (found + away) / (2 * mean.low) if mean.low > 0 else most
    return Interval(low=max(0.0, found - away) / (2 * mean.high), high=min(most, high))


def _errors(successes: Counts, rows: Counts) -> NDArray[np.float64]:
    """Return bootstrap errors of the rates, shape (draws, clients)."""
    generator = np.random.default_rng(SEED)
    shares = (successes + _PRIOR) / (rows + 2 * _PRIOR)
    draws = min(NUM_DRAWS, max(_FEWEST_DRAWS, _MOST_DRAWN // len(rows)))
    drawn = generator.binomial(rows, shares, size=(draws, len(rows)))
    found: NDArray[np.float64] = drawn / rows - shares
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientSpread:
    """Accuracy over clients, each counted once; None if no client has enough rows.

    Clients of fewer than ``min_cell`` rows are only counted in ``too_few_rows``: an accuracy over so few rows would
    reveal single ones. The intervals are about these clients on other rows, not about other clients.

    Attributes:
        too_few_rows: Clients that were evaluated on fewer than ``min_cell`` rows, 0 among them.
        worst_decile: Mean accuracy of the tenth of clients that is served worst, of one client at least.
        gini: Gini coefficient: 0 if all are served equally; None if no row of any is predicted correctly.
        best: Name and accuracy of the client that is served best, with its interval taken alone.
    """

    judged: int
    too_few_rows: int
    mean: Measure | None = None
    worst_decile: Measure | None = None
    gini: Measure | None = None
    best: tuple[str, Rate] | None = None
    worst: tuple[str, Rate] | None = None

    def to_json(self) -> dict[str, Any]:
        """Return ``{metric, judged, too_few_rows, mean, worst_decile, gini, best, worst}``.

        A figure is ``{value, low, high}``, its ends rounded outwards to a tenth of a point. The best and the worst
        client are shown with their rows: suppression covers groups, not clients.
        """
        return {
            "metric": "accuracy",
            "judged": self.judged,
            "too_few_rows": self.too_few_rows,
            "mean": _figure(self.mean),
            "worst_decile": _figure(self.worst_decile),
            "gini": _figure(self.gini),
            "best": _rounded_out(self.best),
            "worst": _rounded_out(self.worst),
        }


def client_spread(accuracies: Mapping[str, Rate], *, min_cell: int, confidence: float = 0.95) -> ClientSpread:
    """Compare clients by accuracy over held-out rows, counted without noise; those under ``min_cell`` are left out.

    Sources: the worst decile Li, T. et al. (2020), "Fair resource allocation in federated learning", arXiv
    1905.10497; the coefficient Gini, C. (1912), "Variabilità e mutabilità".
    """
    judged = {name: rate for name, rate in accuracies.items() if rate.n >= max(1, min_cell)}
    too_few = len(accuracies) - len(judged)
    if not judged:
        return ClientSpread(judged=0, too_few_rows=too_few)
    order = sorted(judged, key=lambda name: (judged[name].fraction or 0, name))
    successes, rows = np.array([(judged[name].successes, judged[name].n) for name in order]).T
    values = successes / rows

    def measured(value: float | None, interval: Callable[..., Interval]) -> Measure | None:
        if value is None:
            return None
        ends = interval(successes, rows, confidence=confidence)
        return Measure(value=value, low=ends.low, high=ends.high, n=int(rows.sum()))

    return ClientSpread(
        judged=len(values),
        too_few_rows=too_few,
        mean=measured(math.fsum(values) / len(values), mean_interval),
        worst_decile=measured(worst_decile(values), worst_decile_interval),
        gini=measured(gini(values.tolist()), gini_interval),
        best=(order[-1], judged[order[-1]]),
        worst=(order[0], judged[order[0]]),
    )


def gini(rising: Sequence[float]) -> float | None:
    """Return ``sum_ij |x_i - x_j| / (2 n^2 mean)`` of rising values of 0 or more; None if all are 0."""
    n, total = len(rising), math.fsum(rising)
    if not total:
        return None
    return math.fsum((2 * place - n + 1) * value for place, value in enumerate(rising)) / (n * total)


def _figure(found: Measure | None) -> dict[str, Any] | None:
    if found is None or found.low is None or found.high is None:
        return None
    low, high = (math.floor(found.low * _STEPS) / _STEPS, math.ceil(found.high * _STEPS) / _STEPS)
    return {"value": found.value, "low": low, "high": high}


def _rounded_out(one: tuple[str, Rate] | None) -> dict[str, Any] | None:
    if one is None:
        return None
    name, rate = one
    return {"client": name, "value": rate.value, "low": rate.low, "high": rate.high, "n": rate.n}
