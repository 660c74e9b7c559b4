"""The content of a schema is part of the plan: of its hash, of what travels, and of what every client encodes with."""

import json

import pytest
import torch

from fedcore.errors import DataError, PlanError
from fedcore.plan import RunPlan
from fedcore.plan.digest import digest_of
from fedcore.tasks.registry import load_task, settled
from fedcore.tasks.tabular.toml import read_schema, schema_content, schema_of
from fedcore_server.runs.deployable_plan import deployable
from fedcore_simulations import simulate
from tests.tasks.builders import declared, patients, table_plan, write_csv


@pytest.fixture
def table(tmp_path):
    return write_csv(tmp_path / "t.csv", patients())


def plan_with(table, tmp_path, *, change=lambda text: text, **sections):
    """A settled plan; its data is called by a name, as in a deployment."""
    schema = declared(table, tmp_path, change=change)["task"]["options"]["schema"]
    given = table_plan(None, label=None, task={"data": "wards", "options": {"schema": schema}}, **sections)
    return settled(given)


def as_received(plan):
    """As a client reads it from a message, where JSON may have sorted every key."""
    return RunPlan.from_mapping(json.loads(json.dumps(plan.to_mapping(), sort_keys=True)))


def test_the_plan_holds_the_content_and_no_path(table, tmp_path):
    plan = plan_with(table, tmp_path)
    assert schema_of(plan.task.options["schema"], source="plan") == read_schema(tmp_path / "schema.toml")
    assert "schema.toml" not in plan.to_toml()


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace("range = [", "range = [-"),
        lambda text: text.replace('["no", "yes"]', '["yes", "no"]'),
        lambda text: text.replace('["f", "m"]', '["m", "f"]'),
        lambda text: text.replace("public = false", "public = true"),
    ],
)
def test_another_content_is_another_plan(table, tmp_path, change):
    assert plan_with(table, tmp_path, change=change).sha256 != plan_with(table, tmp_path).sha256


def test_another_spelling_is_the_same_plan(table, tmp_path):
    spaced = plan_with(table, tmp_path, change=lambda text: "# of the ward\n" + text.replace(" = ", "   =   "))
    assert spaced.sha256 == plan_with(table, tmp_path).sha256


def test_the_order_of_columns_survives_the_way_to_a_client(table, tmp_path):
    """The order is that of the model's inputs; a client that sorted the columns would train another model."""
    plan = plan_with(table, tmp_path)
    received = as_received(plan)
    names = [column["name"] for column in received.task.options["schema"]["columns"]]
    assert names == ["pressure", "sex", "ward", "age"] != sorted(names)
    assert received.sha256 == plan.sha256


def test_a_client_encodes_with_the_plan_and_not_with_a_file_of_its_own(table, tmp_path, monkeypatch):
    plan = plan_with(table, tmp_path)
    expected = load_task(plan).load_data(table)
    (tmp_path / "schema.toml").write_text(
        (tmp_path / "schema.toml").read_text().replace('["no", "yes"]', '["yes", "no"]')
    )
    monkeypatch.chdir(tmp_path)
    found = load_task(as_received(plan)).load_data(table)
    assert torch.equal(found.columns["inputs"], expected.columns["inputs"])
    assert torch.equal(found.columns["targets"], expected.columns["targets"])


def test_the_groups_of_audited_columns_come_from_the_schema(table, tmp_path):
    plan = plan_with(table, tmp_path, audit={"sensitive": ["sex*ward"]})
    assert plan.audit.vocabularies == {"sex": ("f", "m", "unknown"), "ward": ("north", "south", "west", "unknown")}


def test_a_table_can_be_deployed_under_any_name(table, tmp_path):
    plan = plan_with(table, tmp_path, audit={"sensitive": ["sex"]})
    resolved = deployable(plan)
    assert load_task(resolved).labels == ("no", "yes")
    assert deployable(resolved).sha256 == resolved.sha256


def test_a_server_without_a_schema_says_what_it_needs():
    with pytest.raises(PlanError, match=r"A server has none, and needs a declared schema: task\.options\.schema"):
        deployable(table_plan(None))


def test_the_plan_that_a_simulation_leaves_runs_without_the_schema_file(table, tmp_path):
    sections = declared(table, tmp_path)
    plan = table_plan(table, label=None, **sections)
    simulate(None, plan, out=tmp_path / "run")
    (tmp_path / "schema.toml").unlink()
    again = simulate(None, RunPlan.from_toml(tmp_path / "run" / "plan.toml"))
    assert again.summary["plan_sha256"] == json.loads((tmp_path / "run" / "summary.json").read_text())["plan_sha256"]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ([{"kind": "ignored"}], "name: expected a text, found None"),
        ([{"name": "a", "kind": "ignored"}, {"name": "a", "kind": "ignored"}], "a different name for each column"),
        ("a", r"a section \[columns\.NAME\]"),
        ([{"name": "a", "kind": "ignored", "size": 3}], "unknown key for kind ignored: 'size'"),
    ],
)
def test_a_content_that_is_no_schema_is_refused(columns, message):
    with pytest.raises(DataError, match=message):
        schema_of({"columns": columns}, source="plan")


def test_content_reads_back_as_the_schema(table, tmp_path):
    declared(
        table,
        tmp_path,
        change=lambda text: text + '\n[columns."a b"]\nkind = "numeric"\nrange = [1, 2.5]\nbands = [2]\n',
    )
    schema = read_schema(tmp_path / "schema.toml")
    assert schema_of(schema_content(schema), source="plan") == schema


def test_which_label_is_learned_is_part_of_the_schema_and_no_option_of_a_server(table, tmp_path):
    plain = plan_with(table, tmp_path)
    schema = declared(table, tmp_path)["task"]["options"]["schema"]
    asked = {"schema": schema, "label": "sex", "positive": "f", "hidden": [3]}
    other = settled(table_plan(None, label=None, task={"data": "wards", "options": asked}))
    assert set(other.task.options) == {"schema", "hidden"}
    assert other.task.options["schema"]["label"] == {"column": "sex", "classes": ["m", "f"]}
    assert other.task.options["schema"] != plain.task.options["schema"]
    assert load_task(as_received(other)).labels == ("m", "f")
    same = {"schema": schema, "label": "ill", "positive": "yes"}
    again = settled(table_plan(None, label=None, task={"data": "wards", "options": same}))
    assert again.task.options["schema"] == plain.task.options["schema"]


def test_the_content_of_a_schema_is_the_same_as_ever():
    columns = {
        "a": {"kind": "numeric", "range": [0, 1.5], "scale": "log", "bands": [1, 2.25]},
        "b": {"kind": "categorical", "categories": ["x", "y"], "use": False},
        "c": {"kind": "binary", "categories": ["x", "y"]},
        "d": {"kind": "ignored"},
        "e": {"kind": "numeric", "range": [-1e20, 3]},
    }
    content = {"public": True, "label": {"column": "ill", "classes": ["no", "yes"]}, "columns": columns}
    written = schema_content(schema_of(content, source="x"))

    # Recorded before schemas were pydantic models: plans name them by this hash, and policies list it.
    assert digest_of(written) == "f4952610e0a77878109323bd18fbd61bff868236d2a845e9337e4b31204d9173"
