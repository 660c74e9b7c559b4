"""A run that ends before its last round, by its evaluations."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from fedcore.errors import PlanError
from fedcore.plan.stop_rule import StopRule
from fedcore.privacy.accounting import epsilon_of
from fedcore.privacy.promise import promise_of
from fedcore_server.evaluation.evaluation import audit_settings
from fedcore_server.evaluation.stopping import judged
from fedcore_server.rounds.rounds import done
from fedcore_server.rounds.state import Rejection, ServerState
from fedcore_simulations import simulate
from fedcore_simulations.runner import resume
from tests.algorithms.test_learning import evaluation, table
from tests.builders import Stopping, TinyTask, build_parameters, build_plan
from tests.clients.policy import builders as policies
from tests.flower.driving import through_flower
from tests.server.states import states_of

EVEN = table([[90, 0, 0, 10], [10, 0, 0, 90]], [[90, 0, 0, 10], [10, 0, 0, 90]])
NOISY = {
    "unit": "record",
    "noise_multiplier": 1.0,
    "noise": "test",
    "sampling_rate": 1.0,
    "evaluation_noise_multiplier": 1.0,
}


def plan_of(rule, *, build=build_plan, **sections):
    federation = {"rounds": 6, "stop_when": rule, **sections.pop("federation", {})}
    return build(federation=federation, task={"name": "tests.builders:TinyTask"}, **sections)


def ended_after(rule, losses):
    """The number of evaluations after which the run ends; None if it does not."""
    state, plan = ServerState(round=0, parameters=build_parameters(0.0)), plan_of(rule, federation={"rounds": 99})
    for number, loss in enumerate(losses, start=1):
        measured = replace(evaluation([EVEN]), metrics={"loss": loss, "accuracy": 1 - loss})
        state = judged(plan, replace(state, round=number), measured)
        if done(state, plan):
            return number
    return None


@pytest.mark.parametrize(
    ("rule", "losses", "expected"),
    [
        ("accuracy>=0.8", [0.5, 0.3, 0.2, 0.1], 3),
        (" accuracy >= 0.8 ", [0.5, 0.2], 2),
        ("loss<=0.3", [0.5, 0.3], 2),
        ("loss<=0.3", [0.5, math.nan, 0.4], None),
        ("patience:2", [0.5, 0.4, 0.4, 0.45, 0.1], 4),
        ("patience:2", [0.5, 0.6, 0.4, 0.5, 0.39, 0.4, 0.4], 7),
        ("patience:2", [0.5, math.nan, math.inf, 0.1], 3),
        ("patience:1", [0.5, 0.4, 0.3], None),
    ],
)
def test_a_run_ends_with_the_evaluation_that_meets_the_rule(rule, losses, expected):
    assert ended_after(rule, losses) == expected


def test_an_evaluation_that_lacks_the_rows_of_a_client_is_not_judged():
    plan, state = plan_of("accuracy>=0.8"), ServerState(round=1, parameters=build_parameters(0.0))
    lacking = replace(
        evaluation([EVEN]),
        metrics={"accuracy": 1.0},
        rejected=(Rejection(client="b", code="LATE", reason="no reply"),),
    )
    assert judged(plan, state, lacking) == state


def test_a_simulation_ends_with_the_model_of_that_round_and_says_why():
    full = simulate(TinyTask(), plan_of(None))
    bound = full.rounds[2]["evaluation"]["loss"]
    stopped = simulate(TinyTask(), plan_of(f"loss<={bound}"))
    shorter = simulate(TinyTask(), plan_of(None, federation={"rounds": 3}))
    assert stopped.summary["model_sha256"] == shorter.summary["model_sha256"]
    assert stopped.summary["rounds"] == 3
    assert stopped.summary["stopped"] == stopped.rounds[-1]["stop"]
    assert stopped.summary["stopped"].startswith(f"loss {bound:.4g} is at most")
    assert any("the run stopped after round 3 of 6" in words for words in stopped.summary["warnings"])
    assert full.summary["stopped"] is None
    assert [line["stop"] for line in stopped.rounds[:-1]] == [None, None]


def test_a_rule_that_is_not_met_is_reported():
    warnings = simulate(TinyTask(), plan_of("loss<=0")).summary["warnings"]
    assert "federation.stop-when (loss<=0) was not met in 6 rounds" in warnings


def test_a_deployment_ends_at_the_same_round():
    plan = plan_of("patience:1", training={"learning_rate": 3.0})
    simulated, (deployed, rounds) = simulate(TinyTask(), plan), through_flower(plan)
    assert len(rounds) == simulated.summary["rounds"] < 6
    assert rounds[-1]["stop"] == simulated.summary["stopped"]
    ours = torch.cat([tensor.flatten() for tensor in simulated.model.state_dict().values()])
    assert torch.equal(ours, deployed.state.released.buffer)


def test_the_rule_remembers_over_a_resumed_run(tmp_path):
    plan = plan_of("patience:1", training={"learning_rate": 3.0})
    expected = simulate(None, plan, out=tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        simulate(None, plan, out=tmp_path / "run", listeners=[Stopping()])
    assert resume(tmp_path / "run").summary["stopped"] == expected.summary["stopped"]


def test_the_statement_charges_the_rounds_that_were_planned():
    """A run that its results end is a function of the whole one; the shorter ε does not hold at the same δ."""
    result = simulate(TinyTask(), plan_of("loss<=99", privacy=NOISY))
    privacy = promise_of(result.plan)
    whole, alone = (epsilon_of(privacy.event(n), privacy.delta, privacy.relation) for n in (6, 1))
    assert result.summary["rounds"] == result.privacy["participations"] == 1
    assert result.summary["epsilon"] == pytest.approx(whole)
    assert any("of all 6 planned rounds" in w and f"ε = {alone:.2f}" in w for w in result.privacy["known_deviations"])
    full = simulate(TinyTask(), plan_of("loss<=-99", privacy=NOISY))
    assert result.privacy["evaluation"]["epsilon"] == full.privacy["evaluation"]["epsilon"]
    assert full.summary["epsilon"] == result.summary["epsilon"]


def test_a_run_never_asks_for_more_evaluations_than_it_reserved():
    limits = {"sensitive": ["sex"], "limits": [{"metric": "selection_rate", "at-most": 1.0}]}
    plan = plan_of("loss<=99", audit={**limits, "checkpoint": "within-limits"})
    assert states_of(TinyTask(), plan)[-1].evaluated <= 2


def test_intervals_hold_over_all_rounds_that_the_rule_may_look_at():
    settings = audit_settings(plan_of("patience:2", audit={"sensitive": ["sex"]}))
    assert (settings.looks, settings.confidence) == (6, pytest.approx(1 - 0.05 / 6))


def test_a_client_lets_the_chosen_model_be_evaluated_again_in_a_run_that_may_end_early():
    audit = {
        "sensitive": ["stroke"],
        "vocabularies": {"stroke": ["light", "medium", "heavy", "unknown"]},
        "limits": [{"metric": "selection_rate", "at-most": 0.5}],
        "checkpoint": "within-limits",
    }
    plan = policies.build_plan(
        audit=audit, federation={"stop-when": "patience:2"}, privacy={"evaluation-noise-multiplier": 2.0}
    )
    policies.check(policies.build_request(plan, kind="evaluate", round=4, attempt=1))


@pytest.mark.parametrize(
    "text", ["accuracy", "accuracy>0.9", "accuracy>=high", "accuracy>=nan", ">=1", "patience", "patience:x", ""]
)
def test_a_rule_of_another_form_is_refused(text):
    with pytest.raises(PlanError, match=r"federation\.stop-when: expected METRIC>=NUMBER"):
        plan_of(text)


def test_no_patience_is_refused():
    with pytest.raises(ValueError, match="1 evaluation or more"):
        StopRule.parse("patience:0")


def test_a_metric_that_the_task_does_not_have_is_refused_with_the_nearest():
    with pytest.raises(PlanError, match=r"unknown metric of task 'tiny': 'acuracy'; did you mean 'accuracy'\?"):
        simulate(TinyTask(), plan_of("acuracy>=0.9"))


@pytest.mark.parametrize(
    ("privacy", "advice"),
    [
        ({"unit": "record", "noise_multiplier": 1.0}, r"set privacy\.evaluation-noise-multiplier"),
        ({"unit": "client", "noise_multiplier": 1.0}, "; name a metric of task.test-data"),
    ],
)
def test_exact_evaluations_may_not_end_a_private_run(privacy, advice):
    with pytest.raises(PlanError, match=advice):
        plan_of("accuracy>=0.9", privacy=privacy)
