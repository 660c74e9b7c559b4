"""A server and three clients as separate processes on loopback, with TLS and keys, as the documentation says."""

import json
import os
import shutil
import signal
import time

import pytest
import torch
from safetensors.torch import load_file

from fedcore.plan import RunPlan, merge
from fedcore.storage.events import missing_heads, read_events, verify_events
from fedcore_simulations import simulate
from tests.deployment.federation import (
    CLIENTS,
    DIGITS,
    PRIVATE,
    command,
    fedcore,
    is_alive,
    open_policy,
    repeatable,
    wait_until,
)

pytestmark = pytest.mark.xdist_group("servers")


def without_privacy() -> dict:
    return {**DIGITS, "privacy": {"unit": "none"}, "federation": {**DIGITS["federation"], "rounds": 2}}


def sparse() -> dict:
    return {**without_privacy(), "aggregation": {"encode": ["top-k:0.1", "int8"]}}


def assert_simulated_alike(mapping, directory):
    """The released model is the one that the simulator makes of the same plan."""
    plan = RunPlan.from_mapping({**mapping, "engine": {"name": "loop"}})  # others round in another order
    simulated = simulate(None, plan).model.state_dict()
    released = load_file(directory / "model.safetensors")
    assert set(simulated) == set(released)
    for name, tensor in simulated.items():
        assert torch.allclose(tensor, released[name], rtol=0, atol=1e-6), name


def test_digits_with_privacy_on_three_clients_ends_well_and_can_be_followed(federation):
    plan = federation.plan(DIGITS, {"privacy": PRIVATE, "task": {"data": "private"}})
    done = federation.run(plan, "--json")

    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    assert summary["metrics"]["accuracy"] > 0.7
    assert summary["epsilon"] == pytest.approx(8.0, abs=0.01)
    assert {name: facts["counted"] for name, facts in summary["participation"].items()} == dict.fromkeys(CLIENTS, 5)
    assert summary["warnings"] == []

    run = federation.home / "runs" / summary["command"].split()[-1]
    status = json.loads(command("client", "status", "--home", federation.root / "client-0", "--json").output)
    assert status["budgets"]["private"]["charges"] == 5
    assert status["budgets"]["private"]["epsilon"] <= 8.01
    told = json.loads((run / "privacy.json").read_text())["composition_scope"]["ledger_head"]
    assert list(told) == CLIENTS
    receipts = {name: f"{each['entry']}:{each['digest']}" for name, each in told.items()}
    found = {
        name: command("ledger", "verify", "--home", federation.root / "client-0", "--receipt", receipt)
        for name, receipt in receipts.items()
    }
    assert {name: each.exit_code for name, each in found.items()} == {"client-0": 0, "client-1": 1, "client-2": 1}
    assert verify_events(run / "events.jsonl") == []
    heads = {event["hash"] for event in read_events(run / "events.jsonl")}
    for client in CLIENTS:
        log = federation.root / client / "events.jsonl"
        assert verify_events(log) == []
        assert missing_heads(log, run / "events.jsonl", party=client) == []
        seen = {
            event["peer_head"]
            for event in read_events(log)
            if str(event.get("run")).startswith(f"{run.name}.") and "peer" in event
        }
        assert seen
        assert seen <= heads


@pytest.mark.parametrize("plan_of", [repeatable, without_privacy, sparse])
def test_the_same_plan_simulated_gives_the_same_model(federation, plan_of):
    name = federation.submit(plan_of())
    assert federation.wait_for_end(name) == "finished", federation.status(name)
    assert_simulated_alike(plan_of(), federation.home / "runs" / name)


def test_a_run_with_starting_weights_a_schedule_and_a_rule_ends_as_the_simulated_one(federation, tmp_path):
    first = tmp_path / "first"
    simulate(None, RunPlan.from_mapping(without_privacy()), out=first)
    changes = {
        "task": {"start-from": str(first / "model.safetensors")},
        "training": {"schedule": "warmup:1:cosine"},
        "federation": {"rounds": 6, "evaluate-every": 2, "stop-when": "accuracy>=0.01"},
    }
    plan = merge(without_privacy(), changes)
    name = federation.submit(plan)
    assert federation.wait_for_end(name) == "finished", federation.status(name)
    summary = json.loads((federation.home / "runs" / name / "summary.json").read_text())
    assert summary["rounds"] == 2
    assert summary["stopped"].startswith("accuracy ")
    assert_simulated_alike(plan, federation.home / "runs" / name)


def test_scaffold_whose_driver_is_killed_ends_in_the_simulated_model(federation):
    plan = merge(without_privacy(), {"algorithm": {"name": "scaffold"}, "federation": {"rounds": 6}})
    name = federation.submit(plan)
    federation.wait_for_rounds(name, 2)
    for child in federation.children("server"):
        os.kill(child, signal.SIGKILL)
    assert federation.wait_for_end(name) == "finished", federation.status(name)
    assert federation.status(name)["incarnation"] > 1
    assert_simulated_alike(plan, federation.home / "runs" / name)
    assert list((federation.root / "client-0" / "memory").iterdir()) == []  # a finished run needs none


def test_server_and_clients_stop_cleanly_on_sigterm_in_the_midst_of_a_run(federation):
    name = federation.submit(repeatable(federation={"rounds": 300}))
    federation.wait_for_rounds(name, 1)
    children = [*federation.children("server"), *federation.children("client-0")]
    assert len(children) >= 2
    for each in ("client-0", "server"):
        started = time.monotonic()
        federation.process(each).send_signal(signal.SIGTERM)
        assert federation.process(each).wait(15) == 0
        assert time.monotonic() - started < 10
    assert not any(is_alive(child) for child in children)
    assert not (federation.home / "server.json").exists()
    assert federation.status(name)["state"] == "queued"


def test_a_second_server_on_one_home_is_refused_at_once(federation):
    second = fedcore(
        *("server", "start", "--home", federation.home, "--bind", "127.0.0.1:0"),
        cwd=federation.root,
        check=False,
        timeout=20,
    )
    assert second.returncode == 2
    assert "a server runs in" in second.stderr


@pytest.mark.slow  # Flower takes a client for connected until a minute after its last heartbeat
def test_f5_a_killed_client_is_named_and_used_again_when_it_comes_back(federation):
    plan = federation.plan(repeatable(federation={"rounds": 300, "quorum": 2, "round-timeout-seconds": 4.0}))
    name = fedcore("run", plan, "--home", federation.home, "--detach", cwd=federation.root).stdout.strip()
    federation.wait_for_rounds(name, 1)
    federation.kill("client-2")
    missed = wait_until(
        lambda: [line for line in federation.rounds(name) if "client-2" not in line["counted"]],
        what="a round without the killed client",
    )
    assert missed[0]["committed"]
    federation.start_client("client-2")
    back = len(federation.rounds(name))
    wait_until(
        lambda: any("client-2" in line["counted"] for line in federation.rounds(name)[back:]),
        what="the client is used again",
    )
    fedcore("stop", name, "--home", federation.home, cwd=federation.root)
    assert federation.wait_for_end(name) == "stopped"
    shown = json.loads(fedcore("show", name, "--home", federation.home, "--json", cwd=federation.root).stdout)
    assert "client-2" in shown["lost"]
    assert shown["clients"]["client-2"]["counted"] < shown["clients"]["client-0"]["counted"]


def test_too_few_clients_pause_the_run_with_an_exit_code_of_its_own(federation):
    few = {"clients": 5, "rounds": 1, "quorum": 4, "patience-seconds": 1.0, "round-attempts": 2}
    done = federation.run(federation.plan(repeatable(federation=few)))
    assert done.returncode == 75
    assert "quorum is 4" in done.stderr
    name = done.stderr.split("fedcore resume ")[1].split()[0]
    assert [line["committed"] for line in federation.rounds(name)] == [False, False]
    assert not (federation.home / "runs" / name / "model.safetensors").exists()


def test_a_client_that_is_removed_is_asked_no_more_and_may_join_anew(federation):
    name = federation.submit(repeatable(federation={"rounds": 300, "round-timeout-seconds": 10.0}))
    federation.wait_for_rounds(name, 1)
    assert command("consortium", "remove", "client-1", "--home", federation.home).exit_code == 0
    wait_until(lambda: federation.rounds(name)[-1]["asked"] == ["client-0", "client-2"], what="a smaller cohort")

    federation.kill("client-1")
    (federation.root / "client-1").rename(federation.root / "lost-1")
    (federation.root / "invite-client-1.json").unlink()
    federation.join("client-1", open_policy())
    federation.start_client("client-1")
    wait_until(federation.clients["client-1"].poll, what="it does not start without the account of its data")
    assert "what was spent is unknown" in federation.log("client-1")

    for kept in (federation.root / "lost-1").glob("ledger.*"):
        shutil.copy(kept, federation.root / "client-1")
    federation.start_client("client-1")
    wait_until(lambda: "client-1" in federation.rounds(name)[-1]["counted"], what="the client with its new keys")


def test_no_process_is_left_behind_when_everything_is_killed(federation):
    name = federation.submit(repeatable(federation={"rounds": 300}))
    federation.wait_for_rounds(name, 1)
    children = [*federation.children("server"), *federation.children("client-0")]
    assert len(children) >= 2
    federation.kill("server")
    federation.kill("client-0")
    wait_until(lambda: not any(is_alive(child) for child in children), what="the children end", seconds=10)
