"""The fault matrix on a whole federation: processes that are killed, hang or are cut off."""

import os
import signal
import time

import pytest

from fedcore.storage.events import verify_events
from fedcore_clients.agent.home import ClientHome
from fedcore_clients.ledger.account import Ledger
from tests.deployment.federation import CLIENTS, repeatable, wait_until
from tests.deployment.proxy import proxied
from tests.deployment.test_federation import assert_simulated_alike

pytestmark = pytest.mark.xdist_group("servers")

ENDLESS = {"rounds": 300, "quorum": 2, "round-timeout-seconds": 5.0}


def counted(federation, name, since):
    return [sorted(line["counted"]) for line in federation.rounds(name)[since:] if line["committed"]]


def test_f3_f4_f22_a_server_killed_for_longer_than_a_round_goes_on_and_every_answer_was_charged(federation):
    plan = repeatable(federation={"rounds": 4, "round-timeout-seconds": 60.0})
    charged = {client: len(spends(federation, client)) for client in CLIENTS}
    name = federation.submit(plan)
    federation.wait_for_rounds(name, 1)
    federation.kill("server")
    time.sleep(3)
    federation.start_server()
    before = federation.committed(name)
    federation.wait_for_rounds(name, min(before + 1, 4), seconds=90)
    assert federation.wait_for_end(name) == "finished", federation.status(name)

    lines = federation.rounds(name)
    assert [line["round"] for line in lines if line["committed"]] == [1, 2, 3, 4]
    assert federation.status(name)["incarnation"] == 2
    assert_simulated_alike(plan, federation.home / "runs" / name)
    assert verify_events(federation.home / "runs" / name / "events.jsonl") == []
    assert verify_events(federation.home / "events.jsonl") == []
    for client in CLIENTS:
        counted_rounds = sum(client in line["counted"] for line in lines)
        assert len(spends(federation, client)) - charged[client] >= counted_rounds == 4


def spends(federation, client):
    ledger = Ledger(ClientHome(federation.root / client).ledger, lambda: None)
    return ledger.uses() if ledger.file.exists() else []


@pytest.mark.slow
def test_f6_f8_a_child_that_is_stopped_is_late_and_one_that_is_killed_is_told_and_both_serve_on(federation):
    name = federation.submit(repeatable(federation=ENDLESS))
    federation.wait_for_rounds(name, 1)
    (child,) = training_children(federation, "client-1")

    os.kill(child, signal.SIGSTOP)
    late = wait_until(lambda: rejected(federation, name, "client-1", "LATE"), what="the straggler is late")
    os.kill(child, signal.SIGCONT)  # now it answers what nobody waits for any more
    back = len(federation.rounds(name))
    wait_until(lambda: ["client-1" in each for each in counted(federation, name, back)].count(True) >= 2, what="back")
    assert "client-1" not in late[0]["counted"]

    (child,) = training_children(federation, "client-1")
    os.kill(child, signal.SIGSTOP)
    accepted = federation.log("client-1").count("train: run")
    wait_until(lambda: federation.log("client-1").count("train: run") > accepted, what="it works on a request")
    os.kill(child, signal.SIGKILL)
    refusals = wait_until(lambda: rejected(federation, name, "client-1", "REFUSED"), what="the crash is told")
    assert [each["reason"] for each in refusals[0]["rejected"] if each["client"] == "client-1"] == [
        "the client refused: CRASHED"
    ]
    back = len(federation.rounds(name))
    wait_until(lambda: any("client-1" in each for each in counted(federation, name, back)), what="it serves on")
    assert federation.process("client-1").poll() is None
    for line in federation.rounds(name):
        assert len(set(line["counted"])) == len(line["counted"])


def training_children(federation, name):
    """The processes that hold data; Python's own helper for spawned processes is none of them."""
    return [pid for pid in federation.children(name) if b"spawn_main" in command_line(pid)]


def command_line(pid):
    with open(f"/proc/{pid}/cmdline", "rb") as file:
        return file.read()


def rejected(federation, name, client, code):
    return [
        line
        for line in federation.rounds(name)
        if any((each["client"], each["code"]) == (client, code) for each in line["rejected"])
    ]


@pytest.fixture
def behind_a_proxy(federation):
    """`client-2` reaches the server through a proxy."""
    settings = federation.root / "client-2" / "client.toml"
    before = settings.read_text()
    with proxied(federation.port) as proxy:
        restarted(federation, settings, before.replace(f":{federation.port}", f":{proxy.port}"))
        yield proxy
        restarted(federation, settings, before)


def restarted(federation, settings, content):
    process = federation.process("client-2")
    process.send_signal(signal.SIGTERM)
    process.wait(20)
    settings.write_text(content)
    federation.start_client("client-2")


@pytest.mark.slow
def test_f10_a_client_that_is_cut_off_is_missed_and_comes_back_without_a_restart(federation, behind_a_proxy):
    wait_until(lambda: federation.is_connected("client-2"), what="the client connects through the proxy")
    name = federation.submit(repeatable(federation=ENDLESS))
    federation.wait_for_rounds(name, 1)
    for stop in (behind_a_proxy.cut, behind_a_proxy.swallow):
        stop()
        since = len(federation.rounds(name))
        missed = wait_until(
            lambda since=since: [each for each in counted(federation, name, since) if "client-2" not in each],
            what="a round without the client",
        )
        assert missed[0] == ["client-0", "client-1"]
        behind_a_proxy.mend()
        since = len(federation.rounds(name))
        wait_until(
            lambda since=since: any("client-2" in each for each in counted(federation, name, since)),
            what="the client is used again",
        )
    assert federation.process("client-2").poll() is None


@pytest.mark.slow
def test_f11_a_slow_link_takes_longer_and_loses_nothing(federation, behind_a_proxy):
    wait_until(lambda: federation.is_connected("client-2"), what="the client connects through the proxy")
    behind_a_proxy.delay_seconds, behind_a_proxy.bytes_per_second = 0.1, 125_000
    name = federation.submit(repeatable(federation={"rounds": 2}))
    assert federation.wait_for_end(name) == "finished"
    assert counted(federation, name, 0) == [CLIENTS, CLIENTS]
    assert behind_a_proxy.connections <= 8
