"""The audit of a table as JSON: undefined and hidden values are null, never 0 or NaN."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fedcore import __version__
from fedcore.audit.table.profile_tables import profile_json
from fedcore.audit.table.result import TableResult
from fedcore.audit.tables.groups import UNKNOWN
from fedcore.audit.verdict.report import METHODS, POPULATION
from fedcore.audit.verdict.shown import MEASURE_METHODS, Shown, measure_json

SCHEMA_VERSION = 1


def result_json(result: TableResult[Any]) -> dict[str, Any]:
    """Return plain lists, strings and numbers.

    ``groups.<attribute>.<group>.<metric> = {value, low, high, n}``;
    ``gaps.<attribute>.<metric> = {difference, ratio, low, high, highest, lowest}``, the ends those of the
    difference; ``verdict`` PASS, FAIL, INCONCLUSIVE or null.
    """
    settings, shown = result.settings, result.shown
    return {
        "schema_version": SCHEMA_VERSION,
        "fedcore_version": __version__,
        "table": {"name": result.rows.source, "lines": result.rows.lines, "rows": result.rows.total},
        **result.kind.head(result),
        "confidence": settings.confidence,
        "min_cell": settings.min_cell,
        "missing": {"policy": result.options.missing, "dropped": dict(result.rows.dropped)},
        "methods": {**METHODS, **MEASURE_METHODS},
        "population": POPULATION,
        "overall": _overall(result),
        "groups": {attribute: _groups(one) for attribute, one in shown.items()},
        "gaps": {attribute: one.gaps_json() for attribute, one in shown.items()},
        "explained": {attribute: one.explained_json() for attribute, one in shown.items()},
        "suppressed": {attribute: list(one.audit.suppressed) for attribute, one in shown.items()},
        "partly_suppressed": {attribute: list(one.audit.thin) for attribute, one in shown.items()},
        "not_judged": {attribute: list(one.audit.not_judged) for attribute, one in shown.items()},
        "to_reference": {attribute: one.reference_json() for attribute, one in shown.items()},
        **result.kind.more(result),
        "profile": profile_json(result),
        "notes": list(result.notes),
        "findings": [finding.to_json() for finding in result.findings],
        "verdict": None if result.verdict is None else result.verdict.value,
    }


def like_a_run(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return the JSON of a table in the shape of a run's: everything about a gap in one place."""
    gaps = {
        attribute: {name: {**gap, **content["explained"][attribute].get(name, {})} for name, gap in found.items()}
        for attribute, found in content["gaps"].items()
    }
    return {**content, "overall": dict.fromkeys(content["groups"], content["overall"]), "gaps": gaps}


def _overall(result: TableResult[Any]) -> dict[str, Any]:
    audit = next(iter(result.audits.values()))
    shown = {name: one for name, one in audit.overall.items() if name in result.metrics or name not in audit.groups}
    return {name: measure_json(one, suppressed=audit.hides_overall(name)) for name, one in shown.items()}


def _groups(shown: Shown) -> dict[str, Any]:
    """Return the groups; "unknown" only if it has rows, since nobody declared it."""
    return {g: of for g, of in shown.groups_json().items() if g != UNKNOWN or shown.audit.sizes[UNKNOWN]}
