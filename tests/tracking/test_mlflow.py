"""MLflow, the real one, with a store in the working directory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest

from fedcore.errors import StorageError
from fedcore.listeners import Beginning, Ending
from fedcore.round_line import figures_of
from fedcore.tracking.mlflow import MlflowTracker
from fedcore.tracking.replay import replay
from fedcore_simulations import simulate
from tests.builders import Stopping, build_plan
from tests.tracking.conftest import SECTIONS

pytestmark = pytest.mark.usefixtures("in_store")


def runs_in(uri: str = "", experiment: str = "fedcore") -> list[Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from mlflow.tracking import MlflowClient

        client = MlflowClient(tracking_uri=uri or f"sqlite:///{Path.cwd()}/mlflow.db")
        found = client.search_runs([client.get_experiment_by_name(experiment).experiment_id])
        for run in found:
            run.curves = {
                name: {each.step: each.value for each in client.get_metric_history(run.info.run_id, name)}
                for name in run.data.metrics
            }
            run.files = {file.path for file in client.list_artifacts(run.info.run_id)}
        return list(found)


def test_a_simulation_is_tracked_round_by_round_with_its_results(here):
    result = simulate(None, build_plan(**SECTIONS, run={"track": ["mlflow"]}), out=here / "tiny-0001")
    (run,) = runs_in()
    assert run.info.run_name == "tiny-0001"
    assert run.info.status == "FINISHED"
    assert run.data.params["federation.rounds"] == "2"
    assert run.data.params["privacy.noise-multiplier"] == "1.0"
    for line in result.rounds:
        for name, value in figures_of(line).items():
            assert run.curves[name][line["round"]] == pytest.approx(value), name
    assert {"evaluation/accuracy", "epsilon", "worst_group", "counted"} <= run.curves.keys()
    assert run.curves["released/accuracy"] == {2: pytest.approx(result.metrics["accuracy"])}
    assert run.data.tags["worst_group"].startswith("sex ")
    assert run.data.tags["model_sha256"] == result.summary["model_sha256"]
    assert {"report.html", "model.safetensors", "plan.toml", "summary.json", "privacy.json", "bias.json"} == run.files


def test_a_finished_run_is_tracked_afterwards_as_it_would_have_been_at_once(here, finished):
    assert replay(finished, [MlflowTracker(experiment="wards")]) == 2
    (run,) = runs_in(experiment="wards")
    lines = [json.loads(line) for line in (finished / "rounds.jsonl").read_text().splitlines()]
    assert run.curves["epsilon"] == {line["round"]: pytest.approx(line["epsilon"]) for line in lines}
    assert run.info.status == "FINISHED"
    assert "report.html" in run.files


def test_a_run_that_was_stopped_is_tracked_as_killed_and_afterwards_with_the_rounds_that_it_had(here):
    plan = build_plan(**SECTIONS, run={"track": ["mlflow"]})
    with pytest.raises(KeyboardInterrupt):
        simulate(None, plan, out=here / "tiny", listeners=[Stopping()])
    (run,) = runs_in()
    assert (run.info.status, run.data.tags["failure"]) == ("KILLED", "stopped")
    replay(here / "tiny", [MlflowTracker(experiment="later")])
    (run,) = runs_in(experiment="later")
    assert (run.info.status, set(run.curves["counted"])) == ("FAILED", {1})


def test_the_store_is_the_one_of_the_environment(here, monkeypatch, finished):
    (here / "mlflow.db").rename(here / "elsewhere.db")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{here}/elsewhere.db")
    replay(finished, [MlflowTracker()])
    assert len(runs_in(f"sqlite:///{here}/elsewhere.db")) == 1
    assert not (here / "mlflow.db").exists()


def test_a_store_that_cannot_be_used_fails_the_command_and_no_run(here, monkeypatch, finished, caplog):
    (here / "file").touch()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{here}/file/mlflow.db")
    with pytest.raises(StorageError, match="tracker mlflow failed: "):
        replay(finished, [MlflowTracker()])
    summary = simulate(None, build_plan(**SECTIONS, run={"track": ["mlflow"]})).summary
    assert summary["rounds"] == 2
    assert [record.message.split(":")[0] for record in caplog.records if record.name == "fedcore"] == [
        "listener mlflow failed"
    ]


def test_a_withheld_model_is_not_uploaded(here, tmp_path):
    folder = tmp_path / "results"
    folder.mkdir()
    (folder / "withheld.safetensors").write_bytes(b"x")
    (folder / "report.html").write_text("report")
    tracker = MlflowTracker()
    tracker.run_begins(build_plan(), Beginning(run="r", task="t", clients=("a",)))
    summary = {"metrics": {}, "rounds": 1, "audit_verdict": "FAIL", "model_sha256": "0" * 64}
    tracker.run_ends(Ending(summary=summary, directory=folder))
    (run,) = runs_in()
    assert run.files == {"report.html"}


def test_mlflow_does_not_report_home_and_help_does_not_import_it(here):
    code = (
        "import sys; from fedcore.cli import build_app; build_app(); import fedcore.tracking.registry as r;"
        "r.check_tracker('mlflow'); assert not {'mlflow', 'tensorboardX'} & set(sys.modules);"
        "from fedcore.tracking.mlflow import _client; _client();"
        "from mlflow.telemetry.utils import is_telemetry_disabled; assert is_telemetry_disabled()"
    )
    environment = {**os.environ, "MLFLOW_DISABLE_TELEMETRY": "false"}
    subprocess.run([sys.executable, "-c", code], check=True, cwd=here, env=environment)
