"""From rows to the audit of every attribute, for each kind of table."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Generic

from fedcore.audit.metrics.catalogue import CATALOGUE
from fedcore.audit.metrics.classes import with_classes
from fedcore.audit.metrics.measures import Measures, measures_of
from fedcore.audit.metrics.observed import Observed
from fedcore.audit.table.options import MIN_CELL, BiasOptions
from fedcore.audit.table.rows import Outcomes, Rows
from fedcore.audit.table.text.groups import Shares, attribute_notes
from fedcore.audit.tables.values import AuditTable
from fedcore.audit.verdict.attribute_audit import AttributeAudit
from fedcore.audit.verdict.fairness import audit_tables
from fedcore.audit.verdict.gate import Finding, Verdict, judge_all, overall
from fedcore.audit.verdict.limits import limits_of
from fedcore.audit.verdict.settings import AuditSettings, check_references
from fedcore.audit.verdict.shown import Shown
from fedcore.tasks.tabular.table import Table


@dataclass(frozen=True, slots=True, kw_only=True)
class TableKind(Generic[Outcomes]):
    """One kind of table.

    Attributes:
        read: Makes rows from a table, the left-out rows by column, and the options.
        count: Makes the table of counts of an attribute.
        observed: Makes the input of metrics other than rates.
        sources: What these can be computed from, in the words of `Metric.source`.
        shown_rates: The rates that are defined by themselves.
    """

    example: str
    unit: str
    read: Callable[[Table, dict[str, int], BiasOptions], Rows[Outcomes]]
    count: Callable[[Rows[Outcomes], str], Any]
    observed: Callable[[Rows[Outcomes], Any, BiasOptions], Observed]
    sources: Callable[[Rows[Outcomes], BiasOptions], set[str]]
    rates: Callable[[Rows[Outcomes]], tuple[str, ...]]
    shown_rates: Callable[[Rows[Outcomes]], tuple[str, ...]]
    columns: Callable[[TableResult[Outcomes]], str]
    head: Callable[[TableResult[Outcomes]], dict[str, Any]]
    more: Callable[[TableResult[Outcomes]], dict[str, Any]]
    sites: Callable[[TableResult[Outcomes], str], Iterator[str]]


@dataclass(frozen=True, kw_only=True)
class TableResult(Generic[Outcomes]):
    """The audit of one table; `tables`, `audits` and `measures` are by attribute."""

    kind: TableKind[Outcomes]
    options: BiasOptions
    rows: Rows[Outcomes]
    settings: AuditSettings
    tables: Mapping[str, AuditTable]
    audits: Mapping[str, AttributeAudit]
    measures: Mapping[str, Measures]

    @property
    def metrics(self) -> tuple[str, ...]:
        return self.kind.shown_rates(self.rows)

    @cached_property
    def findings(self) -> tuple[Finding, ...]:
        return judge_all(self.settings.limits, self.audits)

    @property
    def verdict(self) -> Verdict | None:
        """The worst of the findings; None without limits, which is not a PASS."""
        return overall(finding.verdict for finding in self.findings)

    @cached_property
    def shown(self) -> dict[str, Shown]:
        return {
            name: Shown(audit=audit, measures=self.measures[name], metrics=self.metrics)
            for name, audit in self.audits.items()
        }

    def to_share(self) -> TableResult[Outcomes]:
        """Return the same with small cells hidden; unchanged if the options set the smallest size."""
        return self if self.options.min_cell is not None else self.hiding(MIN_CELL)

    def hiding(self, min_cell: int) -> TableResult[Outcomes]:
        """Return the same without groups and rates of fewer rows; 1 hides nothing."""
        if self.settings.min_cell == min_cell:
            return self
        settings = replace(self.settings, min_cell=min_cell)
        return replace(self, settings=settings, audits=_audits(self.tables, settings, self.measures))

    def notes_on(self, metrics: Collection[str]) -> tuple[str, ...]:
        """Return what a reader must know about these metrics besides the numbers, in sentences."""
        found = [*self.rows.notes, *self._ranks_the_wrong_way]
        for attribute, audit in self.audits.items():
            shown: Shares = {**self.shown[attribute].rates, **self.shown[attribute].estimates}
            found += attribute_notes(attribute, audit, {name: of for name, of in shown.items() if name in metrics})
        return tuple(found)

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader must know besides the numbers, in sentences."""
        return self.notes_on(CATALOGUE)

    @property
    def _ranks_the_wrong_way(self) -> tuple[str, ...]:
        """A sentence if scores are higher for rows of the other label, over all groups; else none."""
        of_all = next(iter(self.measures.values())).overall_area
        favourable = getattr(self.rows.outcomes, "favourable", None)
        if favourable is None or of_all is None or of_all >= 0.5:
            return ()
        return (
            f"over all rows scores are higher for the other label than for {favourable} (AUC under 0.5): is --positive "
            "right?",
        )


def audit_rows(rows: Rows[Outcomes], options: BiasOptions, kind: TableKind[Outcomes]) -> TableResult[Outcomes]:
    """Count the rows by group, and audit the counts.

    Raises:
        PlanError: A limit or a reference contradicts what is audited.
        DataError: The rows cannot be counted.
    """
    sources = kind.sources(rows, options)
    estimated: list[str] = [name for name, metric in CATALOGUE.items() if metric.source in sources]
    settings = AuditSettings(
        confidence=options.confidence,
        min_cell=options.min_cell or 1,
        limits=limits_of(options.limits, attributes=rows.groups, metrics=(*kind.rates(rows), *estimated)),
        references=dict(options.references),
        **options.judged,
    )
    check_references(settings, {attribute: coded.vocabulary for attribute, coded in rows.groups.items()})
    tables = {attribute: kind.count(rows, attribute) for attribute in rows.groups}
    measures = {name: measures_of(kind.observed(rows, table, options)) for name, table in tables.items()}
    return TableResult(
        kind=kind,
        options=options,
        rows=rows,
        settings=settings,
        tables=tables,
        audits=_audits(tables, settings, measures),
        measures=measures,
    )


def _audits(
    tables: Mapping[str, AuditTable], settings: AuditSettings, measures: Mapping[str, Measures]
) -> dict[str, AttributeAudit]:
    found = audit_tables(tables.values(), settings)
    return {name: with_classes(measures[name].added(one), tables[name]) for name, one in found.items()}
