"""One plan, driven through Flower and through the simulator, ends in the same model."""

import io
import json

import numpy as np
import pytest
import torch
from flwr.app import Array, ArrayRecord, Context, RecordDict
from torch import nn

from fedcore.errors import RoundFailedError
from fedcore.plan import RunPlan
from fedcore_clients.flower_app import build_client_app
from fedcore_server.driver import Outcome
from fedcore_server.flower_app import build_server_app
from fedcore_simulations import simulate
from fedcore_simulations.preparation import prepare
from tests.builders import TinyTask, build_plan
from tests.flower.in_memory_grid import InMemoryGrid

PLANS = {
    "FedAvg with weights": {},
    "FedProx and server Adam": {
        "federation": {"server_optimizer": "adam", "server_learning_rate": 0.05},
        "training": {"proximal_mu": 0.1},
    },
    "a cohort of two and momentum at the clients": {
        "federation": {"cohort_size": 2, "server_momentum": 0.5, "averaging": 0.5},
        "training": {"optimizer_options": {"momentum": 0.9}},
    },
    "record-level privacy with test noise": {
        "privacy": {"unit": "record", "noise_multiplier": 0.5, "noise": "test", "steps_per_round": 3}
    },
}


def plan_of(name: str, precision: str = "float64") -> RunPlan:
    sections = {key: dict(value) for key, value in PLANS[name].items()}
    sections["training"] = {**sections.get("training", {}), "precision": precision}
    sections["federation"] = {"weighting": None, **sections.get("federation", {})}
    return build_plan(task={"name": "tests.builders:TinyTask"}, audit={"sensitive": ["sex"]}, **sections)


def through_flower(plan: RunPlan, tamper=None, *, allow_test_noise: bool = True) -> tuple[Outcome, list[dict]]:
    ready = prepare(TinyTask(), plan)
    clients = {client.name: client for client in ready.clients}
    app = build_client_app(
        TinyTask(),
        allow_test_noise=allow_test_noise,
        name=lambda context: context.node_config["name"],
        load=lambda context, _: clients[context.node_config["name"]],
    )
    outcomes, rounds = [], []
    server = build_server_app(
        TinyTask(),
        ready.plan,
        on_round=lambda record, _: rounds.append(record.to_json()),
        on_end=outcomes.append,
        hooks=ready.hooks,
        timeout_seconds=0.2,
    )
    grid = InMemoryGrid(app, clients, tamper=tamper)
    server(grid, Context(1, 1, {}, RecordDict(), {}))
    return outcomes[0], rounds


@pytest.mark.parametrize("name", PLANS)
def test_flower_and_the_simulator_end_in_the_same_parameters(name):
    simulated = simulate(TinyTask(), plan_of(name))
    deployed, rounds = through_flower(plan_of(name))

    ours = torch.cat([tensor.flatten() for tensor in simulated.model.state_dict().values()])
    assert torch.equal(ours, deployed.state.released.buffer)
    assert simulated.metrics == deployed.evaluation.metrics
    assert simulated.audit.to_json() == deployed.bias.to_json()
    for mine, theirs in zip(simulated.rounds, rounds, strict=True):
        assert {**mine, "wall_seconds": 0} == {**theirs, "wall_seconds": 0}


def test_a_client_that_fails_is_named_and_costs_the_round_nothing_else():
    def break_one(name, reply):
        if name == "client-1" and reply.has_content() and "arrays" in reply.content:
            del reply.content["fedcore"]
        return reply

    outcome, rounds = through_flower(plan_of("FedAvg with weights"), tamper=break_one)

    assert outcome.state.round == 3
    assert rounds[0]["counted"] == ["client-0", "client-2", "client-3"]
    assert [(r["client"], r["code"]) for r in rounds[0]["rejected"]] == [("client-1", "SCHEMA")]


def test_a_client_that_never_answers_is_rejected_as_late():
    def lose(name, reply):
        lost = name == "client-2" and reply.has_content() and "arrays" in reply.content
        return None if lost else reply

    _, rounds = through_flower(plan_of("FedAvg with weights"), tamper=lose)

    assert [(r["client"], r["code"]) for r in rounds[0]["rejected"]] == [("client-2", "LATE")]


def test_the_text_of_a_clients_exception_does_not_reach_the_journal():
    ready = prepare(TinyTask(), plan_of("FedAvg with weights"))
    clients = {client.name: client for client in ready.clients}

    def load(context, _):
        if context.node_config["name"] == "client-3":
            raise ValueError("patient 4711 has no blood pressure")
        return clients[context.node_config["name"]]

    rounds = []
    server = build_server_app(
        TinyTask(), ready.plan, on_round=lambda record, _: rounds.append(record.to_json()), on_end=lambda _: None
    )
    app = build_client_app(TinyTask(), name=lambda context: context.node_config["name"], load=load)
    server(InMemoryGrid(app, clients), Context(1, 1, {}, RecordDict(), {}))

    assert {(r["client"], r["code"]) for r in rounds[0]["rejected"]} == {("client-3", "ERROR")}
    assert "4711" not in str(rounds)


def forged(data: bytes = b"", **changes) -> Array:
    values = {"dtype": "float64", "shape": (58,), "stype": "numpy.ndarray", "data": data} | changes
    return Array(**values)


def npz() -> bytes:
    with io.BytesIO() as file:
        np.savez(file, np.zeros(58))
        return file.getvalue()


def pickled() -> bytes:
    with io.BytesIO() as file:
        np.save(file, np.array([{"a": 1}] * 58, dtype=object), allow_pickle=True)
        return file.getvalue()


@pytest.mark.parametrize(
    "array",
    [
        forged(),
        forged(b"garbage"),
        forged(Array(np.zeros(58)).data, stype="torch.tensor"),
        forged(npz()),
        forged(b"PK\x03\x04 no zip"),
        forged(pickled()),
        forged(Array(np.zeros((2, 29))).data),
        forged(Array(np.zeros(58, dtype=np.float32)).data),
        forged(b"\x93NUMPY\x01\x00v\x00{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000,), }"),
        forged(Array(np.zeros(58)).data + bytes(5000)),
    ],
)
def test_a_forged_array_costs_its_sender_and_nobody_else(array):
    def replace(name, reply):
        if name == "client-0" and reply.has_content() and "arrays" in reply.content:
            reply.content["arrays"] = ArrayRecord({"parameters": array})
        return reply

    outcome, rounds = through_flower(plan_of("FedAvg with weights"), tamper=replace)

    assert outcome.state.round == 3
    assert [(r["client"], r["code"]) for r in rounds[0]["rejected"]] == [("client-0", "SCHEMA")]


def test_report_counts_beyond_belief_are_rejected_and_do_not_overflow():
    def inflate(name, reply):
        if reply.has_content() and "tables" in reply.content.get("fedcore", {}):
            header = reply.content["fedcore"]
            tables = json.loads(header["tables"])
            tables["sex"]["counts"][0][0][0] = 2**62
            header["tables"] = json.dumps(tables)
        return reply

    outcome, _ = through_flower(plan_of("FedAvg with weights"), tamper=inflate)

    assert {rejection.code for rejection in outcome.evaluation.rejected} == {"TABLE"}
    assert len(outcome.evaluation.rejected) == 4


def test_a_table_of_another_attribute_costs_that_report_only():
    def rename(name, reply):
        if name == "client-1" and reply.has_content() and "tables" in reply.content.get("fedcore", {}):
            header = reply.content["fedcore"]
            header["tables"] = str(header["tables"]).replace('"attribute": "sex"', '"attribute": "race"')
        return reply

    outcome, _ = through_flower(plan_of("FedAvg with weights"), tamper=rename)

    assert [(rejection.client, rejection.code) for rejection in outcome.evaluation.rejected] == [("client-1", "TABLE")]
    assert outcome.bias.verdict == "INCONCLUSIVE"
    assert "lacks the rows of client-1" in str(outcome.bias.to_json()["decisions"])


def test_a_client_refuses_noise_from_a_seed_that_the_server_knows():
    with pytest.raises(RoundFailedError, match="0 valid updates"):
        through_flower(plan_of("record-level privacy with test noise"), allow_test_noise=False)


def test_a_client_imports_nothing_because_a_message_names_it(monkeypatch):
    plan = plan_of("FedAvg with weights").updated(federation={"transforms": ["tests.test_transforms:tight"]})
    monkeypatch.setattr("fedcore_server.flower_app.load_transforms", lambda _: ())
    with pytest.raises(RoundFailedError, match="0 valid updates"):
        through_flower(plan)


def test_a_client_checks_by_itself_that_its_model_can_be_private(monkeypatch):
    monkeypatch.setattr(
        TinyTask, "build_model", lambda _: nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.Linear(5, 2))
    )
    monkeypatch.setattr("fedcore_simulations.preparation.probe_isolation", lambda *_: None)
    with pytest.raises(RoundFailedError, match="0 valid updates"):
        through_flower(plan_of("record-level privacy with test noise"))


@pytest.mark.parametrize(
    ("array", "code"),
    [
        (np.zeros(3), "SCHEMA"),
        (np.zeros(58, dtype=np.float16), "SCHEMA"),
        (np.zeros(58, dtype=np.float32), "LAYOUT"),
        (np.full(58, np.nan), "NONFINITE"),
        (np.full(58, np.inf), "NONFINITE"),
    ],
)
def test_a_malformed_array_is_rejected_with_its_code(array, code):
    def replace(name, reply):
        if name == "client-0" and reply.has_content() and "arrays" in reply.content:
            reply.content["arrays"] = ArrayRecord({"parameters": Array(array)})
        return reply

    _, rounds = through_flower(plan_of("FedAvg with weights"), tamper=replace)

    assert [(r["client"], r["code"]) for r in rounds[0]["rejected"]] == [("client-0", code)]
