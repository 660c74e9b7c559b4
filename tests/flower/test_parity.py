"""One plan, driven through Flower and through the simulator, ends in the same model."""

import io
import json
import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch
from flwr.app import Array, ArrayRecord, Context, RecordDict
from torch import nn

from fedcore.errors import RoundFailedError
from fedcore.events import EventLog
from fedcore.plan import RunPlan
from fedcore_clients.flower_app import build_client_app
from fedcore_server.driver import Outcome
from fedcore_server.flower_app import build_server_app
from fedcore_simulations import simulate
from fedcore_simulations.preparation import prepare
from tests.builders import TinyTask, build_plan
from tests.flower.in_memory_grid import Consortium, InMemoryGrid

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


def through_flower(plan: RunPlan, *, allow_test_noise: bool = True, load=None, **grid) -> tuple[Outcome, list[dict]]:
    ready = prepare(TinyTask(), plan)
    clients = {client.name: client for client in ready.clients}
    app = build_client_app(
        TinyTask(),
        allow_test_noise=allow_test_noise,
        name=lambda context: context.node_config["name"],
        load=load or (lambda context, _: clients[context.node_config["name"]]),
    )
    consortium = Consortium.of(clients)
    outcomes, rounds = [], []
    with tempfile.TemporaryDirectory() as directory:
        server = build_server_app(
            TinyTask(),
            ready.plan,
            consortium.letters(EventLog(Path(directory) / "events.jsonl")),
            on_round=lambda record, _: rounds.append(record.to_json()),
            on_end=outcomes.append,
            hooks=ready.hooks,
        )
        server(InMemoryGrid(app, consortium, **grid), Context(1, 1, {}, RecordDict(), {}))
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
        if name == "client-1" and "arrays" in reply:
            del reply["fedcore"]
        return reply

    outcome, rounds = through_flower(plan_of("FedAvg with weights"), tamper=break_one)

    assert outcome.state.round == 3
    assert rounds[0]["counted"] == ["client-0", "client-2", "client-3"]
    assert [(r["client"], r["code"]) for r in rounds[0]["rejected"]] == [("client-1", "SCHEMA")]


def test_a_client_that_never_answers_is_rejected_as_late():
    def lose(name, reply):
        lost = name == "client-2" and "arrays" in reply
        return None if lost else reply

    _, rounds = through_flower(plan_of("FedAvg with weights"), tamper=lose)

    assert [(r["client"], r["code"]) for r in rounds[0]["rejected"]] == [("client-2", "LATE")]


def test_the_text_of_a_clients_exception_does_not_reach_the_journal():
    def load(context, _):
        raise ValueError("patient 4711 has no blood pressure")

    with pytest.raises(RoundFailedError) as caught:
        through_flower(plan_of("FedAvg with weights"), load=load)
    assert "4711" not in str(caught.value)


def forged(data: bytes = b"", **changes) -> Array:
    return Array(**({"dtype": "float64", "shape": (58,), "stype": "fedcore.raw", "data": data} | changes))


def pickled() -> bytes:
    with io.BytesIO() as file:
        np.save(file, np.array([{"a": 1}] * 58, dtype=object), allow_pickle=True)
        return file.getvalue()


@pytest.mark.parametrize(
    "array",
    [
        forged(),
        forged(b"garbage"),
        forged(bytes(58 * 8), stype="numpy.ndarray"),
        forged(bytes(58 * 8), stype="torch.tensor"),
        forged(pickled(), stype="numpy.ndarray"),
        forged(bytes(58 * 8), dtype="object"),
        forged(bytes(58 * 8), dtype="complex128"),
        forged(bytes(58 * 2), dtype="float16"),
        forged(bytes(58), dtype="int8"),
        forged(bytes(58 * 4), dtype="float32"),
        forged(bytes(58 * 8), shape=(2, 29)),
        forged(bytes(8), shape=(1,)),
        forged(bytes(57 * 8), shape=(57,)),
        forged(bytes(58 * 8), shape=(10**12,)),
        forged(bytes(58 * 8 + 8)),
        forged(bytes(58 * 8 - 8)),
    ],
)
def test_a_forged_array_costs_its_sender_and_nobody_else(array):
    def replace(name, reply):
        if name == "client-0" and "arrays" in reply:
            reply["arrays"] = ArrayRecord({"parameters": array})
        return reply

    outcome, rounds = through_flower(plan_of("FedAvg with weights"), tamper=replace)

    assert outcome.state.round == 3
    assert [(r["client"], r["code"]) for r in rounds[0]["rejected"]] == [("client-0", "SCHEMA")]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_numbers_that_are_not_finite_are_rejected(value):
    def replace(name, reply):
        if name == "client-0" and "arrays" in reply:
            reply["arrays"] = ArrayRecord({"parameters": forged(np.full(58, value).tobytes())})
        return reply

    _, rounds = through_flower(plan_of("FedAvg with weights"), tamper=replace)

    assert [(r["client"], r["code"]) for r in rounds[0]["rejected"]] == [("client-0", "NONFINITE")]


def test_report_counts_beyond_belief_are_rejected_and_do_not_overflow():
    def inflate(name, reply):
        if "tables" in reply.get("fedcore", {}):
            header = reply["fedcore"]
            tables = json.loads(header["tables"])
            tables["sex"]["counts"][0][0][0] = 2**62
            header["tables"] = json.dumps(tables)
        return reply

    outcome, _ = through_flower(plan_of("FedAvg with weights"), tamper=inflate)

    assert {rejection.code for rejection in outcome.evaluation.rejected} == {"TABLE"}
    assert len(outcome.evaluation.rejected) == 4


def test_a_table_of_another_attribute_costs_that_report_only():
    def rename(name, reply):
        if name == "client-1" and "tables" in reply.get("fedcore", {}):
            header = reply["fedcore"]
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
