"""The differences between a table of labels and one of numbers."""

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
