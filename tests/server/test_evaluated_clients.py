"""Evaluations on a sample of the clients."""

from __future__ import annotations

import numpy as np
import pytest

from fedcore.errors import PlanError
from fedcore.metrics import Metrics
from fedcore_server.evaluation.evaluated_clients import choose_evaluated, sampled
from fedcore_simulations import simulate
from tests.builders import TinyTask, build_plan
from tests.flower.driving import through_flower

NAMES = [f"client-{number}" for number in range(20)]


def plan_of(size, **sections):
    federation = {"clients": 8, "evaluate_clients": size, **sections.pop("federation", {})}
    return build_plan(federation=federation, task={"name": "tests.builders:TinyTask"}, **sections)


def drawn(size, *, round=1, last=False, **sections):
    return choose_evaluated(NAMES, plan_of(size, **sections), round=round, attempt=0, last=last)


def test_the_clients_are_drawn_anew_in_each_round_and_repeatably():
    assert len(drawn(5)) == 5
    assert drawn(5) == drawn(5)
    assert len({drawn(5, round=number) for number in range(1, 9)}) > 4


def test_all_evaluate_where_no_sample_is_asked_for_and_before_training():
    assert drawn(None) == drawn(5, round=0) == tuple(sorted(NAMES))


@pytest.mark.parametrize("audit", [{"sensitive": ["sex"]}, {"hooks": ["tests.builders:Remembered"]}])
def test_an_audit_is_made_of_all_clients(audit):
    assert drawn(5, last=True, audit=audit) == tuple(sorted(NAMES))
    assert len(drawn(5, audit=audit)) == len(drawn(5, last=True)) == 5


def population(generator, clients):
    """Clients of unequal size and unequal accuracy: sums and counts of correct rows."""
    sizes = generator.integers(5, 60, size=clients)
    rates = generator.beta(8, 4, size=clients)
    return [
        Metrics(sums={"accuracy": float(generator.binomial(size, rate))}, counts={"accuracy": float(size)})
        for size, rate in zip(sizes, rates, strict=True)
    ]


def test_the_interval_holds_the_metric_of_all_clients_as_often_as_it_says():
    """Of 1,000 draws at 95 %; 92 % is beyond 4 standard errors below, linearisation included."""
    generator = np.random.default_rng(0)
    clients = population(generator, 60)
    truth = sum(clients, start=Metrics()).means()["accuracy"]
    held = 0
    for _ in range(1000):
        reports = [clients[index] for index in generator.choice(60, 15, replace=False)]
        low, high = sampled(reports, of=60, confidence=0.95).intervals["accuracy"]
        held += low <= truth <= high
    assert held >= 920


def test_of_all_clients_nothing_is_left_open():
    clients = population(np.random.default_rng(0), 12)
    low, high = sampled(clients, of=12, confidence=0.95).intervals["accuracy"]
    assert low == high == pytest.approx(sum(clients, start=Metrics()).means()["accuracy"])


def test_one_client_gives_no_interval():
    assert sampled(population(np.random.default_rng(0), 1), of=12, confidence=0.95).intervals == {}


def test_a_run_says_on_how_many_clients_it_was_evaluated(tmp_path):
    result = simulate(TinyTask(), plan_of(3), out=tmp_path / "run")
    found = result.summary["evaluated_on"]
    assert (found["clients"], found["of"]) == (3, 8)
    assert found["intervals"]["loss"][0] < result.metrics["loss"] < found["intervals"]["loss"][1]
    assert [len(line["clients"]) for line in result.rounds] == [3, 3, 3]
    assert result.rounds[-1]["evaluated_on"] == found
    words = "was evaluated on 3 of 8 clients, drawn at random; for all of them with 95 % confidence"
    assert any(words in warning for warning in result.summary["warnings"])
    assert words in (tmp_path / "run/report.html").read_text(encoding="utf-8")


def test_the_model_does_not_depend_on_who_evaluates_it():
    every, some = simulate(TinyTask(), plan_of(None)), simulate(TinyTask(), plan_of(3))
    assert every.summary["model_sha256"] == some.summary["model_sha256"]
    assert every.summary["evaluated_on"] is None


def test_an_audited_model_is_that_of_all_clients():
    audit = {"sensitive": ["sex"], "vocabularies": {"sex": ["female", "male", "unknown"]}}
    every, some = (simulate(TinyTask(), plan_of(size, audit=audit)) for size in (None, 3))
    assert [line["evaluated_on"] and line["evaluated_on"]["clients"] for line in some.rounds] == [3, 3, None]
    assert some.metrics == every.metrics
    assert {**some.audit.to_json(), "plan_sha256": ""} == {**every.audit.to_json(), "plan_sha256": ""}


def test_a_deployment_asks_the_same_clients():
    simulated, (deployed, rounds) = simulate(TinyTask(), plan_of(3)), through_flower(plan_of(3))
    assert deployed.evaluation.metrics == simulated.metrics
    assert [line["evaluated_on"] for line in rounds] == [line["evaluated_on"] for line in simulated.rounds]


LIMIT = {"sensitive": ["sex"], "limits": [{"metric": "selection_rate", "at-most": 1.0}]}


@pytest.mark.parametrize(
    ("sections", "expected"),
    [
        ({"federation": {"evaluate_clients": 9}}, "expected at most clients = 8, found 9"),
        ({"federation": {"evaluate_clients": 0}}, r"federation\.evaluate-clients"),
        ({"federation": {"stop_when": "patience:2"}}, "stop-when would compare other clients in each round"),
        ({"audit": {**LIMIT, "checkpoint": "within-limits"}}, r"audit\.checkpoint judges each round on all clients"),
        (
            {"audit": {"sensitive": ["sex"]}, "federation": {"stop_when": "test_loss<=0.1"}},
            "an audit needs all clients in the last evaluation",
        ),
        ({"algorithm": {"name": "q-fedavg"}}, "it follows evaluations of all clients"),
    ],
)
def test_what_needs_every_client_in_every_round_is_refused(sections, expected):
    with pytest.raises(PlanError, match=expected):
        simulate(TinyTask(), plan_of(3, **sections))
