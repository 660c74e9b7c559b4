"""A plan's settings for a table: the file, the label, and columns that are not only inputs."""

from __future__ import annotations

import csv
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fedcore.audit.tables.crossing import ATTRIBUTE_MARK
from fedcore.errors import PlanError
from fedcore.tasks.tabular.header import IN_UTF_8, check_table, is_parquet, nearest, read_header
from fedcore.text.toml_problems import unknown

if TYPE_CHECKING:
    from fedcore.plan import RunPlan

OPTIONS = ("label", "schema", "positive", "hidden")


@dataclass(frozen=True, slots=True, kw_only=True)
class TabularSettings:
    """Options of the task ``tabular``.

    Attributes:
        data: The table; in a deployment each client brings its own.
        label: Column to predict; the schema's when absent.
        schema: A declared schema, its file or its content; drafted from the training rows when absent.
        hidden: Widths of hidden layers; none for a linear model.
        sensitive: Columns that are audited, crossings split.
        client: Column that names the client of a row; never an input.
    """

    data: Path | None
    label: str | None
    schema: Path | Mapping[str, Any] | None
    positive: str | None
    hidden: tuple[int, ...]
    sensitive: tuple[str, ...]
    client: str | None

    @classmethod
    def from_plan(cls, plan: RunPlan) -> TabularSettings:
        """Read the options; the `PlanError` lists all that are unknown or of another type."""
        options = plan.task.options
        problems = list(_problems(options))
        if problems:
            raise PlanError(problems)
        return cls(
            data=Path(plan.task.data) if plan.task.data else None,
            label=options.get("label"),
            schema=_path_or_content(options.get("schema")),
            positive=str(options["positive"]) if "positive" in options else None,
            hidden=tuple(options.get("hidden", ())),
            sensitive=tuple(
                dict.fromkeys(part for name in plan.audit.sensitive for part in name.split(ATTRIBUTE_MARK))
            ),
            client=plan.federation.partition_column,
        )

    @property
    def grouped(self) -> dict[str, str]:
        """Columns that must have groups, with the plan's key."""
        named = dict.fromkeys(self.sensitive, "audit.sensitive")
        return named if self.client is None else {**named, self.client: "federation.partition"}


def check_columns_of(plan: RunPlan) -> None:
    """Refuse wrong options, and names of columns that the plan's own table lacks, before anything slow is imported.

    Whatever else may be wrong with the table is left to the task, which reads it.

    Raises:
        PlanError: Lists all.
        DataError: The table is absent, empty, or two columns have one name.
    """
    settings = TabularSettings.from_plan(plan)
    if settings.data is None:
        return
    check_table(settings.data)
    if settings.schema is not None or settings.label is None or is_parquet(settings.data):
        return
    with suppress(OSError, UnicodeError, csv.Error):
        _, columns = read_header(settings.data, encoding="utf-8-sig", remedy=IN_UTF_8)
        refuse_unknown_columns(settings, settings.label, columns, source=settings.data.name)


def refuse_unknown_columns(settings: TabularSettings, label: str, columns: Collection[str], *, source: str) -> None:
    """Refuse a plan that names columns that its own table lacks; the `PlanError` lists all."""
    wanted = {label: "task.options.label", **settings.grouped}
    problems = [
        f"{key}: there is no column {name!r} in {source}; {nearest(name, columns)}"
        for name, key in wanted.items()
        if name not in columns
    ]
    if label in settings.grouped:
        problems.append(f"{settings.grouped[label]}: column {label!r} is the label; name another one")
    if problems:
        raise PlanError(problems)


def _path_or_content(schema: Any) -> Path | Mapping[str, Any] | None:
    return Path(schema) if isinstance(schema, str) else schema


def _problems(options: Mapping[str, Any]) -> Iterator[str]:
    for name in options:
        if name not in OPTIONS:
            yield unknown(name, OPTIONS, "option of tabular")
    if not isinstance(options.get("label", ""), str):
        yield f"task.options.label: expected a text, found {options['label']!r}"
    if not isinstance(options.get("schema", ""), str | Mapping):
        yield f"task.options.schema: expected the path of a file, or its content, found {options['schema']!r}"
    hidden = options.get("hidden", [])
    if not isinstance(hidden, list | tuple) or not all(type(width) is int and width > 0 for width in hidden):
        yield f"task.options.hidden: expected a list of layer widths such as [32], found {hidden!r}"
