"""Two hundred rounds while everything is killed at random; afterwards the journals must prove that nothing is wrong.

python -m pytest -m slow tests/deployment/test_soak.py -s
"""

import json
import os
import random
import signal
import sqlite3
import time
from collections import Counter
from contextlib import closing

import pytest
from safetensors.torch import load_file

from fedcore.plan import RunPlan
from fedcore.privacy.accounting import composed_epsilon
from fedcore.privacy.plan import PrivacyPlan
from fedcore.storage.events import missing_heads, read_events, verify_events
from fedcore_clients.agent.home import ClientHome
from fedcore_clients.ledger.account import Ledger
from fedcore_clients.ledger.mechanism import epsilon_together
from fedcore_clients.ledger.verification import problems_of
from fedcore_server.runs.deployable_plan import deployable
from fedcore_server.runs.store import RunState, RunStore
from tests.deployment.federation import CLIENTS, Deployment, wait_until

pytestmark = pytest.mark.xdist_group("servers")

SEED, ROUNDS, MOST_SECONDS = 2026, 200, 2400.0
TASK = "tests.builders:TinyTask"
POLICY = {
    "tasks": {"allowed": [TASK]},
    "data": {"allowed": {"tiny": [TASK]}},
    "privacy": {"max-epsilon": 50.0, "max-delta": 1e-5, "budget": {"epsilon": 50.0}},
    "release": {"evaluation": ["loss", "accuracy"]},
    "limits": {"requests-per-day": 100_000},
}
PLAN = RunPlan.from_mapping(
    {
        "task": {"name": TASK, "data": "tiny"},
        "federation": {
            "clients": 3,
            "rounds": ROUNDS,
            "quorum": 2,
            "round-attempts": 20,
            "round-timeout-seconds": 5.0,
            "patience-seconds": 60.0,
            "evaluate-every": 10,
        },
        "training": {"device": "cpu"},
        "privacy": {"unit": "record", "noise-multiplier": 20.0, "sampling-rate": 0.1, "nominal-batch": 10.0},
    }
)


class TinyDeployment(Deployment):
    """Clients of a task so small that nearly all of a round is what is to be tested."""

    def start_client(self, name):
        self.clients[name] = self._start(name, "client", "start", "--home", name, f"--data=tiny={name}.data")


class Chaos:
    """Kills and starts again what it finds running, by a schedule that depends on the seed alone."""

    def __init__(self, deployment, seed):
        self.deployment, self.dice, self.kills = deployment, random.Random(seed), Counter()

    def strike(self):
        victim = self.dice.choice(["server", "driver", "training process", *CLIENTS])
        time.sleep(self.dice.uniform(6.0, 16.0))
        if victim == "driver":
            self._kill_children("server", b"fedcore_server.runs.process", victim)
        elif victim == "training process":
            self._kill_children(self.dice.choice(CLIENTS), b"spawn_main", victim)
        else:
            self.deployment.kill(victim)
            self.kills["server" if victim == "server" else "client"] += 1
            time.sleep(self.dice.uniform(0.0, 2.0))
            if victim == "server":
                self.deployment.start_server()
            else:
                self.deployment.start_client(victim)

    def _kill_children(self, parent, of, what):
        for pid in self.deployment.children(parent):
            try:
                with open(f"/proc/{pid}/cmdline", "rb") as file:
                    if of in file.read():
                        os.kill(pid, signal.SIGKILL)
                        self.kills[what] += 1
            except (FileNotFoundError, ProcessLookupError):
                continue


@pytest.fixture(scope="module")
def soaked(tmp_path_factory):
    root = tmp_path_factory.mktemp("soak")
    for client in CLIENTS:
        (root / f"{client}.data").touch()
    deployment = TinyDeployment(root, CLIENTS)
    try:
        deployment.found(POLICY)
        deployment.start_server()
        deployment.start_clients()
        store = RunStore(deployment.home / "runs")
        name = store.submit(deployable(PLAN))
        chaos, started, paused = Chaos(deployment, SEED), time.monotonic(), 0
        deployment.wait_for_rounds(name, 1)
        while store.status(name).state != RunState.FINISHED:
            assert time.monotonic() - started < MOST_SECONDS, store.status(name)
            if store.status(name).state.ended:  # what an operator does about a run that has paused
                assert store.status(name).state == RunState.PAUSED, store.status(name)
                store.queue_again(name)
                paused += 1
            chaos.strike()
        seconds = time.monotonic() - started
        deployment.heal()
        wait_until(lambda: store.status(name).state == RunState.FINISHED, what="the end stands")
    finally:
        deployment.stop()
    lines = deployment.rounds(name)
    print(
        f"\nsoak: {ROUNDS} rounds in {seconds:.0f} s; killed {dict(chaos.kills)}, {sum(chaos.kills.values())} in all; "
        f"{store.status(name).incarnation} incarnations, {paused} pauses, "
        f"{sum(not line['committed'] for line in lines)} failed attempts, "
        f"{dict(Counter(each['code'] for line in lines for each in line['rejected']))} rejected"
    )
    assert sum(chaos.kills.values()) >= 20
    return deployment, name


@pytest.fixture
def deployment(soaked):
    return soaked[0]


@pytest.fixture
def name(soaked):
    return soaked[1]


@pytest.mark.slow
def test_every_round_was_committed_once_and_in_order(deployment, name):
    lines = deployment.rounds(name)
    assert [line["round"] for line in lines if line["committed"]] == list(range(1, ROUNDS + 1))
    places = [(line["round"], line["attempt"]) for line in lines]
    assert places == sorted(set(places))
    assert deployment.summary(name)["rounds"] == ROUNDS


@pytest.mark.slow
def test_no_update_was_counted_twice(deployment, name):
    for line in deployment.rounds(name):
        assert len(line["counted"]) == len(set(line["counted"]))
        assert set(line["counted"]) <= set(line["asked"])
        assert len(line["counted"]) >= 2 or not line["committed"]
    incarnation, answered = 0, set()
    for event in read_events(deployment.home / "runs" / name / "events.jsonl"):
        incarnation = event.get("incarnation", incarnation)
        if event["event"] == "train-answered":
            answer = (incarnation, event["round"], event["attempt"], event["peer"])
            assert answer not in answered
            answered.add(answer)


@pytest.mark.slow
def test_no_file_is_torn_and_nothing_half_written_is_left(deployment, name):
    run = deployment.home / "runs" / name
    homes = [deployment.home, *(deployment.root / client for client in CLIENTS)]
    assert [path for home in homes for path in home.rglob(".*")] == []
    for home in homes:
        for path in home.rglob("*.json"):
            json.loads(path.read_text())
        for path in home.rglob("*.jsonl"):
            content = path.read_bytes()
            assert content.endswith(b"\n"), path
            for line in content.splitlines():
                json.loads(line)
    for path in [run / "model.safetensors", *(run / "checkpoint").iterdir()]:
        assert load_file(path)
    with closing(sqlite3.connect(deployment.home / "flower.db")) as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)


@pytest.mark.slow
def test_every_event_chain_holds_and_no_party_lacks_what_another_saw(deployment, name):
    run = deployment.home / "runs" / name / "events.jsonl"
    assert verify_events(run) == []
    assert verify_events(deployment.home / "events.jsonl") == []
    for client in CLIENTS:
        log = deployment.root / client / "events.jsonl"
        assert verify_events(log) == []
        assert missing_heads(log, run, party=client) == []
        assert missing_heads(run, log, party="coordinator") == []


@pytest.mark.slow
def test_no_ledger_counts_less_than_what_was_released(deployment, name):
    privacy = PrivacyPlan.from_run_plan(deployable(PLAN))
    for client in CLIENTS:
        home = deployment.root / client
        ledger = Ledger(ClientHome(home).ledger, lambda: None)
        assert problems_of(ledger.file) == []
        charges = ledger.uses("tiny")
        charged = Counter((each.incarnation, each.round, each.attempt) for each in charges)
        answered = Counter(
            (event["incarnation"], event["round"], event["attempt"])
            for event in read_events(home / "events.jsonl")
            if event["event"] == "answered" and event["kind"] == "train"
        )
        assert answered <= charged
        counted = sum(client in line["counted"] for line in deployment.rounds(name))
        assert len(charges) >= sum(answered.values()) >= counted
        spent = epsilon_together([each.parsed_mechanism() for each in charges], 1e-5)
        assert spent >= composed_epsilon([privacy.event(counted)], 1e-5)
        print(f"{client}: {counted} counted, {sum(answered.values())} answered, {len(charges)} charged, ε {spent:.3f}")


@pytest.mark.slow
def test_nothing_was_left_running(deployment):
    for process in [deployment.server, *deployment.clients.values()]:
        assert process.poll() is not None
