"""What a plan declares about its audit before any result is seen."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal, Self

from fedcore.audit.estimates import MEASURES
from fedcore.audit.parity import NAMES
from fedcore.audit.rankings import RANKED
from fedcore.audit.rates import METRICS
from fedcore.errors import PlanError

LIMITED: tuple[str, ...] = (*METRICS, *MEASURES)
"""What a limit may be set on."""

Kind = Literal["difference", "ratio"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """A limit on a gap: a difference of rates *at most* so large, or a ratio of rates *at least* so large.

    Attributes:
        metric: One of ``LIMITED``, or of ``RANKED`` for a table of ranked lists; of measures that are no rates
            the difference only, and of those of rankings that are no shares the ratio only.
        attribute: Name of an audited attribute, or ``"*"`` for every one.
        kind: ``"difference"`` (highest - lowest) or ``"ratio"`` (lowest / highest).
        at_most: For a difference, in (0, 1].
        at_least: For a ratio, in (0, 1].

    Raises:
        PlanError: The parts contradict one another; all problems are listed.
    """

    metric: str
    attribute: str = "*"
    kind: Kind
    at_most: Fraction | None = None
    at_least: Fraction | None = None

    def __post_init__(self) -> None:
        problems = [*self._problems()]
        if problems:
            raise PlanError(problems)

    @classmethod
    def of(
        cls,
        metric: str,
        *,
        attribute: str = "*",
        kind: Kind,
        at_most: float | str | None = None,
        at_least: float | str | None = None,
    ) -> Self:
        """Return the limit with its bound as it was written: 0.8 is 4/5, and not the float nearest to it.

        Raises:
            PlanError: As the class; or a bound is no number.
        """
        return cls(
            metric=metric,
            attribute=attribute,
            kind=kind,
            at_most=_exact(metric, at_most),
            at_least=_exact(metric, at_least),
        )

    @property
    def words(self) -> str:
        """The limit as a sentence's end: ``selection rate ratio over sex at least 0.8``."""
        bound = f"at most {_decimal(self.at_most)}" if self.at_most else f"at least {_decimal(self.at_least)}"
        over = "every attribute" if self.attribute == "*" else self.attribute
        return f"{self.metric.replace('_', ' ')} {self.kind} over {over} {bound}"

    def _problems(self) -> list[str]:
        problems = []
        if self.metric not in {*LIMITED, *RANKED}:
            near = difflib.get_close_matches(str(self.metric), [*LIMITED, *NAMES], n=1)
            meant = f"did you mean {near[0]!r}?" if near else f"the metrics are {', '.join([*LIMITED, *NAMES])}"
            problems.append(f"limit: unknown metric {self.metric!r}; {meant}")
        name = f"limit on {self.metric!r}"
        if self.kind not in ("difference", "ratio"):
            return [*problems, f"{name}: kind must be 'difference' or 'ratio', not {self.kind!r}"]
        if self.kind == "ratio" and self.metric in MEASURES:
            return [*problems, f"{name}: it is no rate, and its ratio has no interval; limit its difference"]
        if self.kind == "difference" and self.metric in RANKED and not RANKED[self.metric].is_share:
            return [*problems, f"{name}: it is no share, so that a difference has no scale; limit its ratio"]
        wanted, other = ("at_most", "at_least") if self.kind == "difference" else ("at_least", "at_most")
        bound = getattr(self, wanted)
        if getattr(self, other) is not None:
            problems.append(f"{name}: a {self.kind} takes {wanted.replace('_', '-')}, not {other.replace('_', '-')}")
        if bound is None:
            problems.append(f"{name}: a {self.kind} needs {wanted.replace('_', '-')}")
        elif not 0 < bound <= 1:
            problems.append(f"{name}: {wanted.replace('_', '-')} must be over 0 and at most 1, not {_decimal(bound)}")
        return problems


def limits_named(
    name: str,
    *,
    attribute: str = "*",
    kind: Kind,
    at_most: float | str | None = None,
    at_least: float | str | None = None,
) -> tuple[Limit, ...]:
    """Return the limits that a name stands for: equalized odds are within one if both of their rates are.

    Args:
        name: One of ``LIMITED``, or a usual name of a gap, of ``parity.NAMES``.
        attribute: As in ``Limit``.
        kind: As in ``Limit``; of ``impact_ratio`` only the ratio.
        at_most: As in ``Limit``, as it was written.
        at_least: As in ``Limit``, as it was written.

    Raises:
        PlanError: The parts contradict one another.
    """
    if name == "impact_ratio" and kind == "difference":
        raise PlanError("limit on 'impact_ratio': it is a ratio; give at-least")
    return tuple(
        Limit.of(metric, attribute=attribute, kind=kind, at_most=at_most, at_least=at_least)
        for metric in NAMES.get(name, (name,))
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditSettings:
    """How the tables are read.

    Attributes:
        threshold: A row is predicted positive if its score is at least this; on an edge of the score bins.
        favourable: The label that counts as positive, or None for the second of two.
        confidence: Of every interval; a gap's interval holds with it for all pairs of groups together.
        min_cell: Groups of fewer rows are kept out of what is shown.
        score_bins: Number of bins that clients count scores in.
        limits: What the gate holds the result to.

    Raises:
        PlanError: A value is out of range; all problems are listed.
    """

    threshold: float = 0.5
    favourable: str | None = None
    confidence: float = 0.95
    min_cell: int = 10
    score_bins: int = 100
    limits: tuple[Limit, ...] = ()

    def __post_init__(self) -> None:
        problems = []
        if not 0 < self.threshold < 1:
            problems.append(f"audit: threshold must lie between 0 and 1, not {self.threshold!r}")
        if not 0 < self.confidence < 1:
            problems.append(f"audit: confidence must lie between 0 and 1, not {self.confidence!r}")
        if self.min_cell < 1:
            problems.append(f"audit: min-cell must be 1 or more, not {self.min_cell!r}")
        if self.score_bins < 2:
            problems.append(f"audit: score-bins must be 2 or more, not {self.score_bins!r}")
        elif abs(self.threshold * self.score_bins - round(self.threshold * self.score_bins)) > 1e-9:
            problems.append(
                f"audit: threshold {self.threshold!r} is on no edge of {self.score_bins} score bins; "
                f"the nearest is {round(self.threshold * self.score_bins) / self.score_bins:g}"
            )
        if problems:
            raise PlanError(problems)


def _exact(metric: str, bound: float | str | None) -> Fraction | None:
    try:
        return None if bound is None else Fraction(str(bound))
    except (ValueError, ZeroDivisionError):
        raise PlanError(f"limit on {metric!r}: {bound!r} is no number") from None


def _decimal(bound: Fraction | None) -> str:
    return "nothing" if bound is None else f"{float(bound):g}"
