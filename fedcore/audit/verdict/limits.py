"""Limits on gaps, and on how the worst group is served, declared before any result is seen."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Self

from fedcore.audit.metrics.catalogue import CATALOGUE, ESTIMATED, RATES
from fedcore.audit.metrics.metric import Kind
from fedcore.audit.metrics.parity import NAMES
from fedcore.errors import PlanError

LIMITED: tuple[str, ...] = tuple(name for name in (*RATES, *ESTIMATED) if CATALOGUE[name].limits)
"""What a limit may be set on."""
WATCHED: tuple[str, ...] = tuple(name for name in LIMITED if CATALOGUE[name].watched)
"""Measured in every evaluated round, not of the released model only."""
_LIMIT = re.compile(
    r"\s*(?:(?P<attribute>.+?)\s*:)?\s*"
    r"(?:(?P<metric>\w+)|(?P<extreme>min|max)\s*\(\s*(?P<within>\w+)\s*\))\s*"
    r"(?P<sign><=|>=)\s*(?P<bound>\S+)\s*"
)
_SIGNS = {"min": ">=", "max": "<="}
_WRITTEN: dict[Kind, str] = {"difference": "{}<=X", "ratio": "{}>=X", "worst-group": "max({})<=X"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """A limit on a gap, or on how the worst group is served.

    Attributes:
        metric: One of ``LIMITED``; for metrics other than rates not with a ratio.
        attribute: Name of an audited attribute, or ``"*"`` for every one.
        kind: ``"difference"`` (highest - lowest), ``"ratio"`` (lowest / highest), or ``"worst-group"``, the metric
            itself in every group.
        at_most: For a difference, or the most of the worst group; over 0, and of shares at most 1.
        at_least: For a ratio, or the least of the worst group; in (0, 1].

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
        """Return the limit with its bound as written: 0.8 is 4/5, not the nearest float.

        Raises:
            PlanError: As the class; or a bound is not a number.
        """
        most, least = _exact(metric, at_most), _exact(metric, at_least)
        return cls(metric=metric, attribute=attribute, kind=kind, at_most=most, at_least=least)

    @property
    def words(self) -> str:
        """The limit as a sentence's end: ``selection rate ratio over sex at least 0.8``."""
        bound = f"at {'least' if self.at_most is None else 'most'} {_decimal(self.bound)}"
        over = "every attribute" if self.attribute == "*" else self.attribute
        metric = self.metric.replace("_", " ")
        if self.kind == "worst-group":
            return f"{metric} in every group of {over} {bound}"
        return f"{metric} {self.kind} over {over} {bound}"

    @property
    def bound(self) -> Fraction:
        return next(bound for bound in (self.at_most, self.at_least) if bound is not None)

    @property
    def unbounded(self) -> bool:
        """Whether the metric is in the target's own unit, so that its size is unbounded."""
        return self.metric in CATALOGUE and CATALOGUE[self.metric].in_own_unit

    def _problems(self) -> list[str]:
        row = CATALOGUE.get(self.metric)
        if row is not None and row.instead:
            nearest = " or ".join(f"on {metric!r} of kind {kind!r}" for metric, kind in row.instead)
            return [f"limit: {self.metric!r} is reported, and has no limit; set one {nearest}"]
        problems = [] if self.metric in LIMITED else [self._unknown()]
        name = f"limit on {self.metric!r}"
        if self.kind not in ("difference", "ratio", "worst-group"):
            return [*problems, f"{name}: kind must be 'difference', 'ratio' or 'worst-group', not {self.kind!r}"]
        if self.metric in LIMITED and row is not None and self.kind not in row.limits:
            return [f"{name}: it is no rate, and its ratio has no interval; limit its difference"]
        return [*problems, *(f"{name}: {problem}" for problem in self._bound_problems())]

    def _unknown(self) -> str:
        near = difflib.get_close_matches(str(self.metric), [*LIMITED, *NAMES], n=1)
        meant = f"did you mean {near[0]!r}?" if near else f"the metrics are {', '.join([*LIMITED, *NAMES])}"
        return f"limit: unknown metric {self.metric!r}; {meant}"

    def _bound_problems(self) -> Iterator[str]:
        bounds = {"at-most": self.at_most, "at-least": self.at_least}
        given = {name: bound for name, bound in bounds.items() if bound is not None}
        if self.kind == "worst-group":
            if len(given) != 1:
                yield "a worst-group takes either at-most or at-least"
        else:
            wanted, other = ("at-most", "at-least") if self.kind == "difference" else ("at-least", "at-most")
            if other in given:
                yield f"a {self.kind} takes {wanted}, not {other}"
            if wanted not in given:
                yield f"a {self.kind} needs {wanted}"
        for name, bound in given.items():
            if self.kind == "worst-group" and self.metric in CATALOGUE and CATALOGUE[self.metric].signed:
                continue
            if self.unbounded and bound <= 0:
                yield f"{name} must be over 0, not {_decimal(bound)}"
            elif not self.unbounded and not 0 < bound <= 1:
                yield f"{name} must be over 0 and at most 1, not {_decimal(bound)}"


def limits_named(
    name: str,
    *,
    attribute: str = "*",
    kind: Kind,
    at_most: float | str | None = None,
    at_least: float | str | None = None,
) -> tuple[Limit, ...]:
    """Return the limits behind a name: equalized odds are within a limit if both of their rates are.

    Args:
        name: One of ``LIMITED``, or a usual name of a gap, of ``parity.NAMES``.
        kind: As in ``Limit``; for ``impact_ratio`` only the ratio, and no worst group of a usual name.

    Raises:
        PlanError: The parts contradict one another.
    """
    if name == "impact_ratio" and kind == "difference":
        raise PlanError("limit on 'impact_ratio': it is a ratio; give at-least")
    if name in NAMES and kind == "worst-group":
        raise PlanError(f"limit on {name!r}: it is a gap, which no group has by itself; name a rate")
    return tuple(
        Limit.of(metric, attribute=attribute, kind=kind, at_most=at_most, at_least=at_least)
        for metric in NAMES.get(name, (name,))
    )


def contradicting(limits: Iterable[Limit]) -> Iterator[str]:
    """Return the limits that no result could keep, or that are given twice and differ, in words."""
    first: dict[tuple[str, str, str, bool], Limit] = {}
    for limit in limits:
        other = first.setdefault((limit.attribute, limit.metric, limit.kind, limit.at_most is None), limit)
        if other != limit:
            yield f"{other.words} and {limit.words} contradict each other; keep one"
        opposite = first.get((limit.attribute, limit.metric, limit.kind, limit.at_most is not None))
        if opposite is not None and _apart(limit, opposite):
            yield f"{opposite.words} and {limit.words}: no value is within both"


def _apart(one: Limit, other: Limit) -> bool:
    least = one.at_least if one.at_least is not None else other.at_least
    most = one.at_most if one.at_most is not None else other.at_most
    return one.kind == "worst-group" and least is not None and most is not None and least > most


def _exact(metric: str, bound: float | str | None) -> Fraction | None:
    try:
        return None if bound is None else Fraction(str(bound))
    except (ValueError, ZeroDivisionError):
        raise PlanError(f"limit on {metric!r}: {bound!r} is no number") from None


def _decimal(bound: Fraction) -> str:
    return f"{float(bound):g}"


def limits_of(texts: Iterable[str], *, attributes: Iterable[str], metrics: Iterable[str]) -> tuple[Limit, ...]:
    """Return the limits; ``<=`` limits a difference, ``>=`` a ratio, ``min(…)>=`` and ``max(…)<=`` every group.

    The usual names stand for the metrics they are formed of: equalized odds are within a limit if the true and
    the false positive rates both are.

    Args:
        texts: ``[ATTRIBUTE:]METRIC<=NUMBER`` or ``>=``, or ``min(METRIC)>=NUMBER`` or ``max(METRIC)<=NUMBER``.

    Raises:
        PlanError: A limit cannot be read, names something that is not audited, or contradicts another; lists all.
    """
    problems: list[str] = []
    limits: list[Limit] = []
    known, measured = list(attributes), set(metrics)
    for text in texts:
        try:
            limits += _limits(text, known, measured)
        except PlanError as error:
            problems += [f"--limit {text!r}: {problem}" for problem in error.problems]
    problems += [f"--limit: {problem}" for problem in contradicting(limits)]
    if problems:
        raise PlanError(problems)
    return tuple(dict.fromkeys(limits))


def _limits(text: str, attributes: list[str], measured: set[str]) -> list[Limit]:
    found = _LIMIT.fullmatch(text)
    if found is None:
        raise PlanError(
            "expected METRIC<=NUMBER for a difference, METRIC>=NUMBER for a ratio, or min(METRIC)>=NUMBER or "
            "max(METRIC)<=NUMBER for every group"
        )
    attribute, metric = found["attribute"] or "*", found["metric"] or found["within"]
    if found["extreme"] and found["sign"] != _SIGNS[found["extreme"]]:
        raise PlanError("no group may have less than min(METRIC)>=NUMBER, nor more than max(METRIC)<=NUMBER")
    if attribute not in ("*", *attributes):
        raise PlanError(f"attribute {attribute!r} is not audited; audited are {', '.join(attributes)}")
    _check_measured(metric, measured)
    if metric == "impact_ratio" and found["sign"] == "<=":
        raise PlanError("an impact ratio is a ratio; limit it with >=")
    bound = {"at_most" if found["sign"] == "<=" else "at_least": found["bound"]}
    between: Kind = "difference" if found["sign"] == "<=" else "ratio"
    kind = "worst-group" if found["extreme"] else between
    return [*limits_named(metric, attribute=attribute, kind=kind, **bound)]


def _check_measured(metric: str, measured: set[str]) -> None:
    """Refuse a metric that is not measured of this table, with the ones that are."""
    here = [*sorted(measured), *(name for name, parts in NAMES.items() if measured.issuperset(parts))]
    if metric in here:
        return
    instead = CATALOGUE[metric].instead if metric in CATALOGUE else ()
    if instead:
        nearest = [(name, kind) for name, kind in instead if name in measured] or instead
        written = " or ".join(_WRITTEN[kind].format(name) for name, kind in nearest)
        raise PlanError(f"{metric} is reported, and has no limit; give {written}")
    if metric in {*LIMITED, *NAMES}:
        raise PlanError(f"{metric} is not measured here; measured are {', '.join(here)}")
    near = difflib.get_close_matches(metric, here, n=1)
    meant = f"did you mean {near[0]!r}?" if near else f"measured here are {', '.join(here)}"
    raise PlanError(f"unknown metric {metric!r}; {meant}")
