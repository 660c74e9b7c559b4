"""Limits as they are written on a command line: ``selection_rate>=0.8`` or ``sex:accuracy<=0.05``."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

from fedcore.audit.limits import LIMITED, Kind, Limit, contradicting, limits_named
from fedcore.audit.parity import NAMES
from fedcore.audit.rankings import RANKED
from fedcore.errors import PlanError

_LIMIT = re.compile(
    r"\s*(?:(?P<attribute>.+?)\s*:)?\s*"
    r"(?:(?P<metric>\w+)|(?P<extreme>min|max)\s*\(\s*(?P<within>\w+)\s*\))\s*"
    r"(?P<sign><=|>=)\s*(?P<bound>\S+)\s*"
)
_SIGNS = {"min": ">=", "max": "<="}


def limits_of(texts: Iterable[str], *, attributes: Iterable[str], metrics: Iterable[str]) -> tuple[Limit, ...]:
    """Return the limits; ``<=`` limits a difference, ``>=`` a ratio, ``min(…)>=`` and ``max(…)<=`` every group.

    The usual names stand for the metrics they are formed of: equalized odds are within a limit if the true and
    the false positive rates both are.

    Args:
        texts: ``[ATTRIBUTE:]METRIC<=NUMBER`` or ``>=``, or ``min(METRIC)>=NUMBER`` or ``max(METRIC)<=NUMBER``.
        attributes: What is audited.
        metrics: What is measured.

    Raises:
        PlanError: A limit cannot be read, names what is not audited, or contradicts another; all are listed.
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
    return tuple(limits)


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
    if metric == "impact_ratio" and found["sign"] == "<=":
        raise PlanError("an impact ratio is a ratio; limit it with >=")
    allowed = [*RANKED] if measured & set(RANKED) else [*LIMITED, *NAMES]
    if metric not in allowed:
        near = difflib.get_close_matches(metric, allowed, n=1)
        meant = f"did you mean {near[0]!r}?" if near else f"limits are on {', '.join(allowed)}"
        raise PlanError(f"unknown metric {metric!r}; {meant}")
    bound = {"at_most" if found["sign"] == "<=" else "at_least": found["bound"]}
    between: Kind = "difference" if found["sign"] == "<=" else "ratio"
    limits = limits_named(metric, attribute=attribute, kind="worst-group" if found["extreme"] else between, **bound)
    absent = [limit.metric for limit in limits if limit.metric not in measured]
    if absent:
        raise PlanError(f"{absent[0]} is not measured here; measured are {', '.join(sorted(measured))}")
    return [*limits]
