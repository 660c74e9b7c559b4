"""From rows to the audit of every attribute, and its JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from fedcore import __version__
from fedcore.audit.fairness import METRICS, AttributeAudit, audit_tables, rate_json
from fedcore.audit.gaps import Gap
from fedcore.audit.gate import Finding, Verdict, judge_all, overall
from fedcore.audit.groups import UNKNOWN, GroupTable
from fedcore.audit.parity import Parity, impact_ratios, parities
from fedcore.audit.rates import Rate
from fedcore.audit.report import METHODS, POPULATION
from fedcore.audit.settings import AuditSettings
from fedcore_simulations.bias_audit.grouping import Coded
from fedcore_simulations.bias_audit.limits import limits_of
from fedcore_simulations.bias_audit.options import BiasOptions
from fedcore_simulations.bias_audit.rows import Rows, threshold_of

SCHEMA_VERSION = 1
MIN_CELL = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class BiasResult:
    """What was found in one table.

    Attributes:
        options: What was asked for.
        rows: The table.
        settings: How it was read.
        audits: Audit of each attribute.
        metrics: Names of the rates that are measured.
    """

    options: BiasOptions
    rows: Rows
    settings: AuditSettings
    audits: Mapping[str, AttributeAudit]
    metrics: tuple[str, ...]

    @property
    def findings(self) -> tuple[Finding, ...]:
        """Every limit held against every attribute it names."""
        return judge_all(self.settings.limits, self.audits)

    @property
    def verdict(self) -> Verdict | None:
        """The worst of the findings; None without limits, which is no PASS."""
        return overall(self.findings)

    def shown_rates(self, attribute: str) -> dict[str, dict[str, Rate]]:
        """Return ``{metric: {group: rate}}`` without the groups that are not shown."""
        audit = self.audits[attribute]
        return {
            metric: {group: rate for group, rate in audit.groups[metric].items() if group not in audit.suppressed}
            for metric in self.metrics
        }

    def shown_impact(self, attribute: str) -> dict[str, Rate | None]:
        """Return the impact ratio of every group that is shown."""
        rates = self.shown_rates(attribute)["selection_rate"]
        return impact_ratios(rates, confidence=self.settings.confidence)

    def shown_parities(self, attribute: str) -> dict[str, Parity]:
        """Return the gaps under their usual names, over the groups that are shown."""
        return parities(attribute, self.shown_rates(attribute), confidence=self.settings.confidence)

    def listed(self, attribute: str) -> tuple[str, ...]:
        """Return the groups that have a line: all but an "unknown" of no rows."""
        sizes = self.audits[attribute].sizes
        return tuple(group for group, size in sizes.items() if group != UNKNOWN or size)

    def to_json(self) -> dict[str, Any]:
        """Return plain lists, strings and numbers; undefined and suppressed are null, never 0 or NaN."""
        options = self.options
        any_audit = next(iter(self.audits.values()))
        few = self.rows.total < self.settings.min_cell
        return {
            "schema_version": SCHEMA_VERSION,
            "fedcore_version": __version__,
            "table": {"name": self.rows.source, "lines": len(self.rows.weights), "rows": self.rows.total},
            "columns": {
                "label": options.label,
                "score": options.score,
                "prediction": options.prediction,
                "weight": options.weight,
                "site": options.site,
            },
            "favourable": self.rows.labels[1],
            "threshold": threshold_of(options),
            "confidence": self.settings.confidence,
            "min_cell": self.settings.min_cell,
            "methods": dict(METHODS),
            "population": POPULATION,
            "overall": {metric: _rate(any_audit.overall[metric], hidden=few) for metric in self.metrics},
            "groups": {attribute: self._groups_json(attribute) for attribute in self.audits},
            "gaps": {attribute: self._gaps_json(attribute) for attribute in self.audits},
            "explained": {attribute: self._explained(attribute) for attribute in self.audits},
            "suppressed": {attribute: list(audit.suppressed) for attribute, audit in self.audits.items()},
            "notes": list(self.notes),
            "findings": [finding.to_json() for finding in self.findings],
            "verdict": None if self.verdict is None else self.verdict.value,
        }

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader must know beside the numbers, in sentences."""
        found = [*self.rows.notes]
        for attribute, audit in self.audits.items():
            found += _notes(attribute, audit, self.shown_rates(attribute))
        return tuple(found)

    def _groups_json(self, attribute: str) -> dict[str, Any]:
        audit, impact = self.audits[attribute], self.shown_impact(attribute)
        return {
            group: {
                **{
                    metric: _rate(audit.groups[metric][group], hidden=group in audit.suppressed)
                    for metric in self.metrics
                },
                "impact_ratio": _rate(impact.get(group), hidden=group in audit.suppressed),
            }
            for group in self.listed(attribute)
        }

    def _gaps_json(self, attribute: str) -> dict[str, Any]:
        gaps = self.audits[attribute].shown_gaps
        named = {name: asdict(parity) for name, parity in self.shown_parities(attribute).items()}
        return {**{metric: _gap(gaps[metric]) for metric in self.metrics}, **named}

    def _explained(self, attribute: str) -> dict[str, Any]:
        gaps = self.audits[attribute].shown_gaps
        return {
            metric: {
                "words": gap.words,
                "ratio_low": gap.ratio_low,
                "ratio_high": gap.ratio_high,
                "compared": list(gap.groups_compared),
                "undefined": list(gap.undefined),
            }
            for metric in self.metrics
            for gap in (gaps[metric],)
        }


def audit_rows(rows: Rows, options: BiasOptions) -> BiasResult:
    """Count the rows by group, and audit the counts.

    Raises:
        PlanError: A limit contradicts what is audited.
        DataError: The rows cannot be counted.
    """
    metrics = METRICS if rows.truth is not None else ("selection_rate",)
    settings = AuditSettings(
        confidence=options.confidence,
        min_cell=MIN_CELL if options.min_cell is None else options.min_cell,
        limits=limits_of(options.limits, attributes=rows.groups, metrics=metrics),
    )
    tables = [decision_table(rows, attribute, coded) for attribute, coded in rows.groups.items()]
    return BiasResult(
        options=options, rows=rows, settings=settings, audits=audit_tables(tables, settings), metrics=metrics
    )


def decision_table(rows: Rows, attribute: str, coded: Coded) -> GroupTable:
    """Count labels and decisions by group; without labels the decision stands in, and only it may be read."""
    return GroupTable.collect(
        attribute=attribute,
        groups=coded.vocabulary,
        labels=rows.labels,
        group_codes=coded.codes,
        label_codes=rows.selected if rows.truth is None else rows.truth,
        predictions=rows.selected,
        weights=rows.weights,
    )


def _rate(rate: Rate | None, *, hidden: bool) -> dict[str, Any]:
    if hidden or rate is None:
        return {"value": None, "low": None, "high": None, "n": None if hidden else 0}
    return rate_json(rate)


def _gap(gap: Gap) -> dict[str, Any]:
    return {
        "difference": gap.difference,
        "ratio": gap.ratio,
        "low": gap.difference_low,
        "high": gap.difference_high,
        "highest": gap.highest,
        "lowest": gap.lowest,
    }


def _notes(attribute: str, audit: AttributeAudit, shown: Mapping[str, Mapping[str, Rate]]) -> list[str]:
    found = []
    unknown = audit.sizes[UNKNOWN]
    if unknown and UNKNOWN not in audit.suppressed:
        found.append(f"{attribute}: {unknown:,} rows of unknown group; their rates are shown, and not compared")
    if audit.suppressed:
        found.append(
            f"{attribute}: not shown, because it has fewer than {audit.settings.min_cell} rows or would give such a "
            f"group back: {', '.join(audit.suppressed)}"
        )
    for metric, rates in shown.items():
        undefined = [group for group, rate in rates.items() if rate.value is None and group != UNKNOWN]
        if undefined:
            found.append(f"{attribute}: {metric.replace('_', ' ')} is undefined for {', '.join(undefined)}")
    return found
