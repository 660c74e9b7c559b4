"""Schedules that bring the rate down by the last round."""

from __future__ import annotations

import math

from fedcore.schedules.contract import Schedule, check_share


class Cosine(Schedule):
    """Half a cosine from the planned rate towards `end` times it, which the round after the last would have.

    Loshchilov and Hutter 2017, arXiv 1608.03983, equation 5, without restarts; the closed form of
    ``torch.optim.lr_scheduler.CosineAnnealingLR``.
    """

    needs_rounds = True

    def __init__(self, end: float = 0.0) -> None:
        self.end = check_share("end", end, zero=True)

    def factor(self, step: int, steps: int) -> float:
        return self.end + (1.0 - self.end) * (1.0 + math.cos(math.pi * step / steps)) / 2


class Polynomial(Schedule):
    """``(1 - step / steps) ** power``, as ``torch.optim.lr_scheduler.PolynomialLR``; power 1 is a straight line."""

    needs_rounds = True

    def __init__(self, power: float = 1.0) -> None:
        if not 0 < power < math.inf:
            raise ValueError(f"power: expected a number above 0, found {power!r}")
        self.power = float(power)

    def factor(self, step: int, steps: int) -> float:
        return math.pow(1.0 - step / steps, self.power)
