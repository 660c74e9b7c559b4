"""The two pure functions of a round, against loops of five lines."""

from dataclasses import replace

import pytest
import torch

from fedcore.aggregation.mean import Mean, Uniform
from fedcore.aggregation.trimmed_mean import TrimmedMean
from fedcore.messages import ClientUpdate, LedgerReceipt
from fedcore.metrics import Metrics
from fedcore.privacy.plan import PrivacyPlan
from fedcore_server.rounds.rounds import close_round, done, init_state, plan_round
from fedcore_server.rounds.state import Rejection, ServerState
from tests.builders import (
    TinyTask,
    build_parameters,
    build_plan,
    build_privacy,
    build_private_plan,
    build_request,
    build_update,
    combined,
)

CLIENTS = ("a", "b", "c")


def metric(name, total):
    return Metrics(sums={name: total}, counts={name: 1.0})


def state_of(*values, **rest):
    return ServerState(round=rest.pop("round", 0), parameters=build_parameters(*values), **rest)


def close(plan, updates, *, state=None):
    state = state or state_of(1.0, 2.0, 3.0)
    request = build_request(state.parameters, cohort=CLIENTS, round=state.round + 1)
    return close_round(state, plan, request, iter(updates))


def test_fedavg_is_the_mean_weighted_by_examples():
    """McMahan et al. 2017, algorithm 1, on whole models."""
    generator = torch.Generator().manual_seed(0)
    start = torch.randn(3, generator=generator)
    models, sizes = torch.randn(3, 3, generator=generator), [10, 1, 5]

    expected = torch.zeros(3)
    for model, size in zip(models, sizes, strict=True):
        expected += size / sum(sizes) * model

    updates = [
        build_update(name, *(model - start).tolist(), num_examples=size)
        for name, model, size in zip(CLIENTS, models, sizes, strict=True)
    ]
    state, report = close(build_plan(), updates, state=state_of(*start.tolist()))
    assert torch.allclose(state.parameters.buffer, expected, atol=1e-6)
    assert report.counted == CLIENTS
    assert state.round == 1


def test_uniform_weights_count_every_client_alike():
    plan = build_plan(aggregation={"rule": "uniform"})
    updates = [build_update("a", 3.0, 0.0, 0.0, num_examples=100), build_update("b", 0.0, 3.0, 0.0)]
    state, _ = close(plan, updates)
    assert state.parameters.buffer.tolist() == [2.5, 3.5, 3.0]


def test_updates_are_taken_one_at_a_time():
    alive = []

    def stream():
        for name in CLIENTS:
            alive.append(name)
            yield build_update(name, 1.0, 1.0, 1.0)
            assert alive == [name], "an update was asked for before the one before was dropped"
            alive.clear()

    _, report = close(build_plan(), stream())
    assert report.counted == CLIENTS


def test_closing_a_round_changes_neither_state_nor_request():
    state = state_of(1.0, 2.0, 3.0)
    before = state.parameters.buffer.clone()
    plan = build_plan(federation={"server_optimizer": {"name": "sgd", "momentum": 0.9}, "averaging": 0.5})
    close(plan, [build_update("a", 1, 1, 1)], state=state)
    assert torch.equal(state.parameters.buffer, before)


@pytest.mark.parametrize(
    ("update", "code"),
    [
        (build_update("a", float("nan"), 0, 0), "NONFINITE"),
        (build_update("a", float("inf"), 0, 0), "NONFINITE"),
        (build_update("a", 1, 1), "LAYOUT"),
        (build_update("a", 1, 1, 1, num_examples=-60), "WEIGHT"),
        (build_update("a", 1e10, 1, 1), "NORM"),
        (build_update("a", 1, 1, 1, num_examples=None), "WEIGHT"),
        (replace(build_update("a", 1, 1, 1), privacy_event=build_privacy().event(1)), "PRIVACY"),
        (replace(build_update("a", 1, 1, 1), metrics=metric("loss", 1e308)), "METRICS"),
        (replace(build_update("a", 1, 1, 1), metrics=metric("<b>", 1.0)), "METRICS"),
        (replace(build_update("a", 1, 1, 1), metrics=metric("loss", float("nan"))), "METRICS"),
        (build_update("stranger", 1, 1, 1), "NOT_EXPECTED"),
        (build_update("a", 1, 1, 1, round=7), "NOT_EXPECTED"),
        (Rejection(client="a", code="LATE", reason=""), "LATE"),
    ],
)
def test_a_bad_reply_costs_that_reply_and_nothing_else(update, code):
    good = [build_update("b", 1, 0, 0), build_update("c", 3, 0, 0)]
    state, report = close(build_plan(), [update, *good])
    alone, _ = close(build_plan(), good)
    assert [rejection.code for rejection in report.rejected] == [code]
    assert torch.equal(state.parameters.buffer, alone.parameters.buffer)


def test_a_client_weighs_by_its_examples_up_to_the_plans_cap():
    plan = build_plan(federation={"max_examples": 100})
    claimed = [build_update("a", 3, 0, 0, num_examples=10**18), build_update("b", 0, 3, 0, num_examples=50)]
    state, report = close(plan, claimed, state=state_of(0.0, 0.0, 0.0))
    assert torch.allclose(state.parameters.buffer, torch.tensor([2.0, 1.0, 0.0]))
    assert report.num_examples == {"a": 100, "b": 50}


def test_an_update_made_with_less_noise_than_the_plans_is_rejected():
    plan = build_private_plan()
    honest = build_privacy(steps_per_round=2).event(1)
    updates = [
        replace(build_update("a", 1, 1, 1), privacy_event=honest),
        replace(build_update("b", 1, 1, 1), privacy_event=replace(honest, noise_multiplier=0.5)),
        build_update("c", 1, 1, 1),
    ]
    _, report = close(plan, updates)
    assert report.counted == ("a",)
    assert [rejection.code for rejection in report.rejected] == ["PRIVACY", "PRIVACY"]


def test_failed_attempts_are_counted_for_what_privacy_is_charged():
    plan = build_plan(federation={"quorum": 2})
    state, _ = close(plan, [build_update("a", 1, 1, 1)])
    state, _ = close(plan, [build_update("a", 1, 1, 1)], state=state)
    assert (state.round, state.attempt, state.asked) == (0, 2, 2)
    state, _ = close(plan, [build_update("a", 1, 1, 1), build_update("b", 1, 1, 1)], state=state)
    assert (state.round, state.attempt, state.asked) == (1, 0, 3)


def test_an_attempt_is_charged_unless_every_client_asked_is_known_not_to_have_opened_its_data():
    plan = build_plan(federation={"quorum": 3})
    unread = [Rejection(client=name, code="REFUSED", reason="", read_data=False) for name in CLIENTS]
    assert close(plan, unread)[0].asked == 0
    assert close(plan, unread[:2])[0].asked == 1  # nothing was heard of the third
    assert close(plan, [*unread[:2], Rejection(client="c", code="LATE", reason="")])[0].asked == 1
    assert close(plan, [*unread, build_update("a", 1, 1, 1)])[0].asked == 1


def test_a_client_counts_once_and_its_second_reply_is_rejected():
    _, report = close(build_plan(), [build_update("a", 1, 1, 1), build_update("a", 9, 9, 9)])
    assert report.counted == ("a",)
    assert [rejection.code for rejection in report.rejected] == ["DUPLICATE"]


def test_without_a_quorum_the_model_stays_and_the_attempt_is_counted():
    plan = build_plan(federation={"quorum": 2})
    state, report = close(plan, [build_update("a", 1, 1, 1)])
    assert not report.committed
    assert (state.round, state.attempt) == (0, 1)
    assert state.parameters.buffer.tolist() == [1.0, 2.0, 3.0]


@pytest.mark.parametrize(
    "federation",
    [
        {"quorum": 2},
        {"quorum": 2, "cohort_size": 3, "cohort_sampling": "poisson"},
        {"quorum": 1, "cohort_size": 3, "cohort_sampling": "poisson"},
    ],
)
@pytest.mark.parametrize("privacy", [{}, {"unit": "client", "noise_multiplier": 1.0, "noise": "test"}])
def test_a_round_for_which_too_few_clients_are_there_asks_nobody_fails_and_is_not_charged(federation, privacy):
    plan = build_plan(federation={**federation}, aggregation={"rule": "uniform"}, privacy=privacy)
    few = CLIENTS[: federation["quorum"] - 1]
    state = state_of(1.0, 2.0, 3.0)
    request = plan_round(state, plan, few)
    assert request.cohort == ()
    after, report = close_round(state, plan, request, iter(()))
    assert not report.committed
    assert (after.round, after.attempt, after.asked) == (0, 1, 0)
    assert after.parameters is state.parameters


def test_where_the_cohort_is_a_secret_no_client_at_all_still_fails_the_round():
    plan = build_plan(
        federation={"cohort_size": 2, "cohort_sampling": "poisson"},
        aggregation={"rule": "uniform"},
        privacy={"unit": "client", "noise_multiplier": 1.0, "noise": "test", "participation": "secret"},
    )
    state = state_of(1.0, 2.0, 3.0)
    _, report = close_round(state, plan, plan_round(state, plan, ()), iter(()))
    assert not report.committed


def test_an_empty_poisson_cohort_is_a_round_that_is_noised_and_charged():
    plan = build_plan(
        federation={"clients": 3, "cohort_size": 1, "cohort_sampling": "poisson"},
        aggregation={"rule": "uniform"},
        privacy={"unit": "client", "noise_multiplier": 1.0, "noise": "test"},
    )
    states = (state_of(1.0, 2.0, 3.0, round=number) for number in range(100))
    state, request = next((s, r) for s in states if not (r := plan_round(s, plan, CLIENTS)).cohort)
    after, report = close_round(state, plan, request, iter(()))
    assert report.committed
    assert (after.round, after.asked) == (state.round + 1, 1)
    assert not torch.equal(after.parameters.buffer, state.parameters.buffer)


def test_another_attempt_asks_another_cohort_with_the_same_model():
    plan = build_plan(federation={"clients": 20, "cohort_size": 5})
    names = [f"client-{n:02d}" for n in range(20)]
    first = plan_round(state_of(1.0), plan, names)
    second = plan_round(state_of(1.0, attempt=1), plan, names)
    assert first.cohort != second.cohort
    assert first.cohort == plan_round(state_of(1.0), plan, names[::-1]).cohort
    assert len(first.cohort) == 5


def test_a_poisson_cohort_has_the_expected_size_and_may_be_any():
    """4,000 clients at rate 1/4: six standard deviations, false-alarm rate 2e-9 a round."""
    plan = build_plan(federation={"clients": 4000, "cohort_size": 1000, "cohort_sampling": "poisson"})
    names = [f"client-{n:04d}" for n in range(4000)]
    sizes = {len(plan_round(state_of(1.0, round=r), plan, names).cohort) for r in range(10)}
    assert len(sizes) > 1
    assert all(abs(size - 1000) < 6 * (4000 * 0.25 * 0.75) ** 0.5 for size in sizes)


def test_an_empty_poisson_cohort_is_a_round_without_a_step():
    plan = build_plan(federation={"clients": 3, "cohort_size": 1, "cohort_sampling": "poisson"})
    state = state_of(1.0, 2.0)
    new, report = close_round(state, plan, build_request(state.parameters, cohort=()), iter(()))
    assert report.committed
    assert new.round == 1
    assert torch.equal(new.parameters.buffer, state.parameters.buffer)


TORCH = {
    "sgd": (lambda p: torch.optim.SGD(p, lr=0.5, momentum=0.9), {"server_optimizer": {"name": "sgd", "momentum": 0.9}}),
    "sgd without momentum": (lambda p: torch.optim.SGD(p, lr=0.5), {}),
}


@pytest.mark.parametrize("name", TORCH)
def test_server_sgd_is_torchs_on_the_negative_mean_update(name):
    make, settings = TORCH[name]
    plan = build_plan(federation={"rounds": 5, "server_learning_rate": 0.5, **settings})
    weights = torch.nn.Parameter(torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64))
    optimizer, state = make([weights]), ServerState(round=0, parameters=build_parameters(1, 2, 3, dtype=torch.float64))
    for round_ in range(1, 6):
        mean = torch.randn(3, generator=torch.Generator().manual_seed(round_), dtype=torch.float64)
        weights.grad = -mean
        optimizer.step()
        update = ClientUpdate(client="a", round=round_, num_examples=1, values={"update": mean})
        state, _ = close(plan, [update], state=state)
    assert torch.allclose(state.parameters.buffer, weights.detach(), atol=1e-12)


def paper_step(name, delta, m, v, *, betas=(0.9, 0.99), tau=1e-3):
    """Reddi et al. 2021, algorithm 2, one coordinate at a time."""
    m = delta if name == "adagrad" else betas[0] * m + (1 - betas[0]) * delta
    if name == "adagrad":
        v = v + delta**2
    elif name == "yogi":
        sign = (v > delta**2) - (v < delta**2)
        v = v - (1 - betas[1]) * delta**2 * sign
    else:
        v = betas[1] * v + (1 - betas[1]) * delta**2
    return m / (v**0.5 + tau), m, v


@pytest.mark.parametrize("name", ["adam", "yogi", "adagrad"])
def test_adaptive_server_optimizers_follow_the_paper(name):
    plan = build_plan(federation={"rounds": 4, "server_optimizer": name, "server_learning_rate": 0.1})
    state = ServerState(round=0, parameters=build_parameters(1.0, -2.0, dtype=torch.float64))
    expected, moments = [1.0, -2.0], [(0.0, 1e-6)] * 2
    for round_ in range(1, 5):
        mean = torch.randn(2, generator=torch.Generator().manual_seed(round_), dtype=torch.float64)
        for index in range(2):
            step, *moments[index] = paper_step(name, float(mean[index]), *moments[index])
            expected[index] += 0.1 * step
        update = ClientUpdate(client="a", round=round_, num_examples=1, values={"update": mean})
        state, _ = close(plan, [update], state=state)
    assert state.parameters.buffer.tolist() == pytest.approx(expected, abs=1e-12)


def test_the_average_over_rounds_is_what_is_released_and_training_goes_on_from_the_last():
    plan = build_plan(federation={"rounds": 9, "averaging": 0.5})
    state = state_of(0.0)
    average = None
    for round_ in range(1, 6):
        update = build_update("a", float(round_), round=round_)
        state, _ = close(plan, [update], state=state)
        newest = float(state.parameters.buffer)
        kept = min(0.5, round_ / (9 + round_))
        average = newest if average is None else kept * average + (1 - kept) * newest
    assert float(state.released.buffer) == pytest.approx(average)
    assert float(state.parameters.buffer) == 15.0


def test_a_rule_has_a_bounded_sensitivity_or_none():
    assert Uniform().sensitivity(2.0) == 2.0
    assert Mean().sensitivity(2.0) is None


@pytest.mark.parametrize("rule", [Uniform(), Mean(), TrimmedMean(0.2)])
def test_a_combination_does_not_depend_on_the_order_of_updates(rule):
    updates = [build_update(n, i, -i, 2.0 * i, num_examples=i + 1) for i, n in enumerate("abcdef")]
    assert torch.allclose(combined(rule, updates), combined(rule, updates[::-1]), atol=1e-14)


def test_a_run_is_done_after_its_last_round():
    plan = build_plan(federation={"rounds": 2})
    assert not done(state_of(1.0, round=1), plan)
    assert done(state_of(1.0, round=2), plan)


def test_the_first_model_is_made_from_the_plans_seed():
    one, two, other = (
        init_state(TinyTask(), build_plan(federation={"seed": seed})).parameters.buffer for seed in (3, 3, 4)
    )
    assert torch.equal(one, two)
    assert not torch.equal(one, other)


@pytest.mark.parametrize(("unit", "told"), [("record", True), ("client", False)])
def test_receipts_of_counted_clients_are_reported_where_clients_keep_the_account(unit, told):
    plan = build_private_plan(privacy={"unit": unit})
    event = PrivacyPlan.from_run_plan(plan).event(1) if unit == "record" else None
    receipt = LedgerReceipt(entry=7, digest="ab" * 32)
    updates = [
        replace(build_update(name, 1.0, 0.0, 0.0), receipt=receipt if name != "b" else None, privacy_event=event)
        for name in CLIENTS
    ]
    _, report = close(plan, [*updates, replace(updates[0], receipt=LedgerReceipt(entry=8, digest="cd" * 32))])
    assert report.counted == CLIENTS
    assert dict(report.receipts) == ({"a": receipt, "c": receipt} if told else {})
