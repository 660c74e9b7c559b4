"""``fedcore doctor``, as a user meets it."""

import json

import pytest
import typer
from typer.testing import CliRunner

from fedcore.checkup import machine
from fedcore.checkup.finding import State, problem, skipped, warning
from fedcore_simulations.commands.doctor import doctor
from fedcore_simulations.commands.doctor_run import Diagnosis, print_page
from tests.builders import build_plan
from tests.checkup.builders import build_client_home, build_server_home, free_port

pytestmark = pytest.mark.xdist_group("servers")

TINY = {"task": {"name": "tests.builders:TinyTask"}}


def run(*arguments):
    app = typer.Typer()
    app.command()(doctor)
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.output


def told(*arguments):
    code, output = run(*arguments, "--json")
    found = json.loads(output)
    assert code == (1 if found["problems"] else 0)
    return found


def named(found):
    return {each["name"]: each for each in found["findings"]}


@pytest.fixture(autouse=True)
def enough_room(monkeypatch):
    monkeypatch.setattr(machine, "GIGABYTE", 1)


def test_without_a_home_only_the_machine_is_looked_at():
    found = told()
    assert found["kind"] == "machine"
    assert set(named(found)) == {"versions", "telemetry", "limits", "device", "disk"}
    code, page = run()
    assert code == 0
    assert "this machine is ready" in page


def test_the_kind_of_a_home_is_found_out(tmp_path):
    server = build_server_home(tmp_path / "federation", f"localhost:{free_port()}")
    client = build_client_home(tmp_path / "hospital-a", server)
    assert told("--home", server.path)["kind"] == "server"
    assert told("--home", client.path)["kind"] == "client"
    found = told("--home", tmp_path)
    assert found["kind"] == "unknown"
    assert "is not a home: expected a consortium.toml" in named(found)["home"]["what"]


def test_a_server_that_is_ready_exits_with_0(tmp_path):
    server = build_server_home(tmp_path / "federation", f"localhost:{free_port()}")
    code, page = run("--home", server.path)
    assert code == 0
    assert "✓  home" in page
    assert "!  roster" in page
    assert "→ fedcore consortium invite CLIENT" in page
    assert page.rstrip().endswith("ready (1 warning)")


def test_a_client_that_is_not_ready_exits_with_1_and_is_told_what_to_do(tmp_path):
    server = build_server_home(tmp_path / "federation", f"localhost:{free_port()}")
    client = build_client_home(tmp_path / "hospital-a", server)
    code, page = run("--home", client.path)
    assert code == 1
    assert "✗  route" in page
    assert "→ is the server started, and is it the right port?" in page
    assert "2 problems, 0 warnings: a run would fail" in page


def test_a_plan_and_data_are_tried_without_a_home_too(tmp_path):
    (tmp_path / "plan.toml").write_text(build_plan(**TINY).to_toml())
    found = named(told("--plan", tmp_path / "plan.toml", "--data", f"tests.builders:TinyTask={tmp_path}"))
    assert found["plan"]["state"] == "ok"
    assert found["data tests.builders:TinyTask"]["what"].endswith("96 training, 24 held-out rows")


def test_a_task_is_tried_on_a_device_that_is_not_there_unless_the_plan_names_the_cpu(tmp_path):
    for device, state in (("auto", "ok"), ("cpu", None)):
        (tmp_path / "plan.toml").write_text(build_plan(**TINY, training={"device": device}).to_toml())
        found = named(told("--plan", tmp_path / "plan.toml", "--data", f"tests.builders:TinyTask={tmp_path}"))
        assert found.get("task device", {"state": None})["state"] == state


def test_a_plan_that_cannot_be_read_is_a_finding_and_no_failure(tmp_path):
    assert "no plan at" in named(told("--plan", tmp_path / "absent.toml"))["plan"]["what"]
    (tmp_path / "plan.toml").write_text("[federation]\nroundz = 3\nclients = 0\n")
    found = told("--plan", tmp_path / "plan.toml")
    assert [each["state"] for each in found["findings"] if each["name"] == "plan"] == ["problem", "problem"]


@pytest.mark.parametrize("data", ["wards", "=x", "wards="])
def test_data_is_named_with_its_place(data):
    code, output = run("--data", data)
    assert code == 2
    assert "expected NAME=PATH" in output


def test_the_page_shows_each_finding_on_its_line_and_nothing_that_a_terminal_would_obey(capsys):
    findings = (
        problem("one", "first\nsecond \x1b[2J [red]not markup[/red]", "do\nthis"),
        warning("two", "it may suffer"),
        skipped("three", "not looked at", "give more"),
    )
    print_page(Diagnosis(kind="client", home=None, findings=findings))
    page = capsys.readouterr().out
    assert "\x1b" not in page
    lines = [line.rstrip() for line in page.splitlines()]
    assert lines[:2] == ["✗  one    first; second �[2J [red]not markup[/red]", "          → do; this"]
    assert lines[2] == "!  two    it may suffer"
    assert lines[3:5] == ["–  three  not looked at", "          → give more"]
    assert lines[-1] == "1 problem, 1 warning: a run would fail"


def test_json_has_every_field():
    found = Diagnosis(kind="machine", home=None, findings=(problem("a", "b", "c"),)).to_json()
    assert found["findings"] == [{"name": "a", "state": State.PROBLEM, "what": "b", "advice": "c"}]
    assert (found["problems"], found["warnings"], found["home"]) == (1, 0, None)
