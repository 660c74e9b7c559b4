"""When a run ends before its last round: ``federation.stop-when``, read."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fedcore.text.wording import counted

if TYPE_CHECKING:
    from fedcore.plan import RunPlan

_THRESHOLD = re.compile(r"\s*([A-Za-z_][\w.\-/]*)\s*(>=|<=)\s*(\S+)\s*")
_PATIENCE = re.compile(r"patience:(\d+)(?::((?:test_)?loss))?")
ON_TEST_DATA = "test_"
"""How the names of metrics on the plan's own test data begin."""
_EXPECTED = "expected METRIC>=NUMBER, METRIC<=NUMBER or patience:EVALUATIONS, such as accuracy>=0.95 or patience:5"


@dataclass(frozen=True, slots=True, kw_only=True)
class StopRule:
    """A bound that a metric must reach, or the evaluations without a better loss.

    Attributes:
        at_least: Whether the metric must be at least `bound`, else at most.
        patience: Evaluations in a row without a better loss; 0 where a bound is given.
    """

    metric: str
    at_least: bool = False
    bound: float = 0.0
    patience: int = 0

    @classmethod
    def of(cls, plan: RunPlan) -> StopRule | None:
        """The plan's rule; ``None`` where it runs all rounds."""
        return None if plan.federation.stop_when is None else cls.parse(plan.federation.stop_when)

    @classmethod
    def parse(cls, text: str) -> StopRule:
        """Raises ValueError: The text is neither form; says what was expected."""
        if match := _PATIENCE.fullmatch(text):
            if int(match[1]) < 1:
                raise ValueError(f"expected a patience of 1 evaluation or more, found {text!r}")
            return cls(metric=match[2] or "loss", patience=int(match[1]))
        match = _THRESHOLD.fullmatch(text)
        bound = _number(match[3]) if match else math.nan
        if match is None or not math.isfinite(bound):
            raise ValueError(f"{_EXPECTED}; found {text!r}")
        if "accuracy" in match[1] and not 0.0 <= bound <= 1.0:
            raise ValueError(f"expected an accuracy between 0 and 1, such as 0.95, found {text!r}")
        return cls(metric=match[1], at_least=match[2] == ">=", bound=bound)

    @property
    def on_test_data(self) -> bool:
        """Whether the rule looks at the plan's own test data alone, not at the clients' rows."""
        return self.metric.startswith(ON_TEST_DATA)

    def reached(self, value: float) -> bool:
        """Whether a value of the metric reaches the bound."""
        return value >= self.bound if self.at_least else value <= self.bound

    def words(self, value: float, best: float | None = None) -> str:
        """Why the run ends, at this value of the metric."""
        if self.patience:
            since = f"since {best:.4g}" if best is not None else "at all"
            return f"no better {self.metric} in {counted(self.patience, 'evaluation')} {since}"
        return f"{self.metric} {value:.4g} is {'at least' if self.at_least else 'at most'} {self.bound:g}"


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan
