"""As many clients as a server has are known and counted, over TLS and Flower's own API."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from flwr.app import Context
from flwr.supercore.task_identity import TaskIdentity

from fedcore.errors import RequestGoneError
from fedcore.plan import RunPlan
from fedcore.storage.events import EventLog
from fedcore.trust.identity import COORDINATOR, FlowerKey, Identity
from fedcore.trust.roster import Member, Roster
from fedcore_clients.agent.fleet import connect
from fedcore_clients.training.local_model import Client
from fedcore_server.flower.correspondence import Correspondence
from fedcore_server.flower.grid_federation import GridFederation
from fedcore_server.rounds.rounds import init_state, plan_round
from fedcore_server.rounds.state import Rejection
from fedcore_simulations.preparation import prepare
from simulations.benchmarks.client_app import build_client_app
from simulations.benchmarks.light_client import LightClient
from tests.builders import TinyTask, build_plan
from tests.superlink.builders import request_to, site_in

pytestmark = pytest.mark.xdist_group("servers")


@pytest.mark.parametrize("count", [24, pytest.param(64, marks=pytest.mark.slow)])
def test_all_of_many_clients_are_known_and_answer(tmp_path: Path, count: int) -> None:
    plan = build_plan(
        task={"name": "tests.builders:TinyTask"},
        federation={"clients": 4, "patience_seconds": 60.0, "round_timeout_seconds": 60.0},
    )
    task = TinyTask()
    ready = prepare(task, plan)
    data = list(ready.clients)
    names = [f"client-{index:02d}" for index in range(count)]
    keys = {name: FlowerKey.create() for name in names}
    identities = {name: Identity.create(name) for name in names}
    coordinator = Identity.create(COORDINATOR)
    roster = Roster(
        consortium="many",
        version=1,
        server="localhost:1",
        coordinator=coordinator.public.key,
        members=tuple(
            Member(
                name=name,
                identity_key=identities[name].public.key,
                flower_key=keys[name].public_bytes,
                admitted="2026-11-30",
            )
            for name in names
        ),
    )

    def rows_of(context: Context, plan: RunPlan) -> Client:
        name = str(context.node_config["name"])
        return replace(data[names.index(name) % len(data)], name=name)

    app = build_client_app(task, load=rows_of)
    plan = ready.plan.updated(federation={"clients": count})
    with site_in(tmp_path) as site:
        site.control.sync_nodes(roster)
        site.superlink.admit(key.public_bytes for key in keys.values())
        clients = []
        for name in names:
            keys[name].save(tmp_path / f"{name}.key")
            clients.append(
                LightClient(
                    server=site.public,
                    authority=site.ca,
                    flower_key=tmp_path / f"{name}.key",
                    identity=identities[name],
                    coordinator=coordinator.public,
                    app=app,
                    members=count,
                )
            )
        for client in clients:
            client.start()
        deadline = time.monotonic() + 120.0
        while {node.status for node in site.control.registered().values()} != {"online"}:
            assert time.monotonic() < deadline, "not all clients came online"
            time.sleep(0.1)  # a connection and a run of one process share Flower's global identity
        correspondence = Correspondence(
            coordinator, lambda: roster, run="run", incarnation=1, events=EventLog(tmp_path / "events.jsonl")
        )
        with site.grid() as grid:
            federation = GridFederation(grid, plan, correspondence)
            state = init_state(task, plan)
            assert list(federation.available()) == names
            replies = list(federation.train(plan_round(state, plan, names)))
            assert [reply for reply in replies if isinstance(reply, Rejection)] == []
            assert sorted(reply.client for reply in replies) == names
        for client in clients:
            client.stop()
        for client in clients:
            client.join()
        assert sum(client.lost for client in clients) == 0


def test_a_message_of_a_run_that_was_stopped_is_gone_and_the_client_stays_connected(tmp_path: Path) -> None:
    key = FlowerKey.create()
    key.save(tmp_path / "flower.key")
    with site_in(tmp_path) as site:
        site.control.register(key.public_bytes, "alfa")
        with (
            connect(site.public, authority=site.ca, flower_key=tmp_path / "flower.key") as fleet,
            site.grid() as grid,
        ):
            run, node = grid.run.run_id, fleet._node.node_id
            TaskIdentity.node_id = grid.node.node_id
            grid.push_messages([request_to(node)])
            pull = fleet._client.PullMessages

            def stopped_meanwhile(request: Any) -> Any:
                answer = pull(request)
                site.control.stop_run(run)
                return answer

            fleet._client.PullMessages = stopped_meanwhile
            with pytest.raises(RequestGoneError, match="run has ended"):
                fleet.receive()
            fleet._client.PullMessages = pull
            assert fleet.receive() is None
