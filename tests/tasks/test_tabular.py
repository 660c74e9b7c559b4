"""The reference task ``tabular``: any table, its schema and its groups."""

import logging
import pickle

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from fedcore.data.held_out import held_out_rows
from fedcore.errors import PlanError
from fedcore.task import check_task, load_examples
from fedcore.tasks.registry import load_task
from fedcore.testing.task import TaskContract
from fedcore_simulations import simulate
from tests.tasks.builders import build_tabular, declared, encoded, patients, refusal, table_plan, write_csv


@pytest.fixture
def table(tmp_path):
    return write_csv(tmp_path / "t.csv", patients())


class TestTabularKeepsTheContract(TaskContract):
    @pytest.fixture(autouse=True)
    def _written(self, table):
        self.path = table

    def make_task(self):
        task = build_tabular(self.path)
        task.load_data = lambda path, load=task.load_data: load(path or self.path)
        return task


def test_a_simulation_learns_from_a_table_and_audits_it(table):
    sections = {"training": {"learning-rate": 2.0}, "audit": {"sensitive": ["sex", "age*ward"]}}
    result = simulate(None, table_plan(table, **sections, federation={"rounds": 40, "evaluate-every": 40}))
    assert result.metrics["accuracy"] > 0.75
    assert set(result.audit.to_json()["groups"]) == {"sex", "age*ward"}


def test_columns_become_inputs_groups_and_targets(table):
    examples = encoded(table)
    assert set(examples.attributes) == {"sex", "ward"}
    assert examples.attributes["ward"].vocabulary == ("north", "south", "west", "unknown")
    frame = pd.read_csv(table)
    assert examples.columns["targets"].tolist() == (frame["ill"] == "yes").astype(int).tolist()
    words = np.array(examples.attributes["ward"].vocabulary)[examples.attributes["ward"].codes]
    assert words.tolist() == frame["ward"].tolist()


def test_an_audited_column_of_numbers_becomes_bands(table):
    attribute = encoded(table, audit={"sensitive": ["age"]}).attributes["age"]
    assert len(attribute.vocabulary) == 5
    assert attribute.vocabulary[-1] == "unknown"
    assert np.bincount(attribute.codes).min() > 15


def test_the_schema_is_drafted_from_the_training_rows_only(tmp_path):
    """A held-out row holds the only extreme number and the only other word: neither moves the schema."""
    held_out = held_out_rows(120, 0.2, 0).numpy()
    columns = patients()
    plain = encoded(write_csv(tmp_path / "plain.csv", columns))
    row = int(np.flatnonzero(held_out)[0])
    columns["pressure"][row], columns["ward"][row] = 1e6, "east"
    odd = encoded(write_csv(tmp_path / "odd.csv", columns))
    rest = torch.arange(120) != row
    assert torch.equal(odd.columns["inputs"][rest], plain.columns["inputs"][rest])
    assert odd.attributes["ward"].vocabulary == plain.attributes["ward"].vocabulary


def test_where_the_size_is_secret_a_drafted_schema_is_refused(table, tmp_path):
    privacy = {"unit": "record", "epsilon": 1.0, "relation": "add-remove", "nominal-batch": 20.0}
    aggregation = {"rule": "uniform"}
    with pytest.raises(PlanError, match="needs a declared schema: a drafted one changes with every row"):
        build_tabular(table, privacy=privacy, aggregation=aggregation)
    sections = declared(table, tmp_path)
    build_tabular(table, **sections, privacy=privacy, aggregation=aggregation)


def test_the_privacy_statement_says_where_the_schema_came_from(table, tmp_path):
    assert build_tabular(table).preprocessing.startswith("not covered: ")
    assert "drafted from the training rows" in build_tabular(table).preprocessing
    assert "drafted from the training rows" in build_tabular(table).notes[0]
    sections = declared(table, tmp_path)
    draft = build_tabular(table, **sections)
    assert draft.preprocessing == "not covered: the plan's schema does not declare itself public"
    schema = tmp_path / "schema.toml"
    schema.write_text(schema.read_text().replace("public = false", "public = true"))
    assert build_tabular(table, **sections).preprocessing == "public: declared so by the plan's schema"


def test_a_declared_schema_needs_no_table_to_build_the_model(table, tmp_path):
    sections = declared(table, tmp_path)
    server = build_tabular(None, label=None, **sections)
    client = build_tabular(table, **sections)
    assert server.labels == client.labels == ("no", "yes")
    own = server.load_data(table)
    assert torch.equal(own.columns["inputs"], client.load_data(table).columns["inputs"])
    check_task(server, server.build_model(), own)


def test_the_owner_of_a_row_is_no_input(table):
    by_ward = encoded(table, federation={"partition": "by:ward"})
    assert by_ward.columns["inputs"].shape[1] == encoded(table).columns["inputs"].shape[1] - 5
    result = simulate(None, table_plan(table, federation={"partition": "by:ward"}))
    assert result.results.split["clients"] == ["north", "south", "west"]


def test_numbers_of_sites_are_clients_one_by_one(tmp_path):
    path = write_csv(tmp_path / "t.csv", patients(site=[str(100 + row % 12) for row in range(120)]))
    result = simulate(None, table_plan(path, federation={"partition": "by:site"}))
    assert result.results.split["clients"] == [str(100 + site) for site in range(12)]


def test_a_numeric_label_of_five_values_is_five_classes(tmp_path):
    path = write_csv(tmp_path / "t.csv", patients(grade=[row % 5 for row in range(120)]))
    assert build_tabular(path, label="grade").labels == ("0", "1", "2", "3", "4")
    assert 0 < simulate(None, table_plan(path, label="grade")).metrics["accuracy"] < 1


def test_the_positive_class_can_be_chosen(table):
    assert build_tabular(table).labels == ("no", "yes")
    assert build_tabular(table, task={"options": {"positive": "no"}}).labels == ("yes", "no")
    assert "expected one of two classes of 'ill', found 'maybe'" in refusal(
        table, task={"options": {"positive": "maybe"}}
    )


def test_the_model_is_linear_unless_hidden_layers_are_asked_for(table):
    def kinds(**sections):
        return [type(layer) for layer in build_tabular(table, **sections).build_model()]

    assert kinds() == [nn.Linear]
    assert kinds(task={"options": {"hidden": [8, 4]}}) == [nn.Linear, nn.ReLU, nn.Linear, nn.ReLU, nn.Linear]


def test_what_is_left_out_is_noted_and_logged_without_values(tmp_path, caplog):
    columns = patients(secret=[f"name {row}" for row in range(120)], empty=["?"] * 120)
    columns["ill"][5] = None
    columns["pressure"][7] = "refused"
    path = write_csv(tmp_path / "t.csv", columns)
    with caplog.at_level(logging.INFO, logger="fedcore"):
        task = build_tabular(path)
        assert len(task.load_data(path)) == 119
    assert set(task.notes[1:]) == {
        "left out, without a label: 1 row",
        "column 'secret' is left out: it holds mostly different words, as an identifier does",
        "column 'empty' is left out: it holds no value",
        "1 cells of column 'pressure' are not numbers, and count as missing",
    }
    assert len(caplog.records) == 5
    assert "name 3" not in caplog.text
    assert "refused" not in caplog.text


def test_columns_that_a_schema_does_not_declare_are_noted(table, tmp_path):
    sections = declared(table, tmp_path)
    path = write_csv(tmp_path / "more.csv", patients(more=["x", "y"] * 60))
    task = build_tabular(path, **sections)
    task.load_data(path)
    assert task.notes == ("column 'more' is left out: the schema does not declare it",)


def test_the_table_does_not_travel_with_the_task(table):
    task = build_tabular(table)
    before = len(pickle.dumps(task))
    first = task.load_data(table)
    assert len(pickle.dumps(task)) < min(before, 4000)
    assert torch.equal(first.columns["inputs"], task.load_data(table).columns["inputs"])


def test_parquet_gives_the_same_inputs_as_csv(table, tmp_path):
    pd.read_csv(table).to_parquet(tmp_path / "t.parquet")
    assert torch.equal(encoded(tmp_path / "t.parquet").columns["inputs"], encoded(table).columns["inputs"])


def test_a_column_of_the_schema_can_be_the_label(table, tmp_path):
    sections = declared(table, tmp_path, label=None)
    task = build_tabular(table, **sections)
    assert task.labels == ("no", "yes")
    assert len(task.load_data(table)) == 120
    assert build_tabular(table, label="ward", **sections).labels == ("north", "south", "west")


def test_the_name_in_a_plan_leads_to_the_task(table):
    task = load_task(table_plan(table))
    assert load_examples(task, table).columns["inputs"].dtype == torch.float32
