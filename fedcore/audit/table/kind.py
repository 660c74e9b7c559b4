"""What differs between a table of labels and one of numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic

from fedcore.audit.metrics.observed import Observed
from fedcore.audit.table.options import BiasOptions
from fedcore.audit.table.rows import Outcomes, Rows
from fedcore.tasks.tabular.table import Table

if TYPE_CHECKING:
    from fedcore.audit.table.result import TableResult


@dataclass(frozen=True, slots=True, kw_only=True)
class TableKind(Generic[Outcomes]):
    """One kind of table.

    Attributes:
        example: A limit as it may be given.
        unit: What cells of the text are in.
        read: From a table, the rows that were left out of it by column, and the options to the rows.
        count: From rows and an attribute to its table of counts.
        observed: From rows, that table and the options to what metrics beside rates are computed from.
        sources: What these can be computed from, in the words of `Metric.source`.
        rates: The rates that can be limited.
        shown_rates: The rates that mean something by themselves.
        columns: What was compared, for the head of the text.
        head: What the JSON has of the columns.
        more: What the JSON has besides of what was found.
        sites: The split over sites of an attribute's gaps, line by line.
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
