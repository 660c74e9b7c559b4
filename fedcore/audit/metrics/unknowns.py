"""Bounds of rates over all possible groups of the unknown rows."""

from __future__ import annotations

from fractions import Fraction

from fedcore.audit.metrics.rates import Rate
from fedcore.audit.statistics.intervals import Interval


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
