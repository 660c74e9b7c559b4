"""A test set of the server's own, beside the clients' held-out rows."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from fedcore.data.examples import Examples
from fedcore.errors import DataError, PlanError, TaskError
from fedcore.plan import RunPlan
from fedcore.privacy.accounting import epsilon_of
from fedcore_server.evaluation.evaluation import audit_settings
from fedcore_server.evaluation.fixed_test_set import FixedTestSet
from fedcore_server.rounds.rounds import init_state
from fedcore_server.runs.deployable_plan import deployable
from fedcore_simulations import simulate
from tests.builders import TinyTask, build_plan
from tests.flower.driving import through_flower


class FileTask(TinyTask):
    """Of rows from a seed that a file holds; without a path those of `TinyTask`."""

    def load_data(self, path: Path | None) -> Examples:
        seed = 0 if path is None else int(path.read_text())
        return TinyTask(rows=self.rows if path is None else 3000, seed=seed).load_data(None)


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "test.txt"
    path.write_text("5")
    return path


def plan_of(file, **sections):
    task = {"name": "tests.server.test_fixed_test_set:FileTask", "test_data": str(file)}
    return build_plan(task=task, **sections)


def by_hand(model, file):
    """Accuracy and loss over all rows at once."""
    rows = FileTask().load_data(file).columns
    scores = model.eval()(rows["inputs"]).detach()
    accuracy = (scores.argmax(1) == rows["targets"]).double().mean()
    return float(accuracy), float(nn.functional.cross_entropy(scores, rows["targets"]))


def test_the_released_model_is_measured_on_the_test_rows_too(file, tmp_path):
    result = simulate(FileTask(), plan_of(file, federation={"evaluate_every": 2}), out=tmp_path / "run")
    accuracy, loss = by_hand(result.model, file)
    assert result.metrics["test_accuracy"] == pytest.approx(accuracy, abs=1e-9)
    assert result.metrics["test_loss"] == pytest.approx(loss, rel=1e-5)
    assert result.summary["metrics"] == result.metrics
    assert ["test_accuracy" in (line["evaluation"] or {}) for line in result.rounds] == [False, True, True]
    report = (tmp_path / "run/report.html").read_text(encoding="utf-8")
    assert f"test accuracy {100 * accuracy:.1f}" in report


def test_neither_model_nor_held_out_metrics_depend_on_it(file):
    without, result = simulate(FileTask(), build_plan()), simulate(FileTask(), plan_of(file))
    assert result.summary["model_sha256"] == without.summary["model_sha256"]
    assert {name: result.metrics[name] for name in without.metrics} == without.metrics
    assert set(result.metrics) - set(without.metrics) == {"test_loss", "test_accuracy"}


def test_the_path_is_no_part_of_the_plans_hash_and_does_not_travel(file):
    plan = plan_of(file)
    assert plan.sha256 == build_plan(task={"name": plan.task.name}).sha256
    assert RunPlan.from_mapping(plan.to_shared()).task.test_data is None


def test_a_server_loads_its_own_file_before_the_run(file):
    plan = deployable(plan_of(file, aggregation={"rule": "uniform"}))
    assert plan.task.test_data == str(file)
    file.write_text("not a seed")
    with pytest.raises(TaskError, match=r"task\.test-data: load_data failed: ValueError"):
        deployable(plan_of(file, aggregation={"rule": "uniform"}))


def test_a_deployment_measures_what_a_simulation_does(file):
    plan = plan_of(file)
    tests = FixedTestSet(FileTask(), plan, torch.device("cpu"))
    simulated = simulate(FileTask(), plan)
    deployed, _ = through_flower(plan, task=FileTask(), test=tests.metrics)
    assert deployed.evaluation.metrics == simulated.metrics


def test_a_run_may_stop_by_its_test_rows_and_the_audits_intervals_stay(file):
    audited = {"audit": {"sensitive": ["sex"]}}
    plan = plan_of(file, federation={"stop_when": "test_accuracy>=0.01"}, **audited)
    result = simulate(FileTask(), plan)
    assert result.summary["rounds"] == 1
    assert result.summary["stopped"].startswith("test_accuracy")
    assert audit_settings(plan).looks == 1


def test_under_privacy_the_test_rows_may_stop_a_run_which_is_charged_in_whole(file):
    privacy = {"unit": "record", "noise_multiplier": 1.0, "noise": "test", "sampling_rate": 1.0}
    plan = plan_of(
        file, federation={"stop_when": "patience:1:test_loss"}, privacy=privacy, aggregation={"rule": "uniform"}
    )
    result = simulate(FileTask(), plan)
    assert result.summary["epsilon"] == pytest.approx(epsilon_of_rounds(result.plan, 3))


def epsilon_of_rounds(plan, rounds):
    from fedcore.privacy.promise import promise_of

    privacy = promise_of(plan)
    return epsilon_of(privacy.event(rounds), privacy.delta, privacy.relation)


def test_a_model_that_is_not_finite_has_no_test_metrics(file):
    plan = plan_of(file)
    parameters = init_state(FileTask(), plan).parameters
    parameters.buffer.fill_(torch.nan)
    assert "test_loss" not in FixedTestSet(FileTask(), plan, torch.device("cpu")).metrics(parameters)


def test_a_task_that_ignores_its_path_is_found_out(file):
    plan = build_plan(task={"name": "tests.builders:TinyTask", "test_data": str(file)})
    with pytest.raises(DataError, match="all of its rows are among the clients' own"):
        simulate(TinyTask(), plan)


def test_under_privacy_no_row_may_be_a_clients_own(tmp_path):
    class Shared(FileTask):
        def load_data(self, path):
            rows = super().load_data(path)
            return rows if path is None else Examples.joined([rows, super().load_data(None).select(slice(0, 1))])

    (file := tmp_path / "test.txt").write_text("5")
    plan = plan_of(file, privacy={"unit": "client", "noise_multiplier": 1.0}, aggregation={"rule": "uniform"})
    with pytest.raises(DataError, match="1 row of it among the clients' own"):
        simulate(Shared(), plan)
    simulate(Shared(), plan_of(file))


def test_a_file_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(PlanError, match=r"task\.test-data: nothing at"):
        simulate(FileTask(), plan_of(tmp_path / "absent.txt"))


def test_a_rule_on_test_rows_needs_them():
    with pytest.raises(PlanError, match=r"test_accuracy needs task\.test-data"):
        simulate(TinyTask(), build_plan(federation={"stop_when": "test_accuracy>=0.9"}))
