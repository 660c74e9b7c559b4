"""Bounds of a rate, whoever the rows of unknown group are."""

from __future__ import annotations

from fractions import Fraction

import pytest

from fedcore.audit.metrics.rates import Rate, bounds
from fedcore.audit.statistics.intervals import Interval


def rate(successes: int, n: int) -> Rate:
    return Rate.of(successes, n, confidence=0.95)


@pytest.mark.parametrize("known", [(3, 7), (0, 4), (4, 4)])
@pytest.mark.parametrize("unknown", [(2, 5), (0, 3), (3, 3), (0, 0)])
def test_the_bounds_are_the_extremes_of_every_way_to_tell_who_is_unknown(
    known: tuple[int, int], unknown: tuple[int, int]
) -> None:
    ways = [
        Fraction(known[0] + own, known[1] + own + failed)
        for own in range(unknown[0] + 1)
        for failed in range(unknown[1] - unknown[0] + 1)
    ]

    assert bounds(rate(*known), rate(*unknown)) == Interval(low=float(min(ways)), high=float(max(ways)))


def test_without_any_row_there_are_no_bounds() -> None:
    assert bounds(rate(0, 0), rate(0, 0)) is None
