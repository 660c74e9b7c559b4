"""What the audit withholds, what a command says of it, and who may release it all the same."""

import json
from datetime import date

import pytest
from typer.testing import CliRunner

from fedcore.cli import build_app
from fedcore.errors import RunDirectoryError, TrustError
from fedcore.plan import RunPlan
from fedcore.trust.identity import Identity
from fedcore_server.runs.directory import RunDirectory
from fedcore_server.runs.release import exit_code
from fedcore_server.runs.waiver import check_waiver, is_over, waive
from fedcore_simulations import simulate
from tests.builders import TinyTask

# Every gap of a model that has hardly learned lies somewhere between: a limit of 1 holds, and one of 0.001 cannot.
HOLDS, BREAKS, OPEN = 1.0, 0.001, 0.25


class UnlikeTask(TinyTask):
    """Men and women are told apart, and their labels too."""

    def load_data(self, path):
        data = super().load_data(path)
        data.columns["inputs"][:, 0] = data.attributes["sex"].codes * 8.0 - 4.0
        data.columns["targets"][:] = data.attributes["sex"].codes
        return data


def run_in(tmp_path, at_most, gate="fail", rows=600):
    plan = {
        "federation": {"clients": 2, "rounds": 3},
        "training": {"device": "cpu", "learning-rate": 1.0},
        "audit": {
            "sensitive": ["sex"],
            "gate": gate,
            "limits": [{"metric": "selection_rate", "kind": "difference", "at-most": at_most}],
        },
        "engine": {"workers": 1},
    }
    return simulate(UnlikeTask(rows=rows), plan, out=tmp_path / "run")


def files(tmp_path):
    return {path.name for path in (tmp_path / "run").iterdir()} & {"model.safetensors", "withheld.safetensors"}


@pytest.mark.parametrize(
    ("at_most", "gate", "rows", "ended", "left"),
    [
        (HOLDS, "strict", 600, ("PASS", 0), {"model.safetensors"}),
        (BREAKS, "fail", 600, ("FAIL", 3), {"withheld.safetensors"}),
        (BREAKS, "strict", 600, ("FAIL", 3), {"withheld.safetensors"}),
        (BREAKS, "report", 600, ("FAIL", 0), {"model.safetensors"}),
        (0.9, "strict", 40, ("INCONCLUSIVE", 4), {"withheld.safetensors"}),
        (0.9, "fail", 40, ("INCONCLUSIVE", 0), {"model.safetensors"}),
    ],
)
def test_the_verdict_and_the_plan_decide_whether_the_model_is_released(  # noqa: PLR0917
    tmp_path, at_most, gate, rows, ended, left
):
    summary = run_in(tmp_path, at_most, gate, rows).summary
    assert (summary["audit_verdict"], exit_code(summary)) == ended
    assert files(tmp_path) == left
    assert ("The model is withheld" in (tmp_path / "run" / "report.html").read_text()) == (ended[1] != 0)


def test_a_model_that_a_crash_left_under_the_other_name_is_not_released(tmp_path):
    (tmp_path / "run").mkdir()
    directory = RunDirectory(tmp_path / "run")
    directory.write_model(memoryview(b"passed before the crash"), "model.safetensors")
    directory.write_model(memoryview(b"failed after it"), "withheld.safetensors")
    assert files(tmp_path) == {"withheld.safetensors"}


@pytest.mark.parametrize("crashing", ["privacy.json", "bias.json"])
def test_no_model_lies_there_before_what_is_said_of_it(tmp_path, monkeypatch, crashing):
    honest = RunDirectory.write_json

    def crash(self, name, content):
        if name == crashing:
            raise KeyboardInterrupt
        honest(self, name, content)

    monkeypatch.setattr(RunDirectory, "write_json", crash)
    with pytest.raises(KeyboardInterrupt):
        run_in(tmp_path, HOLDS)
    assert files(tmp_path) == set()


def test_a_signed_waiver_releases_the_model_and_stands_in_the_report(tmp_path):
    run_in(tmp_path, BREAKS)
    signer = Identity.create("coordinator")
    waive(tmp_path / "run", signer, reason="<b>a pilot</b>", by="Dr. Byron")
    assert files(tmp_path) == {"model.safetensors"}
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert exit_code(summary) == 0
    assert summary["audit_verdict"] == "FAIL"
    report = (tmp_path / "run" / "report.html").read_text()
    assert "by a waiver of Dr. Byron" in report
    assert "&lt;b&gt;a pilot" in report
    assert "The model is withheld" not in report
    assert check_waiver(tmp_path / "run", signer.public)["by"] == "Dr. Byron"


def test_a_waiver_holds_for_one_signer_one_audit_and_one_model(tmp_path):
    run_in(tmp_path, BREAKS)
    signer, run = Identity.create("coordinator"), tmp_path / "run"
    waive(run, signer, reason="a pilot", by="Dr. Byron")
    with pytest.raises(TrustError):
        check_waiver(run, Identity.create("coordinator").public)
    whole = (run / "waiver.json").read_text()
    (run / "waiver.json").write_text(whole.replace("a pilot", "anything"))
    with pytest.raises(TrustError):
        check_waiver(run, signer.public)
    (run / "waiver.json").write_text(whole)
    (run / "bias.json").write_text("{}")
    with pytest.raises(TrustError, match="another audit"):
        check_waiver(run, signer.public)


def test_what_cannot_be_waived_is_refused_and_nothing_changes(tmp_path):
    run_in(tmp_path, BREAKS)
    signer, run = Identity.create("coordinator"), tmp_path / "run"
    with pytest.raises(RunDirectoryError, match="needs a reason"):
        waive(run, signer, reason=" ", by="Dr. Byron")
    with (run / "withheld.safetensors").open("ab") as file:
        file.write(b"x")
    with pytest.raises(RunDirectoryError, match="not the model that was audited"):
        waive(run, signer, reason="a pilot", by="Dr. Byron")
    assert files(tmp_path) == {"withheld.safetensors"}
    assert not (run / "waiver.json").exists()


def test_a_model_that_was_released_needs_no_waiver(tmp_path):
    run_in(tmp_path, HOLDS)
    with pytest.raises(RunDirectoryError, match="nothing to waive"):
        waive(tmp_path / "run", Identity.create("coordinator"), reason="a pilot", by="Dr. Byron")
    with pytest.raises(RunDirectoryError, match="no finished run"):
        waive(tmp_path, Identity.create("coordinator"), reason="a pilot", by="Dr. Byron")


def test_the_command_signs_with_the_coordinators_key(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run_in(tmp_path, BREAKS)
    app = CliRunner()
    made = app.invoke(build_app(), ["consortium", "init", "--name", "t", "--server", "localhost:9092"])
    assert made.exit_code == 0, made.output
    told = app.invoke(
        build_app(), ["waive", "run", "--by", "Dr. Byron", "--reason", "a pilot", "--until", "2027-01-31"]
    )
    assert told.exit_code == 0, told.output
    waiver = json.loads((tmp_path / "run" / "waiver.json").read_text())
    assert waiver["until"] == "2027-01-31"
    assert not is_over(waiver, date(2027, 1, 31))
    assert is_over(waiver, date(2027, 2, 1))
    checked = app.invoke(build_app(), ["waive", "run", "--check"])
    assert "by a waiver of Dr. Byron until 2027-01-31" in checked.output
    (tmp_path / "run" / "waiver.json").write_text(json.dumps(waiver | {"until": "2099-01-01"}))
    assert app.invoke(build_app(), ["waive", "run", "--check"]).exit_code != 0


def test_simulate_ends_with_the_exit_code_of_the_verdict(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    plan = RunPlan.from_mapping(
        {
            "task": {"name": "digits"},
            "federation": {"clients": 2, "rounds": 1},
            "audit": {
                "sensitive": ["stroke"],
                "limits": [{"metric": "accuracy", "kind": "ratio", "at-least": 1.0}],
                "gate": "strict",
            },
            "engine": {"workers": 1},
        }
    )
    (tmp_path / "plan.toml").write_text(plan.to_toml())
    assert CliRunner().invoke(build_app(), ["simulate", "plan.toml"]).exit_code in {3, 4}
