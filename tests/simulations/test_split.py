"""``fedcore split``: the rows of a simulation as files, and a plan that trains the same on them."""

import tomllib

import pytest
import torch
import typer
from typer.testing import CliRunner

from fedcore.data import example_files
from fedcore.data.example_files import SUFFIX, load_client_file
from fedcore.errors import PlanError, RunDirectoryError, StorageError
from fedcore.plan import RunPlan
from fedcore.task_code import with_code
from fedcore.tasks.registry import load_task
from fedcore.tasks.tabular.schema_file import draft_schema_file
from fedcore.trust.identity import check_client_name
from fedcore_clients.training.owner_data import load_client
from fedcore_server.runs.deployable_plan import deployable
from fedcore_simulations.commands import split_run as split_module
from fedcore_simulations.commands.split import split
from fedcore_simulations.commands.split_run import member_names, write_division
from fedcore_simulations.preparation import prepare
from tests.builders import build_plan
from tests.tasks.builders import patients, table_plan, write_csv

TINY = {"task": {"name": "tests.builders:TinyTask"}, "audit": {"sensitive": ["sex"]}}


def run(*arguments):
    app = typer.Typer()
    app.command()(split)
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.output


def same_rows(one, other):
    return (
        list(one.columns) == list(other.columns)
        and all(torch.equal(column, other.columns[name]) for name, column in one.columns.items())
        and {name: each.vocabulary for name, each in one.attributes.items()}
        == {name: each.vocabulary for name, each in other.attributes.items()}
        and all(torch.equal(each.codes, other.attributes[name].codes) for name, each in one.attributes.items())
    )


@pytest.mark.parametrize("partition", ["iid", "dirichlet:0.5", "shards:2", "sizes:lognormal", "by:sex"])
def test_each_file_holds_the_rows_that_the_simulation_gives_that_client(tmp_path, partition):
    plan = build_plan(**TINY, federation={"partition": partition})
    division = write_division(plan, tmp_path / "parts")
    ready = prepare(load_task(plan), plan)
    assert len(division.files) == len(ready.clients)
    for client, path in zip(ready.clients, division.files, strict=True):
        training, held_out = load_client_file(path)
        assert same_rows(training, client.training)
        assert (held_out is None) == (client.held_out is None)
        assert held_out is None or same_rows(held_out, client.held_out)


def test_a_deployed_client_opens_its_file_as_it_is(tmp_path):
    plan = build_plan(**TINY)
    division = write_division(plan, tmp_path)
    ready = prepare(load_task(plan), plan)
    opened = load_client(load_task(division.plan), division.plan, "client-2", tmp_path / f"client-2{SUFFIX}", secret=0)
    assert opened.name == ready.clients[2].name == division.names[2]
    assert same_rows(opened.training, ready.clients[2].training)
    assert same_rows(opened.held_out, ready.clients[2].held_out)


PLANS = {
    "without privacy": {},
    "weights left open": {"aggregation": {"rule": None}},
    "a target of privacy": {"aggregation": {"rule": None}, "privacy": {"unit": "record", "epsilon": 3.0}},
    "next to no noise": {"aggregation": {"rule": None}, "privacy": {"unit": "record", "noise_multiplier": 0.01}},
    "noise from the seed": {"privacy": {"unit": "record", "noise_multiplier": 1.0, "noise": "test"}},
    "clients by column": {"federation": {"partition": "by:sex"}},
}


@pytest.mark.parametrize("name", PLANS)
def test_the_plan_on_disk_is_the_one_that_the_simulation_resolves_and_a_server_leaves_as_it_is(tmp_path, name):
    plan = build_plan(**TINY, **PLANS[name])
    resolved = prepare(load_task(plan), plan).plan
    division = write_division(plan, tmp_path)
    on_disk = RunPlan.from_toml(tmp_path / "plan.toml")
    assert on_disk == division.plan
    assert on_disk.sha256 == with_code(resolved).sha256
    assert deployable(on_disk) == on_disk
    assert prepare(load_task(on_disk), on_disk).plan.sha256 == resolved.sha256
    assert on_disk.aggregation.rule is not None
    assert on_disk.privacy.epsilon is None
    assert on_disk.engine == RunPlan().engine
    assert set(on_disk.audit.vocabularies) == {"sex"}


def test_the_place_of_the_data_is_left_out_and_a_declared_schema_is_kept(tmp_path):
    data = write_csv(tmp_path / "patients.csv", patients())
    (tmp_path / "schema.toml").write_text(draft_schema_file(data, label="ill"))
    plan = table_plan(data, task={"options": {"schema": str(tmp_path / "schema.toml")}})
    division = write_division(plan, tmp_path / "parts")
    assert division.plan.task.data is None
    assert division.data_set == "tabular"
    assert str(data) not in (tmp_path / "parts" / "plan.toml").read_text()
    ready = prepare(load_task(plan), plan)
    for client, path in zip(ready.clients, division.files, strict=True):
        assert same_rows(load_client_file(path)[0], client.training)


def test_a_schema_drafted_from_the_data_is_refused_with_what_to_do(tmp_path):
    data = write_csv(tmp_path / "patients.csv", patients())
    with pytest.raises(PlanError, match=r"a server, which has no data, .*fedcore schema FILE --out schema\.toml"):
        write_division(table_plan(data), tmp_path / "parts")
    assert not (tmp_path / "parts").exists()


@pytest.mark.parametrize("content", ["a file", "a directory", "itself a file"])
def test_a_directory_that_holds_something_is_refused_before_anything_is_done(tmp_path, content):
    out = tmp_path / "parts"
    if content == "itself a file":
        out.write_text("mine")
    else:
        out.mkdir()
        (out / "notes").mkdir() if content == "a directory" else (out / "notes").write_text("mine")
    before = sorted(path.name for path in tmp_path.rglob("*"))
    with pytest.raises(RunDirectoryError):
        run("tests.builders:TinyTask", "--out", out)
    assert sorted(path.name for path in tmp_path.rglob("*")) == before


@pytest.mark.parametrize("existed", [False, True])
@pytest.mark.parametrize("failing", [1, 3, 5])
def test_nothing_half_written_remains_when_the_disk_is_full(tmp_path, monkeypatch, failing, existed):
    written = []

    def full(path, content):
        written.append(path)
        if len(written) == failing:
            raise StorageError("the disk is full")
        path.write_bytes(content if isinstance(content, bytes) else content.encode())

    monkeypatch.setattr(example_files, "write_whole", full)
    monkeypatch.setattr(split_module, "write_whole", full)
    out = tmp_path / "deep" / "parts"
    if existed:
        out.mkdir(parents=True)
    with pytest.raises(StorageError, match="full"):
        write_division(build_plan(**TINY), out)
    assert out.exists() == existed
    assert (tmp_path / "deep").exists() == existed
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_an_interruption_leaves_nothing_either(tmp_path, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(split_module, "write_whole", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_division(build_plan(**TINY), tmp_path / "parts")
    assert list(tmp_path.iterdir()) == []


def test_the_command_says_what_it_wrote_and_what_to_do_next(tmp_path):
    out = tmp_path / "parts"
    code, told = run("tests.builders:TinyTask", "--clients", 3, "--partition", "iid", "--seed", 7, "--sensitive", "sex",
                     "--set", "federation.rounds=2", "--out", out)  # fmt: skip
    assert code == 0
    assert sorted(path.name for path in out.iterdir()) == [*(f"client-{i}{SUFFIX}" for i in range(3)), "plan.toml"]
    plan = tomllib.loads((out / "plan.toml").read_text())
    assert (plan["federation"]["rounds"], plan["federation"]["seed"]) == (2, 7)
    rows = [load_client_file(out / f"client-{i}{SUFFIX}") for i in range(3)]
    for index, (training, held_out) in enumerate(rows):
        assert f"client-{index}{SUFFIX}  {len(training)} training rows, {len(held_out)} held out" in told
    assert RunPlan.from_toml(out / "plan.toml").sha256 in told
    assert f"fedcore run {out / 'plan.toml'} --follow" in told
    assert f"--data tests.builders:TinyTask={out}/client-0{SUFFIX}" in told


def test_how_many_rows_there_are_is_not_told_where_it_is_secret(tmp_path):
    code, told = run("tests.builders:TinyTask", "--clients", 2, "--set", "privacy.unit=record",
                     "--set", "privacy.noise-multiplier=1.0", "--set", "privacy.relation=add-remove",
                     "--set", "privacy.nominal-batch=10.0", "--out", tmp_path / "parts")  # fmt: skip
    assert code == 0
    assert "rows," not in told


def test_clients_by_column_get_names_that_a_consortium_can_admit():
    names = member_names(["client-0", "North East", "north-east", "Ö", "coordinator", "???", "", "x" * 90, "a."])
    assert names[:3] == ("client-0", "north-east", "north-east-2")
    assert names[3:7] == ("client", "client-coordinator", "client-2", "client-3")
    assert names[8] == "a."
    assert len(set(names)) == len(names)
    for name in names:
        check_client_name(name)


def test_a_renamed_client_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(split_module, "member_names", lambda names: [f"new-{name}" for name in names])
    _, told = run("tests.builders:TinyTask", "--clients", 2, "--out", tmp_path / "parts")
    assert "client 'client-0' is called new-client-0, as a member of a consortium can be" in told
