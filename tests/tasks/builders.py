"""Small tables on disk, and plans that speak of them."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from fedcore.errors import DataError, PlanError
from fedcore.plan import RunPlan, merge
from fedcore.tasks.tabular.schema_file import draft_schema_file
from fedcore.tasks.tabular.task import Tabular

SHARED_DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data"


def shared_file(name):
    path = SHARED_DATA / name
    if not path.exists():
        pytest.skip(f"the public data set {name} is not beside the repository, in ../shared/data")
    return path


def write_csv(path, columns):
    """Write ``{name: cells}``; ``None`` is an empty cell."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(["" if cell is None else cell for cell in row] for row in zip(*columns.values(), strict=True))
    return path


def patients(num_rows=120, **columns):
    """Columns of a made-up table, in which `high` pressure makes `ill` likely; more or other columns by name."""
    generator = np.random.default_rng(7)
    pressure = generator.normal(130, 20, num_rows).round(1)
    return {
        "pressure": pressure.tolist(),
        "sex": generator.choice(["f", "m"], num_rows).tolist(),
        "ward": generator.choice(["north", "south", "west"], num_rows).tolist(),
        "age": generator.integers(18, 90, num_rows).tolist(),
        "ill": np.where(pressure + generator.normal(0, 5, num_rows) > 138, "yes", "no").tolist(),
        **columns,
    }


def table_plan(path, *, label="ill", **sections):
    options = {"label": label} if label is not None else {}
    data = {} if path is None else {"data": str(path)}
    mapping = {"task": {"name": "tabular", "options": options, **data}, "federation": {"clients": 3, "rounds": 2}}
    return RunPlan.from_mapping(merge(mapping, sections))


def build_tabular(path, **sections):
    return Tabular.from_plan(table_plan(path, **sections))


def encoded(path, **sections):
    """The examples of a table."""
    return build_tabular(path, **sections).load_data(path)


def declared(path, tmp_path, *, label="ill", change=lambda text: text):
    """Options that declare the schema which is drafted for the table, changed."""
    schema = tmp_path / "schema.toml"
    schema.write_text(change(draft_schema_file(path, label=label)), encoding="utf-8")
    return {"task": {"options": {"schema": str(schema)}}}


def refusal(path, **sections):
    """What is said to a table or plan that is refused."""
    with pytest.raises((PlanError, DataError)) as caught:
        encoded(path, **sections)
    return str(caught.value)
