"""Limits as they are written on a command line: ``selection_rate>=0.8`` or ``sex:accuracy<=0.05``."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

from fedcore.audit.parity import NAMES
from fedcore.audit.rankings import RANKED
from fedcore.audit.settings import LIMITED, Limit
from fedcore.errors import PlanError

_LIMIT = re.compile(r"\s*(?:(?P<attribute>.+?)\s*:)?\s*(?P<metric>\w+)\s*(?P<sign><=|>=)\s*(?P<bound>\S+)\s*")


def limits_of(texts: Iterable[str], *, attributes: Iterable[str], metrics: Iterable[str]) -> tuple[Limit, ...]:
    """Return the limits; ``<=`` limits a difference, and ``>=`` a ratio.

    The usual names stand for the metrics they are formed of: equalized odds are within a limit if the true and
    the false positive rates both are.

    Args:
        texts: ``[ATTRIBUTE:]METRIC<=NUMBER`` or ``>=``.
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
    problems += _contradictions(limits)
    if problems:
        raise PlanError(problems)
    return tuple(limits)


def _limits(text: str, attributes: list[str], measured: set[str]) -> list[Limit]:
    found = _LIMIT.fullmatch(text)
    if found is None:
        raise PlanError("expected METRIC<=NUMBER for a difference, or METRIC>=NUMBER for a ratio")
    attribute, metric, bound = found["attribute"] or "*", found["metric"], found["bound"]
    if attribute not in ("*", *attributes):
        raise PlanError(f"attribute {attribute!r} is not audited; audited are {', '.join(attributes)}")
    if metric == "impact_ratio" and found["sign"] == "<=":
        raise PlanError("an impact ratio is a ratio; limit it with >=")
    allowed = [*RANKED] if measured & set(RANKED) else [*LIMITED, *NAMES]
    if metric not in allowed:
        near = difflib.get_close_matches(metric, allowed, n=1)
        meant = f"did you mean {near[0]!r}?" if near else f"limits are on {', '.join(allowed)}"
        raise PlanError(f"unknown metric {metric!r}; {meant}")
    limits = [_limit(each, attribute, found["sign"], bound) for each in NAMES.get(metric, (metric,))]
    absent = [limit.metric for limit in limits if limit.metric not in measured]
    if absent:
        raise PlanError(f"{absent[0]} is not measured here; it needs --label or --score")
    return limits


def _limit(metric: str, attribute: str, sign: str, bound: str) -> Limit:
    if sign == "<=":
        return Limit.of(metric, attribute=attribute, kind="difference", at_most=bound)
    return Limit.of(metric, attribute=attribute, kind="ratio", at_least=bound)


def _contradictions(limits: list[Limit]) -> list[str]:
    first: dict[tuple[str, str, str], Limit] = {}
    problems = []
    for limit in limits:
        other = first.setdefault((limit.attribute, limit.metric, limit.kind), limit)
        if other != limit:
            problems.append(f"--limit: {other.words} and {limit.words} contradict each other; keep one")
    return problems
