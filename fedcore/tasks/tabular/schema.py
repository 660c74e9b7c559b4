"""The schema of a run of ``tabular``: declared in a file, or drafted from the training rows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from fedcore.data.held_out import held_out_rows, size_is_secret
from fedcore.errors import DataError, PlanError
from fedcore.tasks.tabular.columns import Binary, Categorical, Column, Ignored, Label, Numeric, Schema
from fedcore.tasks.tabular.draft import draft_label, draft_schema
from fedcore.tasks.tabular.header import nearest
from fedcore.tasks.tabular.settings import TabularSettings, refuse_unknown_columns
from fedcore.tasks.tabular.table import Table, read_table
from fedcore.tasks.tabular.toml import read_schema, schema_of
from fedcore.text.wording import counted

if TYPE_CHECKING:
    from fedcore.plan import FederationSection, RunPlan

SOURCE = "the plan's schema"
_DRAFTED = (
    "the schema was drafted from the training rows, which no guarantee covers; fedcore schema FILE writes a draft to "
    "read and correct, and task.options.schema names it"
)
_MUST_BE_DECLARED = (
    'privacy.relation = "add-remove" needs a declared schema: a drafted one changes with every row, and with it how '
    "all rows are encoded and which are held out; write one with fedcore schema FILE --out schema.toml, and name it in "
    "task.options.schema"
)
_NO_LABEL = "tabular needs to know what to predict; give --label COLUMN"


@dataclass(frozen=True, slots=True, kw_only=True)
class SettledSchema:
    """A schema with its label, fitted to the plan.

    Attributes:
        table: The labelled rows of ``task.data``, if a draft had to read them.
        preprocessing: The privacy statement's words about it.
        notes: What was left out, in words without values.
    """

    schema: Schema
    label: Label
    table: Table | None
    preprocessing: str
    notes: tuple[str, ...]


def settle_schema(settings: TabularSettings, plan: RunPlan) -> SettledSchema:
    """Read or draft the schema, and fit it to the plan.

    Raises:
        PlanError: The plan names unknown columns or classes (lists all), or needs a declared schema.
        DataError: The table or the schema file cannot be used.
    """
    if settings.schema is not None:
        return _declared(settings)
    if settings.data is None:
        raise PlanError(
            "task.data: tabular needs a table; give --data FILE.csv or FILE.parquet. A server has none, and needs a "
            "declared schema: task.options.schema"
        )
    table = read_table(settings.data)
    if size_is_secret(plan):
        raise PlanError(_MUST_BE_DECLARED)
    return _drafted(settings, table, plan.federation)


def declared_schema(settings: TabularSettings) -> Schema:
    """The schema in the plan's file or content, with the plan's label.

    Raises:
        PlanError: It declares none, or no such label.
        DataError: It cannot be read.
    """
    if settings.schema is None:
        raise PlanError("task.options.schema: expected a schema")
    if isinstance(settings.schema, Path):
        schema = read_schema(settings.schema)
    else:
        schema = schema_of(settings.schema, source=SOURCE)
    label = _with_positive(_declared_label(settings, schema), settings.positive)
    if label == schema.label:
        return schema
    return schema.model_copy(update={"label": label, "columns": _without(schema, label)})


def _without(schema: Schema, label: Label) -> tuple[Column, ...]:
    return tuple(column for column in schema.columns if column.name != label.name)


def labelled_rows(table: Table, label: str) -> tuple[Table, tuple[str, ...]]:
    known = table.words(label).codes >= 0
    if known.all():
        return table, ()
    return table.select(known), (f"left out, without a label: {counted(int((~known).sum()), 'row')}",)


def _drafted(settings: TabularSettings, table: Table, federation: FederationSection) -> SettledSchema:
    if settings.label is None:
        raise PlanError(f"{_NO_LABEL}, one of {', '.join(table.columns)}")
    refuse_unknown_columns(settings, settings.label, table.columns, source=table.source)
    label = _with_positive(draft_label(table, settings.label), settings.positive)
    table, notes = labelled_rows(table, label.name)
    training = ~held_out_rows(len(table), federation.held_out, federation.seed).numpy()
    draft = draft_schema(table.select(training), label=label, grouped=settings.sensitive)
    left_out = (
        f"column {name!r} is left out: it {reason}" for name, reason in draft.reasons.items() if name != settings.client
    )
    columns = tuple(_clients(table, one.name) if one.name == settings.client else one for one in draft.schema.columns)
    return SettledSchema(
        schema=_without_client(draft.schema.model_copy(update={"columns": columns}), settings.client),
        label=label,
        table=table,
        preprocessing="not covered: column kinds, categories and ranges were drafted from the training rows and reveal "
        "something about them",
        notes=(_DRAFTED, *notes, *left_out),
    )


def _declared(settings: TabularSettings) -> SettledSchema:
    schema = declared_schema(settings)
    label = _declared_label(settings, schema)
    schema = schema.model_copy(update={"columns": _without(schema, label)})
    _refuse_undeclared_groups(settings, schema)
    return SettledSchema(
        schema=_without_client(schema, settings.client),
        label=label,
        table=None,
        preprocessing=f"public: declared so by {SOURCE}"
        if schema.public
        else f"not covered: {SOURCE} does not declare itself public",
        notes=(),
    )


def _declared_label(settings: TabularSettings, schema: Schema) -> Label:
    """The schema's own label, or the classes of the column that the plan names."""
    if schema.label is not None and settings.label in (None, schema.label.name):
        return schema.label
    if settings.label is None:
        raise PlanError(f"{_NO_LABEL}, or declare [label] in the schema")
    column = schema.column(settings.label)
    if isinstance(column, Categorical | Binary) and len(column.categories) >= 2:
        return Label(name=column.name, classes=column.categories)
    if settings.data is None or not settings.data.is_file():
        raise PlanError(f"the schema declares no classes for label {settings.label!r}; add them under [label]")
    table = read_table(settings.data)
    refuse_unknown_columns(settings, settings.label, table.columns, source=table.source)
    return draft_label(table, settings.label)


def _with_positive(label: Label, positive: str | None) -> Label:
    if positive is None:
        return label
    if positive not in label.classes or len(label.classes) != 2:
        raise PlanError(
            f"task.options.positive: expected one of two classes of {label.name!r}, found {positive!r}; "
            f"its classes are {', '.join(label.classes)}"
        )
    negative = next(name for name in label.classes if name != positive)
    return Label(name=label.name, classes=(negative, positive))


def _clients(table: Table, name: str) -> Categorical:
    """Every value is a client, and clients are public."""
    return Categorical(name=name, categories=tuple(sorted(table.words(name).values)), use=False)


def _without_client(schema: Schema, client: str | None) -> Schema:
    """The schema without the client's column as an input; another input must remain."""
    columns = tuple(
        one.model_copy(update={"use": False}) if one.use and one.name == client else one for one in schema.columns
    )
    if not any(column.use for column in columns):
        raise DataError("no column is left as an input; fedcore schema FILE shows what each one is taken for")
    return schema.model_copy(update={"columns": columns})


def _refuse_undeclared_groups(settings: TabularSettings, schema: Schema) -> None:
    names = [column.name for column in schema.columns]
    problems = [
        f"{key}: column {name!r} {problem} in {SOURCE}"
        for name, key in settings.grouped.items()
        for problem in _group_problems(schema.column(name), nearest(name, names))
    ]
    if problems:
        raise PlanError(problems)


def _group_problems(column: Column | None, hint: str) -> Iterator[str]:
    if column is None:
        yield f"is not declared ({hint})"
    elif isinstance(column, Ignored):
        yield "has groups only if it is not ignored: give it a kind (and use = false to keep it out of the inputs)"
    elif isinstance(column, Numeric) and not column.bands:
        yield "has groups only with bands = [...]: declare them"


def undeclared_columns(schema: Schema, label: Label, table: Table) -> tuple[str, ...]:
    """Notes on columns of a table that a declared schema leaves out."""
    known: Iterable[str] = {label.name, *(column.name for column in schema.columns)}
    return tuple(
        f"column {name!r} is left out: the schema does not declare it" for name in table.columns if name not in known
    )
