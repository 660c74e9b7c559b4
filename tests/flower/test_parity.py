"""One plan, driven through Flower and through the simulator, ends in the same model."""

import json

import pytest
import torch
from torch import nn

from fedcore.errors import RoundFailedError
from fedcore_simulations import simulate
from tests.builders import TinyTask
from tests.flower.driving import PLANS, plan_of, through_flower


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


def test_a_client_checks_by_itself_that_its_model_can_be_private(monkeypatch):
    monkeypatch.setattr(
        TinyTask, "build_model", lambda _: nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.Linear(5, 2))
    )
    monkeypatch.setattr("fedcore_simulations.preparation.probe_isolation", lambda *_: None)
    monkeypatch.setattr("fedcore_simulations.preparation.refuse", lambda _: None)
    with pytest.raises(RoundFailedError, match="0 valid updates"):
        through_flower(plan_of("record-level privacy with test noise"))
