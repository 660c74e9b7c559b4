"""``tabular``: any table, as a classification."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from torch import nn

from fedcore.data.examples import Examples
from fedcore.errors import PlanError
from fedcore.task_families import Classification
from fedcore.tasks.tabular.columns import Binary, Categorical, Column, Numeric
from fedcore.tasks.tabular.encoding import encode_groups, encode_inputs, encode_label, finite_numbers
from fedcore.tasks.tabular.schema import (
    SettledSchema,
    declared_schema,
    labelled_rows,
    settle_schema,
    undeclared_columns,
)
from fedcore.tasks.tabular.schema_file import check_columns, check_schema
from fedcore.tasks.tabular.settings import TabularSettings, refuse_unknown_columns
from fedcore.tasks.tabular.table import Table, read_table
from fedcore.tasks.tabular.toml import schema_content

if TYPE_CHECKING:
    from fedcore.plan import RunPlan

_log = logging.getLogger("fedcore")


class Tabular(Classification):
    """Rows of a table: numbers, words and missing cells in, a class out.

    A schema (``fedcore.tasks.tabular.columns``) fixes how cells become inputs. Without a declared one, a
    simulation drafts it from its training rows, which the privacy statement then lists as not covered.

    Attributes:
        labels: The classes; of two, the second is the positive one.
        preprocessing: The privacy statement's words about the schema.
        notes: What was left out or read as missing, in words without values.
    """

    name = "tabular"

    def __init__(self, settings: TabularSettings, settled: SettledSchema) -> None:
        self._settings = settings
        self._schema, self._label, self._table = settled.schema, settled.label, settled.table
        self.labels = settled.label.classes
        self.preprocessing = settled.preprocessing
        self._declared = settings.schema is not None
        self.notes: tuple[str, ...] = ()
        self._note(settled.notes)

    @classmethod
    def from_plan(cls, plan: RunPlan) -> Tabular:
        """Build the task from ``task.data``, ``task.options`` and the columns that the plan names.

        Raises:
            PlanError: Options or names of columns are wrong; lists all.
            DataError: The table or the schema cannot be used.
        """
        settings = TabularSettings.from_plan(plan)
        return cls(settings, settle_schema(settings, plan))

    @classmethod
    def settle(cls, plan: RunPlan) -> RunPlan:
        """The plan with the content of its schema instead of the file's path, and the groups of audited columns.

        So the schema is part of the plan's hash, of what an owner approves, and of what every client encodes with. The
        options ``label`` and ``positive`` become part of it, since owners also approve the learned label.

        Raises:
            PlanError: Options are wrong; lists all.
            DataError: The schema cannot be used.
        """
        settings = TabularSettings.from_plan(plan)
        if settings.schema is None:
            return plan
        schema = declared_schema(settings)
        rest = {name: value for name, value in plan.task.options.items() if name not in ("label", "positive")}
        columns = {name: schema.column(name) for name in settings.sensitive}
        groups = {name: list(column.groups) for name, column in columns.items() if column and column.groups}
        return plan.updated(
            task={"options": {**rest, "schema": schema_content(schema)}},
            audit={"vocabularies": groups | {name: [*words] for name, words in plan.audit.vocabularies.items()}},
        )

    def build_model(self) -> nn.Module:
        """A linear model with knots for numeric columns, or hidden layers with ReLU between."""
        widths = (self._schema.width, *self._settings.hidden, len(self.labels))
        layers: list[nn.Module] = []
        for before, after in pairwise(widths):
            layers += [nn.Linear(before, after), nn.ReLU()]
        return nn.Sequential(*layers[:-1])

    def load_data(self, path: Path | None) -> Examples:
        """Read and encode a table, each row by itself.

        Raises:
            DataError: It cannot be read, or contradicts the schema.
        """
        table = self._take_table(path)
        self._note(self._words_for_numbers(table))
        groups = [column for column in self._schema.columns if self._is_group(column, table)]
        return Examples(
            columns={"inputs": encode_inputs(table, self._schema), "targets": encode_label(table, self._label)},
            attributes=encode_groups(table, groups),
        )

    def _take_table(self, path: Path | None) -> Table:
        """The labelled rows of the loaded table, or of another owner's."""
        table, self._table = self._table, None  # kept no longer than needed: a task travels to its workers
        if table is not None and path == self._settings.data:
            return table
        if path is None:
            raise PlanError("task.data: tabular needs a table; give --data FILE.csv or FILE.parquet")
        table = read_table(path)
        own = self._declared and path == self._settings.data  # the table that the plan's author has at hand
        if own:
            refuse_unknown_columns(self._settings, self._label.name, table.columns, source=table.source)
        check_columns(table, [self._label.name])
        grouped = self._settings.grouped if own else self._settings.sensitive
        check_schema(self._schema, table, source="of the run", grouped=grouped)
        if self._declared:
            self._note(undeclared_columns(self._schema, self._label, table))
        table, notes = labelled_rows(table, self._label.name)
        self._note(notes)
        return table

    def _is_group(self, column: Column, table: Table) -> bool:
        grouped = isinstance(column, Categorical | Binary) or column.name in self._settings.grouped
        return grouped and column.name in table.columns

    def _words_for_numbers(self, table: Table) -> Iterator[str]:
        for column in self._schema.columns:
            if isinstance(column, Numeric) and column.use:
                known = table.words(column.name).codes >= 0
                words = int(np.isnan(finite_numbers(table, column.name)[known]).sum())
                if words:
                    yield f"{words} cells of column {column.name!r} are not numbers, and count as missing"

    def _note(self, notes: Iterable[str]) -> None:
        new = tuple(notes)
        self.notes += new
        for note in new:
            _log.info("tabular: %s", note)
