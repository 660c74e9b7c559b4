"""The audit of a table as JSON: undefined and not shown are null, never 0 or NaN."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from fedcore import __version__
from fedcore.audit.estimates import Measure
from fedcore.audit.gaps import Gap
from fedcore.audit.groups import UNKNOWN
from fedcore.audit.rates import Rate
from fedcore.audit.report import METHODS, POPULATION
from fedcore.audit.unknowns import bounds
from fedcore_simulations.bias_audit.by_site import site_splits, splits_json
from fedcore_simulations.bias_audit.profile_tables import profile_json
from fedcore_simulations.bias_audit.result import BiasResult
from fedcore_simulations.bias_audit.rows import threshold_of

SCHEMA_VERSION = 1
_METHODS = {
    **METHODS,
    "auc": "score interval of the Mann-Whitney statistic, method 5 (Newcombe 2006), at DeLong's variance if larger",
    "brier_score": "Wilson score interval at the effective number of rows",
    "calibration_slope": "normal, with White's standard error (1980)",
    "balanced_accuracy, and differences of what is no rate": "square-and-add (Zou and Donner 2008)",
    "others": "parametric bootstrap of the counts, 2,000 draws",
}


def result_json(result: BiasResult) -> dict[str, Any]:
    """Return plain lists, strings and numbers.

    ``groups.<attribute>.<group>.<metric> = {value, low, high, n}``;
    ``gaps.<attribute>.<metric> = {difference, ratio, low, high, highest, lowest}``, the ends those of the
    difference; ``verdict`` PASS, FAIL, INCONCLUSIVE or null.
    """
    options, settings = result.options, result.settings
    return {
        "schema_version": SCHEMA_VERSION,
        "fedcore_version": __version__,
        "table": {"name": result.rows.source, "lines": len(result.rows.weights), "rows": result.rows.total},
        "columns": {name: getattr(options, name) for name in ("label", "score", "prediction", "weight", "site")},
        "favourable": result.rows.labels[1],
        "threshold": threshold_of(options),
        "confidence": settings.confidence,
        "min_cell": settings.min_cell,
        "methods": _METHODS,
        "population": POPULATION,
        "overall": _overall(result),
        "groups": {attribute: _groups(result, attribute) for attribute in result.audits},
        "gaps": {attribute: _gaps(result, attribute) for attribute in result.audits},
        "explained": {attribute: _explained(result, attribute) for attribute in result.audits},
        "unknown_bounds": {attribute: _bounds(result, attribute) for attribute in result.audits},
        "sites": splits_json(result, site_splits(result)),
        "cross_group_auc": {attribute: _cross_areas(result, attribute) for attribute in result.audits},
        "profile": profile_json(result),
        "suppressed": {attribute: list(audit.suppressed) for attribute, audit in result.audits.items()},
        "notes": list(result.notes),
        "findings": [finding.to_json() for finding in result.findings],
        "verdict": None if result.verdict is None else result.verdict.value,
    }


def _overall(result: BiasResult) -> dict[str, Any]:
    of_all = next(iter(result.audits.values())).overall
    few = result.rows.total < result.settings.min_cell
    return {metric: _told(of_all[metric], hidden=few) for metric in result.metrics}


def _groups(result: BiasResult, attribute: str) -> dict[str, Any]:
    hidden = result.audits[attribute].suppressed
    measured: dict[str, Mapping[str, Rate | Measure | None]] = {
        **result.shown_rates(attribute),
        "impact_ratio": result.shown_impact(attribute),
        **result.shown_measures(attribute),
    }
    return {
        group: {metric: _told(of.get(group), hidden=group in hidden) for metric, of in measured.items()}
        for group in result.listed(attribute)
    }


def _told(one: Rate | Measure | None, *, hidden: bool) -> dict[str, Any]:
    if hidden or one is None:
        return {"value": None, "low": None, "high": None, "n": None if hidden else 0}
    return {"value": one.value, "low": one.low, "high": one.high, "n": one.n}


def _gaps(result: BiasResult, attribute: str) -> dict[str, Any]:
    named = {**result.shown_parities(attribute), **result.shown_distances(attribute)}
    return {
        **{metric: _gap(gap) for metric, gap in _measured(result, attribute).items()},
        **{name: asdict(parity) for name, parity in named.items()},
    }


def _gap(gap: Gap) -> dict[str, Any]:
    return {
        "difference": gap.difference,
        "ratio": gap.ratio,
        "low": gap.difference_low,
        "high": gap.difference_high,
        "highest": gap.highest,
        "lowest": gap.lowest,
    }


def _bounds(result: BiasResult, attribute: str) -> dict[str, Any]:
    """Return each group's selection rate at the least and at the most, whoever the unknown rows are."""
    rates = result.shown_rates(attribute)["selection_rate"]
    unknown = rates.get(UNKNOWN)
    if unknown is None or not unknown.n:
        return {}
    found = {group: bounds(rate, unknown) for group, rate in rates.items() if group != UNKNOWN}
    return {group: {"low": ends.low, "high": ends.high} for group, ends in found.items() if ends is not None}


def _explained(result: BiasResult, attribute: str) -> dict[str, Any]:
    return {
        metric: {
            "words": gap.words,
            "ratio_low": gap.ratio_low,
            "ratio_high": gap.ratio_high,
            "compared": list(gap.groups_compared),
            "undefined": list(gap.undefined),
        }
        for metric, gap in _measured(result, attribute).items()
    }


def _measured(result: BiasResult, attribute: str) -> dict[str, Gap]:
    """Return the gaps of what is measured; without labels the others mean nothing."""
    wanted = {*result.metrics, *result.measures[attribute].estimates}
    return {metric: gap for metric, gap in result.audits[attribute].shown_gaps.items() if metric in wanted}


def _cross_areas(result: BiasResult, attribute: str) -> dict[str, dict[str, Any]]:
    """Return ``{group of the favourable rows: {group of the others: area}}``."""
    hidden, confidence = result.audits[attribute].suppressed, result.settings.confidence
    found: dict[str, dict[str, Any]] = {}
    for (first, second), estimate in result.measures[attribute].cross_areas.items():
        if first not in hidden and second not in hidden:
            found.setdefault(first, {})[second] = _told(estimate.measure(confidence), hidden=False)
    return found
