"""Limits as they are written on a command line: ``selection_rate>=0.8`` or ``sex:accuracy<=0.05``."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

from fedcore.audit.metrics.catalogue import CATALOGUE
from fedcore.audit.metrics.metric import Kind
from fedcore.audit.metrics.parity import NAMES
from fedcore.audit.verdict.limits import LIMITED, Limit, contradicting, limits_named
from fedcore.errors import PlanError

_LIMIT = re.compile(
    r"\s*(?:(?P<attribute>.+?)\s*:)?\s*"
    r"(?:(?P<metric>\w+)|(?P<extreme>min|max)\s*\(\s*(?P<within>\w+)\s*\))\s*"
    r"(?P<sign><=|>=)\s*(?P<bound>\S+)\s*"
)
_SIGNS = {"min": ">=", "max": "<="}
_WRITTEN: dict[Kind, str] = {"difference": "{}<=X", "ratio": "{}>=X", "worst-group": "max({})<=X"}


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
