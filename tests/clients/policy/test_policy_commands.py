"""`fedcore client policy` and `fedcore client approve`, as functions hung into an application."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime

import pytest
import typer
from typer.testing import CliRunner

from fedcore.errors import PlanError, TaskError
from fedcore.plan import RunPlan
from fedcore.task import load_examples
from fedcore.tasks.registry import load_task
from fedcore_clients.commands import policy as policy_commands
from fedcore_clients.policy.allowance import allowing
from fedcore_clients.policy.approvals import Approvals
from fedcore_clients.policy.settings import Policy
from fedcore_clients.policy.template import policy_template

DIGEST = "0123456789abcdef" * 4


def run(*arguments: str) -> str:
    app = typer.Typer()
    app.command()(policy_commands.policy)
    app.command()(policy_commands.approve)
    return CliRunner().invoke(app, list(arguments), catch_exceptions=False).output


def test_policy_prints_the_template():
    assert run("policy") == policy_template()


def test_policy_writes_a_new_file_that_checks_and_never_over_an_old_one(tmp_path):
    path = tmp_path / "policy.toml"
    assert "wrote" in run("policy", "--out", str(path))
    assert f"sha256 {Policy().sha256}" in run("policy", "--check", str(path))
    with pytest.raises(PlanError, match="exists and is not changed"):
        run("policy", "--out", str(path))


def test_policy_allows_tasks_by_name_and_says_what_was_allowed(tmp_path):
    path = tmp_path / "policy.toml"
    told = run("policy", "--allow", "digits", "--allow", "my_task:MyTask", "--out", str(path))
    assert "digits, my_task:MyTask may be trained with privacy" in told
    assert "loss, accuracy, counts by stroke" in told

    found = Policy.from_toml(path)
    assert found.tasks.allowed == ("digits", "my_task:MyTask")
    assert found.data.allowed == {"digits": ("digits",), "my_task:MyTask": ("my_task:MyTask",)}
    assert found.release.evaluation == ("loss", "accuracy")
    assert found.release.group_tables == ("stroke",)
    assert found.privacy == Policy().privacy
    assert "under which nothing is trained" not in path.read_text()
    assert run("policy", "--allow", "digits") == policy_template(allowing(["digits"]))


def test_policy_allows_no_name_that_no_data_set_can_have(tmp_path):
    with pytest.raises(PlanError, match=r"data\.allowed"):
        run("policy", "--allow", "no name", "--out", str(tmp_path / "policy.toml"))
    assert not (tmp_path / "policy.toml").exists()


@pytest.mark.parametrize("name", ["digits", "diabetes", "diabetes-progression", "synthetic"])
def test_the_groups_and_metrics_of_a_reference_task_that_is_allowed_are_its_own(name):
    task = load_task(RunPlan.from_mapping({"task": {"name": name}, "federation": {"clients": 2}}))

    told, other = ("error-sums", "group-tables") if not task.labels else ("group-tables", "error-sums")
    assert set(allowing([name])["release"][told]) == set(load_examples(task, None).attributes)
    assert not allowing([name])["release"].get(other)
    assert set(allowing([name])["release"]["evaluation"]) == set(task.metrics)


def test_policy_check_says_which_methods_are_allowed_and_whether_memory_is(tmp_path):
    path = tmp_path / "policy.toml"
    path.write_text('[training]\nalgorithms = ["fedavg", "my_algorithm:FedDyn"]\nencodings = []\nmemory = true\n')
    told = run("policy", "--check", str(path))
    assert "no task may be trained\nalgorithms: fedavg, my_algorithm:FedDyn\nencodings: none\n" in told
    assert "vectors kept here between rounds: allowed (training.memory)" in told
    path.write_text("")
    assert "vectors kept here between rounds: not allowed" in run("policy", "--check", str(path))


def test_policy_check_tells_the_problems(tmp_path):
    (tmp_path / "policy.toml").write_text("[cohort]\nminimun = 3\n")
    with pytest.raises(PlanError, match="did you mean 'minimum'"):
        run("policy", "--check", str(tmp_path / "policy.toml"))
    with pytest.raises(PlanError, match="give one of them"):
        run("policy", "--check", "a", "--out", "b")


def test_approve_lists_what_waits_and_approves_by_prefix(tmp_path):
    approvals = Approvals(tmp_path / "approvals.json", lambda: datetime.now(UTC))
    (tmp_path / "policy.toml").write_text("[approval]\nvalid-days = 3\n")
    home = ("--home", str(tmp_path))
    assert "no plan waits" in run("approve", *home)
    approvals.remember(DIGEST, ["task digits on data set wards"])
    listed = run("approve", *home)
    assert DIGEST[:12] in listed
    assert "  task digits on data set wards" in listed
    assert f"approved {DIGEST} until" in run("approve", "01234567", *home)
    (approval,) = approvals.approved()
    assert (approval.expires - approval.approved).days == 3
    assert "no plan waits" in run("approve", *home)
    assert f"revoked {DIGEST}" in run("approve", "01234567", "--revoke", *home)
    assert not approvals.is_approved(DIGEST)


def test_approve_for_some_days_needs_no_policy(tmp_path):
    run("approve", DIGEST, "--days", "7", "--home", str(tmp_path))
    with pytest.raises(PlanError, match="no policy at"):
        run("approve", DIGEST, "--home", str(tmp_path))
    with pytest.raises(PlanError, match="needs the HASH"):
        run("approve", "--revoke", "--home", str(tmp_path))


def test_nothing_heavy_is_imported_for_help():
    heavy = "torch flwr numpy pydantic dp_accounting fedcore.plan"
    code = f"import sys, {policy_commands.__name__}; print([n for n in '{heavy}'.split() if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_task_that_nobody_has_is_not_allowed_but_the_nearest_named():
    with pytest.raises(TaskError, match="unknown task: 'digitz'; did you mean 'digits'"):
        allowing(["digitz"])
