"""The Ray engine on Ray: two actors, one that is killed, a machine that is lost, and a run that is interrupted."""

import json
import os
import signal
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import psutil
import pytest

from fedcore.errors import PlanError
from fedcore.plan import RunPlan
from fedcore_simulations import simulate
from tests.builders import TinyTask, build_plan

pytestmark = [
    pytest.mark.xdist_group("servers"),
    pytest.mark.skipif(find_spec("ray") is None, reason='needs Ray: pip install "fedcore[ray]"'),
]


class DiesOnce(TinyTask):
    """The first training, in whichever process, ends with that process."""

    def __init__(self, mark: str) -> None:
        super().__init__()
        self.mark = Path(mark)

    def loss(self, model, batch):
        if model.training and not self.mark.exists():
            self.mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().loss(model, batch)


class Slow(TinyTask):
    """Takes a second a client in training, and marks where it is."""

    def __init__(self, mark: str) -> None:
        super().__init__()
        self.mark = Path(mark)

    def loss(self, model, batch):
        if model.training:
            self.mark.touch()
            time.sleep(1)
        return super().loss(model, batch)


def command(task, mark, out, *options):
    """``fedcore simulate`` in a process of its own."""
    run = ["-c", "from fedcore.cli import main; main()", "simulate", f"{__name__}:{task}", "--out", out, "--json"]
    sections = ["--rounds", "3", "--algorithm", "scaffold", "--encode", "int8", "--set", f"task.options.mark={mark}"]
    return subprocess.Popen(
        [sys.executable, *run, "--engine", "ray", *sections, *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )


def model_of_the_loop(out):
    plan = RunPlan.from_toml(out / "plan.toml").updated(engine={"name": "loop"})
    return simulate(None, plan).summary["model_sha256"]


def rays():
    """Processes of Ray that this test has started, or that have lost their parent."""
    return {each.pid for each in psutil.process_iter(["cmdline"]) if "/ray/" in " ".join(each.info["cmdline"] or [])}


def test_two_actors_of_which_one_is_killed_give_the_model_of_the_loop_and_nothing_is_left(tmp_path):
    before, mark, out = rays(), tmp_path / "mark", tmp_path / "run"
    with command("DiesOnce", mark, out, "--clients", "5", "--workers", "2") as process:
        text, shown = process.communicate(timeout=300)
    assert process.returncode == 0, shown
    assert mark.exists()
    summary = json.loads(text)
    assert summary["engine"] == "ray"
    assert summary["model_sha256"] == model_of_the_loop(out)
    assert not rays() - before
    assert [line for line in shown.splitlines() if "ray" in line.lower() and not line.endswith("engine ray")] == []


def test_a_cluster_that_is_not_there_is_refused_within_seconds():
    began = time.monotonic()
    plan = build_plan(engine={"name": {"name": "ray", "address": "127.0.0.1:1"}, "workers": 0})
    with pytest.raises(PlanError, match=r"no Ray cluster answers at 127\.0\.0\.1:1 \(UNAVAILABLE.*ray start --head"):
        simulate(TinyTask(), plan)
    assert time.monotonic() - began < 20


def wait_for(happened):
    deadline = time.monotonic() + 120
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.mark.slow
@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_leaves_nothing(tmp_path, sent):
    before = rays()
    with command("Slow", tmp_path / "mark", tmp_path / "run", "--workers", "2") as process:
        wait_for((tmp_path / "mark").exists)
        process.send_signal(sent)
        _, shown = process.communicate(timeout=60)
    assert process.returncode == 130, shown
    assert not rays() - before


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # Ray's own processes, in this one
def test_a_machine_that_is_lost_changes_nothing(tmp_path):
    """Two of Ray's nodes on this machine; one is ended while its client is being trained."""
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    try:
        lost = cluster.add_node(num_cpus=1)
        with command("Slow", tmp_path / "mark", tmp_path / "run", "--ray-address", cluster.address) as process:
            wait_for((tmp_path / "mark").exists)
            time.sleep(2)
            cluster.remove_node(lost, allow_graceful=False)
            text, shown = process.communicate(timeout=300)
        assert process.returncode == 0, shown
        assert json.loads(text)["model_sha256"] == model_of_the_loop(tmp_path / "run")
    finally:
        cluster.shutdown()


OWN_CLUSTER = """
from fedcore_simulations.engines.ray.cluster import connected, quieten
quieten()
with connected("", workers=1):
    import ray
    print(ray.get_runtime_context().gcs_address, flush=True)
    input()
"""
OTHER_PROCESS = """
import sys, ray
ray.init(address=sys.argv[1], log_to_driver=False, logging_level="ERROR")
print("ran", ray.get(ray.remote(num_cpus=0)(lambda: 1).remote(), timeout=30))
"""


@pytest.mark.slow
@pytest.mark.parametrize("knows_the_token", [False, True])
def test_a_process_without_the_token_cannot_run_code_in_a_runs_own_cluster(knows_the_token):
    token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "4a" * 32} if knows_the_token else {}
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), **token}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", OWN_CLUSTER], env=env, text=True, **pipes) as owner:
        address = owner.stdout.readline().strip()
        try:
            run = [sys.executable, "-c", OTHER_PROCESS, address]
            other = subprocess.run(run, env=env, capture_output=True, text=True, timeout=120, check=False)
        finally:
            owner.communicate("\n", timeout=60)
    assert ("ran 1" in other.stdout) is knows_the_token
