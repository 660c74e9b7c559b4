"""What the audit withholds, what a command says of it, and who may release it all the same."""

import json
import shlex
from datetime import UTC, date, datetime

import pytest
from typer.testing import CliRunner

from fedcore.cli import build_app, main
from fedcore.errors import RunDirectoryError, TrustError
from fedcore.plan import RunPlan
from fedcore.report.model_card.markdown import escaped
from fedcore.report.release_words import waiver_words
from fedcore.trust.identity import Identity
from fedcore_server.runs.directory import RunDirectory
from fedcore_server.runs.release import exit_code
from fedcore_server.runs.waiver import check_waiver, is_over, waive
from fedcore_simulations import simulate
from tests.builders import TinyTask
from tests.docs.pages import ROOT, blocks

# Every gap of a model that has hardly learned lies somewhere between: a limit of 1 holds, and one of 0.001 cannot.
HOLDS, BREAKS, OPEN = 1.0, 0.001, 0.25
SIGNER = Identity.create("coordinator")
WORDS = {"reason": "a pilot", "by": "Dr. Byron"}


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


def at(day):
    return datetime.fromisoformat(day).replace(tzinfo=UTC)


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


def test_a_waiver_that_would_be_over_before_it_is_signed_is_refused_and_nothing_changes(tmp_path):
    run_in(tmp_path, BREAKS)
    run = tmp_path / "run"
    before = {path.name: path.read_bytes() for path in run.iterdir() if path.is_file()}
    with pytest.raises(RunDirectoryError, match="still to come, found 2026-01-30; today is 2026-01-31"):
        waive(run, SIGNER, **WORDS, until=date(2026, 1, 30), now=at("2026-01-31"))
    assert {path.name: path.read_bytes() for path in run.iterdir() if path.is_file()} == before
    assert waive(run, SIGNER, **WORDS, until=date(2026, 1, 31), now=at("2026-01-31"))["until"] == "2026-01-31"


def test_only_a_waiver_that_is_over_can_be_replaced_and_the_new_one_keeps_it(tmp_path):
    run_in(tmp_path, BREAKS)
    run = tmp_path / "run"
    first = waive(run, SIGNER, **WORDS, until=date(2026, 1, 31), now=at("2026-01-01"))
    with pytest.raises(
        RunDirectoryError, match=r"by a waiver of Dr\. Byron that holds until 2026-01-31; there is noth"
    ):
        waive(run, SIGNER, **WORDS, now=at("2026-01-31"))
    second = waive(run, SIGNER, reason="another month", by="Dr. Lovelace", now=at("2026-02-01"))
    assert check_waiver(run, SIGNER.public)["replaces"] == first
    assert second["withheld"] == first["withheld"]
    warned = [words for words in json.loads((run / "summary.json").read_text())["warnings"] if "waiver" in words]
    assert len(warned) == 1
    assert (
        "a waiver of Dr. Lovelace, signed by coordinator on 2026-02-01, in place of one signed on 2026-01-01"
        in (warned[0])
    )
    with pytest.raises(RunDirectoryError, match="holds without a last day"):
        waive(run, SIGNER, **WORDS, now=at("2027-02-01"))


def test_a_waiver_of_another_audit_can_be_replaced(tmp_path):
    run_in(tmp_path, BREAKS)
    run = tmp_path / "run"
    waive(run, SIGNER, **WORDS)
    audit = json.loads((run / "bias.json").read_text())
    (run / "bias.json").write_text(json.dumps(audit))
    with pytest.raises(TrustError, match="another audit"):
        check_waiver(run, SIGNER.public)
    waive(run, SIGNER, **WORDS)
    assert check_waiver(run, SIGNER.public)["by"] == "Dr. Byron"


def test_the_card_of_a_waived_model_tells_the_waiver_once_and_no_more_that_it_is_withheld(tmp_path):
    run_in(tmp_path, BREAKS)
    run = tmp_path / "run"
    assert "- The model is withheld" in (run / "bias.md").read_text()
    waiver = waive(run, SIGNER, **WORDS)
    card = (run / "bias.md").read_text()
    assert card.count(f"- {escaped(waiver_words(waiver))}\n") == 1
    assert card.index("## Verdict") < card.index("by a waiver of Dr. Byron") < card.index("## Caveats")
    assert "withheld" not in card


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
        build_app(), ["waive", "run", "--by", "Dr. Byron", "--reason", "a pilot", "--until", "2099-01-31"]
    )
    assert told.exit_code == 0, told.output
    waiver = json.loads((tmp_path / "run" / "waiver.json").read_text())
    assert waiver["until"] == "2099-01-31"
    assert not is_over(waiver, date(2099, 1, 31))
    assert is_over(waiver, date(2099, 2, 1))
    checked = app.invoke(build_app(), ["waive", "run", "--check"])
    assert "by a waiver of Dr. Byron until 2099-01-31" in checked.output
    (tmp_path / "run" / "waiver.json").write_text(json.dumps(waiver | {"until": "2199-01-01"}))
    assert app.invoke(build_app(), ["waive", "run", "--check"]).exit_code != 0


def test_the_commands_that_the_documentation_shows_release_the_model_of_a_simulation(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run_in(tmp_path, BREAKS)
    (tmp_path / "runs").mkdir()
    (tmp_path / "run").rename(tmp_path / "runs/digits-0001")
    (shown,) = (block.text for block in blocks(ROOT / "docs/audit.md") if "fedcore waive" in block.text)
    for command in shown.splitlines():
        told = CliRunner().invoke(build_app(), shlex.split(command)[1:])
        assert told.exit_code == 0, told.output
    assert (tmp_path / "runs/digits-0001/model.safetensors").exists()


def test_the_command_refuses_a_last_day_that_has_passed(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    run_in(tmp_path, BREAKS)
    assert (
        CliRunner().invoke(build_app(), shlex.split("consortium init --name t --server localhost:9092")).exit_code == 0
    )
    monkeypatch.setattr("sys.argv", shlex.split("fedcore waive run --by A --reason b --until 2020-01-01"))
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert "still to come, found 2020-01-01" in capsys.readouterr().err
    assert files(tmp_path) == {"withheld.safetensors"}


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
