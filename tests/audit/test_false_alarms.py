"""How often a limit on a difference that the truth keeps is said to be broken: in 5 % of samples at most."""

from __future__ import annotations

import math
from functools import cache

import numpy as np
import pytest

from fedcore.audit.metrics.group_gaps import pair_confidence
from fedcore.audit.statistics.intervals import difference_interval, newcombe_interval
from fedcore.audit.verdict.gate import Verdict, judge
from tests.audit.builders import audit_of_selections, limit_of

SHARE = 0.05


@cache
def alarms_from(n: int, many: int, limit: float, confidence: float) -> int | None:
    """Fewest selected of n whose difference to 0 of many is over the limit beyond doubt."""
    ends = (difference_interval(k, n, 0, many, confidence=confidence).low for k in range(n + 1))
    return next((k for k, low in enumerate(ends) if low > limit), None)


@pytest.mark.parametrize("small", [1, 3, 6, 10, 20])
@pytest.mark.parametrize("many", [200, 20_000])
def test_small_groups_at_the_limit_and_a_large_one_at_0_fail_in_5_percent_of_samples_at_most(
    small: int, many: int
) -> None:
    # Exact: small groups are independent of each other, and in the large one nobody is ever selected.
    from scipy.stats import binom

    each = pair_confidence(0.95, small + 1)
    for limit in (0.005, 0.01, 0.02, 0.05, 0.1):
        for n in (10, 12, 15, 20, 30, 50, 80, 120):
            first = alarms_from(n, many, limit, each)
            chance = 0.0 if first is None else 1 - binom.cdf(first - 1, n, limit) ** small
            assert chance <= SHARE, (limit, n)


@pytest.mark.parametrize(("n", "m"), [(10, 10), (12, 200), (15, 60), (30, 30)])
@pytest.mark.parametrize("groups", [2, 7])
def test_of_two_groups_at_any_rates_either_is_said_to_be_over_a_limit_no_more_often_than_one_pair_may(
    n: int, m: int, groups: int
) -> None:
    # Exact, by summing over all outcomes.
    from scipy.stats import binom

    each = pair_confidence(0.95, groups)
    low = np.array([[difference_interval(x, n, y, m, confidence=each).low for y in range(m + 1)] for x in range(n + 1)])
    for b in (0.0, 0.01, 0.05, 0.2, 0.5, 0.8):
        for limit in (0.005, 0.01, 0.02, 0.05, 0.1, 0.2):
            chance = np.outer(binom.pmf(range(n + 1), n, b + limit), binom.pmf(range(m + 1), m, b))
            assert chance[low > limit + 1e-12].sum() <= 1 - each, (b, limit)


def test_the_interval_is_nowhere_shorter_than_newcombe_s_and_little_longer_where_rows_are_many() -> None:
    for counts in ((1, 12, 0, 2000), (0, 5, 5, 5), (70, 200, 30, 200)):
        own, score = (f(*counts, confidence=0.99) for f in (difference_interval, newcombe_interval))
        assert own.low <= score.low
        assert own.high >= score.high
    own, score = (f(700, 2000, 300, 2000, confidence=0.95) for f in (difference_interval, newcombe_interval))
    assert own.high - own.low < 1.02 * (score.high - score.low)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("sizes", "rates", "limit", "samples"),
    [
        ([12] * 6 + [2000], [0.05] * 6 + [0.0], 0.05, 1000),
        ([10] * 20 + [2000], [0.02] * 20 + [0.0], 0.02, 200),
        ([400, 12, 12, 12, 12, 300], [0.2] * 5 + [0.3], 0.1, 1000),
    ],
)
def test_verdicts_on_samples_at_the_limit_are_fail_in_5_percent_at_most(
    sizes: list[int], rates: list[float], limit: float, samples: int
) -> None:
    drawn, told = np.random.default_rng(7), limit_of(at_most=str(limit))
    failed = 0
    for _ in range(samples):
        groups = {f"g{i}": (int(drawn.binomial(n, p)), n) for i, (n, p) in enumerate(zip(sizes, rates, strict=True))}
        failed += judge(told, audit_of_selections(groups)).verdict is Verdict.FAIL

    # Were the chance 5 %, so many would be fewer than three standard deviations over it.
    assert failed <= samples * SHARE + 3 * math.sqrt(samples * SHARE * (1 - SHARE))
