"""Uncertainty of a rate whose counts have noise."""

from __future__ import annotations

import math
from dataclasses import dataclass

from fedcore.audit.statistics.intervals import Interval, normal_quantile


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
