"""The audit of a table of numbers and what was predicted for them, from options to findings."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from fedcore.audit.metrics.catalogue import CATALOGUE
from fedcore.audit.metrics.measures import Measures, measures_of
from fedcore.audit.metrics.observed import Observed
from fedcore.audit.table.grouping import Coded, groups_of
from fedcore.audit.table.kept_rows import DROP, dropped_notes, table_of
from fedcore.audit.table.limits import limits_of
from fedcore.audit.table.options import MIN_CELL, BiasOptions
from fedcore.audit.table.rows import refuse, weights_of
from fedcore.audit.table.text.group_notes import attribute_notes
from fedcore.audit.tables.scores import scores_of_rows
from fedcore.audit.tables.values import ValueTable
from fedcore.audit.verdict.attribute_audit import AttributeAudit
from fedcore.audit.verdict.fairness import audit_tables
from fedcore.audit.verdict.gate import Finding, Verdict, judge_all, overall
from fedcore.audit.verdict.measurable import check_references
from fedcore.audit.verdict.settings import AuditSettings
from fedcore.audit.verdict.shown import Shown
from fedcore.errors import DataError
from fedcore.tasks.tabular.table import Table

_NUM_BINS, _LARGEST = 64, 1e100
_MEASURED = tuple(name for name, metric in CATALOGUE.items() if metric.source == "numbers")


@dataclass(frozen=True, slots=True, kw_only=True)
class NumberRows:
    """The rows of a table; all arrays have shape ``(rows,)``.

    Attributes:
        source: The file's name.
        lines: Lines of the file.
        targets: What is true, float64.
        predictions: What was predicted, float64.
        weights: How many rows each line stands for, int64; lines of none are left out.
        groups: For each attribute and crossing its groups, "unknown" last.
        dropped: Rows that were left out, by the column that they lack.
    """

    source: str
    lines: int
    targets: NDArray[np.float64]
    predictions: NDArray[np.float64]
    weights: NDArray[np.int64]
    groups: dict[str, Coded]
    dropped: Mapping[str, int]

    @property
    def span(self) -> tuple[float, float]:
        """From the least to the greatest of targets and predictions, so that none is moved."""
        both = np.concatenate([self.targets, self.predictions])
        return float(both.min()), float(both.max())


@dataclass(frozen=True, kw_only=True)
class RegressionResult:
    """What was found in a table of numbers.

    Attributes:
        options: What was asked for.
        rows: The table.
        settings: How it was read.
        audits: Audit of each attribute.
        measures: What was measured of each.
    """

    options: BiasOptions
    rows: NumberRows
    settings: AuditSettings
    audits: Mapping[str, AttributeAudit]
    measures: Mapping[str, Measures]

    @cached_property
    def shown(self) -> dict[str, Shown]:
        """What may be shown of each attribute."""
        return {name: Shown(audit=audit, measures=self.measures[name]) for name, audit in self.audits.items()}

    @cached_property
    def findings(self) -> tuple[Finding, ...]:
        """Every limit held against every attribute it names."""
        return judge_all(self.settings.limits, self.audits)

    @property
    def verdict(self) -> Verdict | None:
        """The worst of the findings; None without limits, which is no PASS."""
        return overall(self.findings)

    def to_share(self) -> RegressionResult:
        """Return the same without small groups, unless the options say from how many rows on they are shown."""
        if self.options.min_cell is not None:
            return self
        return _result(self.rows, self.options, replace(self.settings, min_cell=MIN_CELL), self.measures)

    @property
    def notes(self) -> list[str]:
        """What a reader must know beside the numbers, in sentences."""
        shown = self.shown
        own = [note for name, one in self.audits.items() for note in attribute_notes(name, one, shown[name].estimates)]
        return [*dropped_notes(self.rows.dropped), *own]


def audited_regression(options: BiasOptions, *, tell: Callable[[str], None] = lambda _: None) -> RegressionResult:
    """Audit a table of numbers.

    Args:
        options: What is asked for.
        tell: Told what is being done, for whoever waits.

    Raises:
        PlanError: A limit or a reference contradicts what is audited.
        DataError: The table cannot be read or counted.
    """
    rows = read_numbers(options)
    tell(f"comparing the errors of {int(rows.weights.sum()):,} rows …")
    settings = AuditSettings(
        confidence=options.confidence,
        min_cell=options.min_cell or 1,
        limits=limits_of(options.limits, attributes=rows.groups, metrics=_MEASURED),
        references=dict(options.references),
        **options.judged,
    )
    check_references(settings, {name: coded.vocabulary for name, coded in rows.groups.items()})
    tables = {name: _table(rows, name, coded) for name, coded in rows.groups.items()}
    measures = {name: _measures(rows, rows.groups[name], table) for name, table in tables.items()}
    return _result(rows, options, settings, measures)


def _result(
    rows: NumberRows, options: BiasOptions, settings: AuditSettings, measures: Mapping[str, Measures]
) -> RegressionResult:
    audits = audit_tables([_table(rows, name, coded) for name, coded in rows.groups.items()], settings)
    return RegressionResult(options=options, rows=rows, settings=settings, audits=audits, measures=measures)


def read_numbers(options: BiasOptions) -> NumberRows:
    """Read a table's columns.

    Raises:
        DataError: The file is no table or lacks a column, a cell cannot be read, or every number is the same.
    """
    table, dropped = table_of(options)
    weights = weights_of(table, options.weight)
    kept = weights > 0
    found = NumberRows(
        source=table.source,
        lines=len(table),
        targets=_numbers(table, options.label)[kept],
        predictions=_numbers(table, options.prediction)[kept],
        weights=weights[kept],
        groups={
            name: Coded(vocabulary=coded.vocabulary, codes=coded.codes[kept])
            for name, coded in groups_of(table, options.groups, dict(options.bands)).items()
        },
        dropped=dropped,
    )
    if found.span[0] == found.span[1]:
        raise DataError(f"{table.source}: every target and every prediction is {found.span[0]:g}; nothing can be off")
    return found


def _numbers(table: Table, name: str | None) -> NDArray[np.float64]:
    if name is None:
        raise DataError("no column of numbers")
    numbers = table.numbers(name)
    refuse(table, name, table.words(name).codes < 0, f"empty; every row needs one, or {DROP}")
    refuse(table, name, ~np.isfinite(numbers), "no number; of labels that are classes leave out --kind regression")
    refuse(table, name, np.abs(numbers) > _LARGEST, f"beyond {_LARGEST:g}; give numbers in a larger unit")
    return numbers


def _table(rows: NumberRows, attribute: str, coded: Coded) -> ValueTable:
    empty = ValueTable.zeros(attribute=attribute, groups=coded.vocabulary, span=rows.span, num_bins=_NUM_BINS)
    return empty.collected(coded.codes, rows.targets, rows.predictions, weights=rows.weights)


def _measures(rows: NumberRows, coded: Coded, table: ValueTable) -> Measures:
    """Distances between predictions are those of the rows, and not of bins."""
    predictions = scores_of_rows(
        groups=coded.vocabulary,
        group_codes=coded.codes,
        label_codes=None,
        scores=rows.predictions,
        edges=rows.span,
        weights=rows.weights,
    )
    return measures_of(Observed(values=table, scores=predictions))
