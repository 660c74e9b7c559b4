"""The audit of a table as JSON: undefined and not shown are null, never 0 or NaN."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fedcore import __version__
from fedcore.audit.table.by_site import site_splits, splits_json
from fedcore.audit.table.profile_tables import profile_json
from fedcore.audit.table.result import BiasResult
from fedcore.audit.table.selection import threshold_of
from fedcore.audit.tables.groups import UNKNOWN
from fedcore.audit.verdict.report import METHODS, POPULATION
from fedcore.audit.verdict.shown import MEASURE_METHODS, Shown, measure_json

SCHEMA_VERSION = 1


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
        "favourable": result.rows.favourable,
        "favourable_is_a_guess": result.rows.guessed,
        "labels": list(result.rows.labels),
        "threshold": threshold_of(options),
        "confidence": settings.confidence,
        "min_cell": settings.min_cell,
        "missing": {"policy": options.missing, "dropped": dict(result.rows.dropped)},
        "methods": {**METHODS, **MEASURE_METHODS},
        "population": POPULATION,
        "overall": _overall(result),
        **attributes_json(result.shown),
        "to_reference": {attribute: shown.reference_json() for attribute, shown in result.shown.items()},
        "by_class": {attribute: shown.classes_json() for attribute, shown in result.shown.items()},
        "unknown_bounds": {attribute: shown.bounds_json() for attribute, shown in result.shown.items()},
        "sites": splits_json(result, site_splits(result)),
        "cross_group_auc": {attribute: shown.cross_areas_json() for attribute, shown in result.shown.items()},
        "auc_bounds": {attribute: shown.area_bounds_json() for attribute, shown in result.shown.items()},
        "calibration": {attribute: shown.calibration_json() for attribute, shown in result.shown.items()},
        "profile": profile_json(result),
        "notes": list(result.notes),
        "findings": [finding.to_json() for finding in result.findings],
        "verdict": None if result.verdict is None else result.verdict.value,
    }


def attributes_json(shown: Mapping[str, Shown]) -> dict[str, Any]:
    """Return what every kind of audit tells of its attributes."""
    return {
        "groups": {attribute: _groups(one) for attribute, one in shown.items()},
        "gaps": {attribute: one.gaps_json() for attribute, one in shown.items()},
        "explained": {attribute: one.explained_json() for attribute, one in shown.items()},
        "suppressed": {attribute: list(one.audit.suppressed) for attribute, one in shown.items()},
        "partly_suppressed": {attribute: list(one.audit.thin) for attribute, one in shown.items()},
        "not_judged": {attribute: list(one.audit.not_judged) for attribute, one in shown.items()},
    }


def _overall(result: BiasResult) -> dict[str, Any]:
    audit = next(iter(result.audits.values()))
    return {
        metric: measure_json(audit.overall[metric], suppressed=audit.hides_overall(metric)) for metric in result.metrics
    }


def _groups(shown: Shown) -> dict[str, Any]:
    """Return the groups without an "unknown" of no rows, for nobody has declared one."""
    return {g: of for g, of in shown.groups_json().items() if g != UNKNOWN or shown.audit.sizes[UNKNOWN]}
