"""From rows to the audit of every attribute."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from fedcore.audit.metrics.catalogue import CATALOGUE
from fedcore.audit.metrics.classes import with_classes
from fedcore.audit.metrics.measures import Measures, measures_of
from fedcore.audit.metrics.observed import Observed
from fedcore.audit.table.grouping import Coded
from fedcore.audit.table.limits import limits_of
from fedcore.audit.table.options import MIN_CELL, BiasOptions
from fedcore.audit.table.rows import Rows
from fedcore.audit.table.text.group_notes import Shares, attribute_notes
from fedcore.audit.tables.groups import UNKNOWN, GroupTable, Sampling
from fedcore.audit.tables.scores import ScoreTable, scores_of_rows
from fedcore.audit.verdict.attribute_audit import AttributeAudit
from fedcore.audit.verdict.fairness import METRICS, audit_tables
from fedcore.audit.verdict.gate import Finding, Verdict, judge_all, overall
from fedcore.audit.verdict.measurable import check_references
from fedcore.audit.verdict.settings import AuditSettings
from fedcore.audit.verdict.shown import Shown


@dataclass(frozen=True, kw_only=True)
class BiasResult:
    """What was found in one table.

    Attributes:
        options: What was asked for.
        rows: The table.
        settings: How it was read.
        audits: Audit of each attribute.
        measures: What was measured beside rates, for each attribute.
        metrics: Names of the rates that are measured.
    """

    options: BiasOptions
    rows: Rows
    settings: AuditSettings
    audits: Mapping[str, AttributeAudit]
    measures: Mapping[str, Measures]
    metrics: tuple[str, ...]

    @property
    def findings(self) -> tuple[Finding, ...]:
        """Every limit held against every attribute it names."""
        return judge_all(self.settings.limits, self.audits)

    @property
    def verdict(self) -> Verdict | None:
        """The worst of the findings; None without limits, which is no PASS."""
        return overall(self.findings)

    @cached_property
    def shown(self) -> dict[str, Shown]:
        """What may be shown of each attribute."""
        return {
            name: Shown(audit=audit, measures=self.measures[name], metrics=self.metrics)
            for name, audit in self.audits.items()
        }

    def to_share(self) -> BiasResult:
        """Return the same without what would tell of few people, unless the options say from how many rows on."""
        if self.options.min_cell is not None:
            return self
        return _result(self.rows, self.options, replace(self.settings, min_cell=MIN_CELL), self.measures)

    def unhidden(self) -> BiasResult:
        """Return the same with all groups."""
        if self.settings.min_cell == 1:
            return self
        return _result(self.rows, self.options, replace(self.settings, min_cell=1), self.measures)

    def listed(self, attribute: str) -> tuple[str, ...]:
        """Return the groups that have a line: all but an "unknown" of no rows."""
        sizes = self.audits[attribute].sizes
        return tuple(group for group, size in sizes.items() if group != UNKNOWN or size)

    @property
    def ranks_the_wrong_way(self) -> tuple[str, ...]:
        """A sentence where scores are higher for rows of the other label, over all groups; else none."""
        of_all = next(iter(self.measures.values())).overall_area
        if self.rows.favourable is None or of_all is None or of_all >= 0.5:
            return ()
        return (
            f"over all rows scores are higher for the other label than for {self.rows.favourable} (AUC under 0.5): is "
            "--positive right?",
        )

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader must know beside the numbers, in sentences."""
        return self.notes_on([*self.metrics, *next(iter(self.measures.values())).estimates])

    def notes_on(self, metrics: Collection[str]) -> tuple[str, ...]:
        """Return what a reader must know of these metrics."""
        found = [*self.rows.notes, *self.ranks_the_wrong_way]
        for attribute, audit in self.audits.items():
            shown: Shares = {**self.shown[attribute].rates, **self.shown[attribute].estimates}
            found += attribute_notes(attribute, audit, {name: of for name, of in shown.items() if name in metrics})
        return tuple(found)


def audit_rows(rows: Rows, options: BiasOptions) -> BiasResult:
    """Count the rows by group, and audit the counts.

    Raises:
        PlanError: A limit or a reference contradicts what is audited.
        DataError: The rows cannot be counted.
    """
    rates = METRICS if rows.truth is not None else ("selection_rate",)
    settings = AuditSettings(
        confidence=options.confidence,
        min_cell=options.min_cell or 1,
        limits=limits_of(options.limits, attributes=rows.groups, metrics=(*rates, *_measured(rows, options))),
        references=dict(options.references),
        **options.judged,
    )
    check_references(settings, {attribute: coded.vocabulary for attribute, coded in rows.groups.items()})
    tables = {attribute: decision_table(rows, attribute, coded) for attribute, coded in rows.groups.items()}
    measures = {attribute: _measures(rows, options, table) for attribute, table in tables.items()}
    return _result(rows, options, settings, measures)


def _result(rows: Rows, options: BiasOptions, settings: AuditSettings, measures: Mapping[str, Measures]) -> BiasResult:
    tables = {attribute: decision_table(rows, attribute, coded) for attribute, coded in rows.groups.items()}
    audits = {name: measures[name].added(one) for name, one in audit_tables(tables.values(), settings).items()}
    metrics = METRICS if rows.truth is not None else ("selection_rate",)
    return BiasResult(
        options=options,
        rows=rows,
        settings=settings,
        audits={name: with_classes(audit, tables[name]) for name, audit in audits.items()},
        measures=measures,
        metrics=metrics if rows.favourable is not None else ("accuracy",),
    )


def decision_table(rows: Rows, attribute: str, coded: Coded) -> GroupTable:
    """Count labels and decisions by group; without labels the decision stands in, and only it may be read."""
    labels = rows.selected if rows.truth is None else rows.truth
    found = GroupTable.collect(
        attribute=attribute,
        groups=coded.vocabulary,
        labels=rows.labels,
        group_codes=coded.codes,
        label_codes=labels,
        predictions=rows.selected,
        weights=rows.weights,
    )
    if rows.sampling is None:
        return found
    cells = np.ravel_multi_index((coded.codes, labels, rows.selected), found.counts.shape)
    sums = [
        np.bincount(cells, weights=each, minlength=found.counts.size).astype(np.float64).reshape(found.counts.shape)
        for each in (rows.sampling, rows.sampling**2)
    ]
    return replace(found, sampling=Sampling(weights=sums[0], squares=sums[1]))


def _measured(rows: Rows, options: BiasOptions) -> tuple[str, ...]:
    """Return the names of what is measured beside rates."""
    if rows.truth is None or rows.sampling is not None:
        return ()
    there = {"classes", "several classes" if rows.favourable is None else "benefits"}
    if rows.scores is not None:
        there |= {"scores", "probabilities"} if options.score_range == (0.0, 1.0) else {"scores"}
    return tuple(name for name, metric in CATALOGUE.items() if metric.source in there)


def _measures(rows: Rows, options: BiasOptions, table: GroupTable) -> Measures:
    if rows.sampling is not None:
        return Measures()
    scores = None if rows.scores is None else score_table(rows, rows.scores, table.attribute, options.score_range)
    return measures_of(Observed(decisions=None if rows.truth is None else table, scores=scores))


def score_table(rows: Rows, scores: NDArray[np.float64], attribute: str, edges: tuple[float, float]) -> ScoreTable:
    """Count the rows of an attribute's groups by their scores."""
    coded = rows.groups[attribute]
    return scores_of_rows(
        groups=coded.vocabulary,
        group_codes=coded.codes,
        label_codes=rows.truth,
        scores=scores,
        edges=edges,
        weights=rows.weights,
    )
