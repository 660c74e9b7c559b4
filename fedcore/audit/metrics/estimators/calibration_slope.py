"""The slope of label on score, with an interval that holds for few rows, rare labels and lone scores.

White's standard error with a normal quantile covers the truth in 75 to 93 % of samples of 20 to 100 rows, and in 40 to
60 % where a few rows alone have high scores: these are near the line because it bends to them, or because all of them
happen to have one label. So a slope b is kept in the interval as long as the test of b does not reject it, and the test
takes the variance that b would have: the larger one of squared residuals from b's own line, and of labels drawn by that
line. No end is nearer than by standard errors of residuals that leave their own row out (HC3).

Sources: White, H. (1980), Econometrica 48:817-838; MacKinnon, J. G. and White, H. (1985), J. Econometrics 29:305-325
(HC3); Bell, R. M. and McCaffrey, D. F. (2002), Survey Methodology 28:169-181 (degrees of freedom).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedcore.audit.metrics.estimates import UNDEFINED, Estimate
from fedcore.audit.statistics.intervals import Interval, student_quantile

FEWEST = 10
"""Rows of either label; with fewer the slope is undefined."""
_HALVINGS = 40

Array = NDArray[np.float64]


def calibration_slope(points: Array, counts: NDArray[np.int64]) -> Estimate:
    """Return the slope of the line of least squares through label on score: 1 where scores are calibrated.

    Under 1 the scores are too extreme, over 1 too timid. Undefined with fewer than ``FEWEST`` rows of either label:
    without favourable rows the line is flat, whatever the scores are worth. Scores have shape (points,), rows by
    label and point (2, points).
    """
    n = int(counts.sum())
    if min(counts.sum(axis=1)) < FEWEST:
        return UNDEFINED
    rows = counts.sum(axis=0).astype(np.float64)
    centred = points - rows @ points / n
    if float(rows @ centred**2) <= 1e-12 * n:
        return UNDEFINED
    line = _Line(centred=centred, rows=rows, favourable=counts[1].astype(np.float64))
    return Estimate(value=line.slope, n=n, spread=line.interval)


@dataclass(frozen=True, kw_only=True)
class _Line:
    """Rows around their mean score: the points' scores less the mean, with all rows and favourable rows at each."""

    centred: Array
    rows: Array
    favourable: Array

    @property
    def squares(self) -> float:
        return float(self.rows @ self.centred**2)

    @property
    def share(self) -> float:
        return float(self.favourable.sum() / self.rows.sum())

    @property
    def slope(self) -> float:
        return float(self.favourable @ self.centred) / self.squares

    def interval(self, confidence: float) -> Interval:
        """Return the slopes that are not rejected; none is steeper than labels of 0 and 1 allow."""
        t = student_quantile(confidence, self._degrees())
        least, steepest = t * self._hc3(), 0.5 / math.sqrt(self.squares / float(self.rows.sum()))
        low, high = (self._end(side, t, steepest) for side in (-1, 1))
        return Interval(
            low=max(-steepest, min(low, self.slope - least)), high=min(steepest, max(high, self.slope + least))
        )

    def _end(self, side: int, t: float, steepest: float) -> float:
        """Return the first slope on one side that is rejected, to rounding."""
        near, far = 0.0, max(0.0, steepest - side * self.slope)
        for _ in range(_HALVINGS):
            middle = (near + far) / 2
            near, far = (middle, far) if self._is_kept(self.slope + side * middle, t) else (near, middle)
        return self.slope + side * far

    def _is_kept(self, slope: float, t: float) -> bool:
        fitted = self.share + slope * self.centred
        residuals = self.favourable * (1 - fitted) ** 2 + (self.rows - self.favourable) * fitted**2
        drawn = np.clip(fitted, 0.0, 1.0)
        variance = max(float(self.centred**2 @ residuals), float((self.centred**2 * self.rows) @ (drawn * (1 - drawn))))
        return ((self.slope - slope) * self.squares) ** 2 <= t * t * variance

    def _leverage(self) -> Array:
        return np.asarray(np.minimum(1 / self.rows.sum() + self.centred**2 / self.squares, 1 - 1e-9))

    def _hc3(self) -> float:
        fitted = self.share + self.slope * self.centred
        residuals = self.favourable * (1 - fitted) ** 2 + (self.rows - self.favourable) * fitted**2
        return math.sqrt(float((self.centred / (1 - self._leverage())) ** 2 @ residuals)) / self.squares

    def _degrees(self) -> float:
        """Degrees of freedom of the variance (Bell and McCaffrey), at least 1: few where few rows decide."""
        n, leverage = float(self.rows.sum()), self._leverage()
        weights = (self.centred / self.squares) ** 2 / (1 - leverage)
        sums = [float((self.rows * weights) @ self.centred**power) for power in (0, 1, 2)]
        spread = sums[0] ** 2 / n**2 + 2 * sums[1] ** 2 / (n * self.squares) + sums[2] ** 2 / self.squares**2
        spread += float((self.rows * weights**2) @ ((1 - leverage) ** 2 - leverage**2))
        return max(1.0, (1 / self.squares) ** 2 / spread)
