"""A server and three clients as separate processes on loopback, with TLS and keys, as the documentation says."""

import json
import os
import signal
import time

import pytest
import torch
from safetensors.torch import load_file

from fedcore.events import missing_heads, verify_events
from fedcore.plan import RunPlan
from fedcore_simulations import simulate
from tests.deployment.federation import deployed, digits_policy, fedcore, open_policy, split_plan, wait_until

CLIENTS = ["client-0", "client-1", "client-2"]
PRIVATE = {"unit": "record", "epsilon": 8.0, "sampling-rate": 1.0, "learning-rate": 1.0}
DIGITS = {
    "task": {"name": "digits"},
    "federation": {"clients": 3, "rounds": 5, "round-timeout-seconds": 60.0, "patience-seconds": 60.0},
    "audit": {"sensitive": ["stroke"]},
    "training": {"device": "cpu"},
}


def repeatable() -> dict:
    """DP-SGD with batches and noise from the seed: the same numbers wherever it runs."""
    return {**DIGITS, "privacy": {**PRIVATE, "sampling-rate": 0.5, "noise": "test"}}


def without_privacy() -> dict:
    return {**DIGITS, "privacy": {"unit": "none"}}


def test_digits_with_privacy_on_three_clients_ends_well_and_can_be_followed(tmp_path):
    with deployed(tmp_path, CLIENTS, digits_policy()) as federation:
        plan = split_plan(tmp_path, {**DIGITS, "privacy": PRIVATE})
        federation.start_server()
        federation.start_clients("digits")
        done = federation.run(plan, "--json")

        assert done.returncode == 0, done.stderr
        summary = json.loads(done.stdout)
        assert summary["metrics"]["accuracy"] > 0.7
        assert summary["epsilon"] == pytest.approx(8.0, abs=0.01)
        assert {name: facts["counted"] for name, facts in summary["participation"].items()} == dict.fromkeys(CLIENTS, 5)
        assert summary["warnings"] == []

        run = federation.home / "runs" / "digits-0001"
        assert verify_events(run / "events.jsonl") == []
        for client in CLIENTS:
            log = tmp_path / client / "events.jsonl"
            assert verify_events(log) == []
            assert missing_heads(log, run / "events.jsonl", party=client) == []
            assert missing_heads(run / "events.jsonl", log, party="coordinator") == []
            status = json.loads(fedcore("client", "status", "--home", client, "--json", cwd=tmp_path).stdout)
            assert status["budgets"]["digits"]["charges"] == 5
            assert status["budgets"]["digits"]["epsilon"] <= 8.01


@pytest.mark.parametrize("plan_of", [repeatable, without_privacy])
def test_the_same_plan_simulated_gives_the_same_model(tmp_path, plan_of):
    with deployed(tmp_path, CLIENTS, open_policy()) as federation:
        plan = split_plan(tmp_path, plan_of())
        federation.start_server()
        federation.start_clients("digits")
        done = federation.run(plan)
        assert done.returncode == 0, done.stderr

        released = load_file(federation.home / "runs" / "digits-0001" / "model.safetensors")
    simulated = simulate(None, RunPlan.from_mapping(plan_of())).model.state_dict()
    assert set(simulated) == set(released)
    for name, tensor in simulated.items():
        assert torch.allclose(tensor, released[name], rtol=0, atol=1e-6), name


def test_server_and_clients_stop_cleanly_on_sigterm(tmp_path):
    with deployed(tmp_path, CLIENTS[:1], digits_policy()) as federation:
        federation.start_server()
        split_plan(tmp_path, {**DIGITS, "federation": {"clients": 1, "rounds": 1}})
        federation.start_client("client-0", "digits=parts/client-0.rows.safetensors")
        wait_until(lambda: "is connected" in federation.log("client-0"), what="the client connects")
        for process in (federation.clients["client-0"], federation.server):
            started = time.monotonic()
            process.send_signal(signal.SIGTERM)
            assert process.wait(15) == 0
            assert time.monotonic() - started < 10
        assert not (federation.home / "server.json").exists()


def test_a_second_server_on_one_home_is_refused_at_once(tmp_path):
    with deployed(tmp_path, [], digits_policy()) as federation:
        federation.start_server()
        second = fedcore(
            "server", "start", "--home", federation.home, "--bind", "127.0.0.1:0", cwd=tmp_path, check=False, timeout=20
        )
        assert second.returncode == 2
        assert "a server runs in" in second.stderr


def test_a_killed_server_goes_on_with_its_run_and_charges_what_was_in_work(tmp_path):
    with deployed(tmp_path, CLIENTS, open_policy()) as federation:
        plan = split_plan(tmp_path, repeatable())
        federation.start_server()
        federation.start_clients("digits")
        fedcore("run", plan, "--home", federation.home, "--detach", cwd=tmp_path)
        wait_until(lambda: federation.committed("digits-0001") >= 2, what="two rounds")
        federation.kill("server")
        before = federation.committed("digits-0001")
        federation.start_server()
        wait_until(lambda: federation.status("digits-0001")["state"] == "finished", what="the run ends")

        rounds = federation.rounds("digits-0001")
        assert [line["round"] for line in rounds if line["committed"]] == [1, 2, 3, 4, 5]
        assert before >= 2
        assert federation.status("digits-0001")["incarnation"] == 2
        released = load_file(federation.home / "runs" / "digits-0001" / "model.safetensors")
    simulated = simulate(None, RunPlan.from_mapping(repeatable())).model.state_dict()
    for name, tensor in simulated.items():
        assert torch.allclose(tensor, released[name], rtol=0, atol=1e-6), name


def test_a_killed_client_is_named_and_used_again_when_it_comes_back(tmp_path):
    with deployed(tmp_path, CLIENTS, open_policy()) as federation:
        mapping = repeatable()
        mapping["federation"] = {**mapping["federation"], "rounds": 40, "quorum": 2, "round-timeout-seconds": 8.0}
        plan = split_plan(tmp_path, mapping)
        federation.start_server()
        federation.start_clients("digits")
        fedcore("run", plan, "--home", federation.home, "--detach", cwd=tmp_path)
        wait_until(lambda: federation.committed("digits-0001") >= 2, what="two rounds")
        federation.kill("client-2")
        missed = wait_until(
            lambda: [line for line in federation.rounds("digits-0001") if "client-2" not in line["counted"]],
            what="a round without the killed client",
        )
        assert missed[0]["committed"]
        federation.start_client("client-2", "digits=parts/client-2.rows.safetensors")
        back = federation.committed("digits-0001")
        wait_until(
            lambda: any("client-2" in line["counted"] for line in federation.rounds("digits-0001")[back:]),
            what="the client is used again",
        )
        fedcore("stop", "digits-0001", "--home", federation.home, cwd=tmp_path)
        wait_until(lambda: federation.status("digits-0001")["state"] == "stopped", what="the run stops")
        shown = json.loads(fedcore("show", "digits", "--home", federation.home, "--json", cwd=tmp_path).stdout)
        assert "client-2" in shown["lost"]
        assert shown["clients"]["client-2"]["counted"] < shown["clients"]["client-0"]["counted"]


def test_too_few_clients_pause_the_run_with_an_exit_code_of_its_own(tmp_path):
    with deployed(tmp_path, CLIENTS[:1], open_policy(cohort={"minimum": 1})) as federation:
        mapping = repeatable()
        mapping["federation"] = {"clients": 3, "rounds": 1, "quorum": 2, "patience-seconds": 1.0, "round-attempts": 2}
        plan = split_plan(tmp_path, mapping)
        federation.start_server()
        federation.start_clients("digits")
        wait_until(lambda: "is connected" in federation.log("client-0"), what="the client connects")
        done = federation.run(plan)
        assert done.returncode == 75
        assert "quorum is 2" in done.stderr
        assert [line["committed"] for line in federation.rounds("digits-0001")] == [False, False]


def test_a_client_that_is_removed_is_asked_no_more(tmp_path):
    with deployed(tmp_path, CLIENTS, open_policy()) as federation:
        mapping = repeatable()
        mapping["federation"] = {**mapping["federation"], "rounds": 60, "round-timeout-seconds": 10.0}
        plan = split_plan(tmp_path, mapping)
        federation.start_server()
        federation.start_clients("digits")
        fedcore("run", plan, "--home", federation.home, "--detach", cwd=tmp_path)
        wait_until(lambda: federation.committed("digits-0001") >= 1, what="a round")
        fedcore("consortium", "remove", "client-1", "--home", federation.home, cwd=tmp_path)
        wait_until(
            lambda: federation.rounds("digits-0001")[-1]["asked"] == ["client-0", "client-2"], what="a smaller cohort"
        )


def test_no_process_is_left_behind_when_everything_is_killed(tmp_path):
    with deployed(tmp_path, CLIENTS[:1], open_policy(cohort={"minimum": 1})) as federation:
        mapping = repeatable()
        mapping["federation"] = {"clients": 1, "rounds": 500}
        plan = split_plan(tmp_path, mapping)
        federation.start_server()
        federation.start_clients("digits")
        fedcore("run", plan, "--home", federation.home, "--detach", cwd=tmp_path)
        wait_until(lambda: federation.committed("digits-0001") >= 1, what="a round")
        children = [*_children(federation.server.pid), *_children(federation.clients["client-0"].pid)]
        assert children
        federation.kill("server")
        federation.kill("client-0")
        wait_until(lambda: not any(_alive(child) for child in children), what="the children end", seconds=10)


def _children(pid: int) -> list[int]:
    with open(f"/proc/{pid}/task/{pid}/children") as file:
        return [int(child) for child in file.read().split()]


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    with open(f"/proc/{pid}/stat") as file:
        return file.read().rsplit(")", 1)[1].split()[0] != "Z"
