"""Synchronous rounds in simulated time: who counts, how long it takes, and what is refused."""

import pytest
import torch

from fedcore.errors import RoundFailedError
from fedcore_simulations import runner, simulate
from fedcore_simulations.engines import loop
from fedcore_simulations.virtual_time.devices import Answer
from fedcore_simulations.virtual_time.rounds import closed
from tests.builders import TinyTask
from tests.virtual_time.builders import UNEQUAL, flat, kind, kinds, linear, timed_plan


def answers(*seconds):
    """An answer after each number of seconds; none where that is None."""
    given = {
        place: {"settled": 5.0 + (each or 100.0), "code": "" if each else "DROPOUT"}
        for place, each in enumerate(seconds)
    }
    return [Answer(client=f"client-{place}", begin=5.0, order=-place, **each) for place, each in given.items()]


@pytest.mark.parametrize(
    ("seconds", "wait_for", "ends", "counted"),
    [
        ((3.0, 9.0, 4.0), None, 14.0, {0, 1, 2}),
        ((3.0, 9.0, 4.0), 2, 9.0, {0, 2}),
        ((3.0, None, 4.0), None, 105.0, {0, 2}),
        ((3.0, None, 4.0), 2, 9.0, {0, 2}),
        ((None, None, 4.0), 2, 105.0, {2}),
        ((4.0, 4.0, 4.0), 1, 9.0, {2}),  # of three at once, the one whom the seed lets come first
        ((), None, 5.0, set()),
    ],
)
def test_a_round_ends_with_the_last_answer_that_it_waits_for(seconds, wait_for, ends, counted):
    devices = {**kinds(), **({"wait-for": wait_for} if wait_for else {})}
    end, in_time = closed(answers(*seconds), 5.0, timed_plan(devices=devices))
    assert (end, {int(answer.client[-1]) for answer in in_time}) == (ends, counted)


def test_equal_devices_without_faults_change_nothing_but_the_clock():
    bare, timed = (simulate(TinyTask(), timed_plan(**each)) for each in ({}, {"devices": kinds()}))
    assert torch.equal(flat(bare.model), flat(timed.model))
    assert [line["simulated_clock"] for line in timed.rounds] == [1.0, 2.0, 3.0, 4.0]
    assert [line["simulated_seconds"] for line in timed.rounds] == [1.0] * 4
    assert timed.summary["simulated_seconds"] == 4.0
    assert "simulated_seconds" not in bare.summary
    assert not any("simulated_clock" in line for line in bare.rounds)


def over_selected(**engine):
    plan = timed_plan(devices={**UNEQUAL, "wait-for": 3}, engine=engine, federation={"cohort_size": 5, "rounds": 6})
    return simulate(TinyTask(model=linear), plan)


def test_results_depend_on_no_number_of_workers_and_no_engine():
    one, two, batched = over_selected(workers=1), over_selected(workers=2), over_selected(name="batched", workers=1)
    assert torch.equal(flat(one.model), flat(two.model))
    torch.testing.assert_close(flat(batched.model), flat(one.model), rtol=0.0, atol=1e-12)
    times = [[line["simulated_spans"] for line in run.rounds] for run in (one, two, batched)]
    assert times[0] == times[1] == times[2]


def test_no_client_is_trained_whose_reply_would_be_lost(monkeypatch):
    trained, real = [], loop.train_locally

    def noted(local, client, request):
        trained.append((request.round, client.name))
        return real(local, client, request)

    monkeypatch.setattr(loop, "train_locally", noted)
    run = over_selected(workers=1)
    counted = [(line["round"], name) for line in run.rounds for name in line["counted"]]
    assert sorted(trained) == sorted(counted)
    codes = {each["code"] for line in run.rounds for each in line["rejected"]}
    assert {"LATE", "DROPOUT"} >= codes >= {"LATE"}
    for line in run.rounds:
        lost = {each["client"] for each in line["rejected"]}
        assert set(line["asked"]) == lost | set(line["counted"])
        begin = line["simulated_clock"] - line["simulated_seconds"]
        assert all(begin <= span[0] <= span[1] <= line["simulated_clock"] for span in line["simulated_spans"].values())


def test_only_available_clients_are_asked():
    """Of periods of a thousand rounds a client sees a part, in which it is there or away."""
    devices = kinds(available=0.5, period_seconds=1e6)
    run = simulate(TinyTask(), timed_plan(devices=devices, federation={"clients": 12}))
    asked = {name for line in run.rounds for name in line["asked"]}
    away = {each["client"] for line in run.rounds for each in line["rejected"] if each["code"] == "ABSENT"}
    assert asked
    assert away
    assert asked.isdisjoint(away)
    assert len(asked | away) == 12


def test_a_round_waits_for_a_quorum_as_long_as_patience_says():
    devices = kinds(available=0.02, period_seconds=1000.0)
    run = simulate(TinyTask(), timed_plan(devices=devices, federation={"patience_seconds": 1000.0, "rounds": 2}))
    first = run.rounds[0]
    assert first["committed"]
    assert 1.0 < first["simulated_seconds"] <= 1001.0


@pytest.mark.parametrize("algorithm", ["fedavg", "fedbuff:3"])
@pytest.mark.parametrize(
    ("device", "why"),
    [
        (kind(dropout=1.0 - 1e-12), "DROPOUT: client-"),
        (kind(latency_seconds=1e6), "LATE: client-"),
        (kind(available=1e-9), "ABSENT: client-"),
    ],
)
def test_profiles_that_drop_everybody_pause_the_run_and_say_why(device, why, algorithm):
    with pytest.raises(RoundFailedError) as paused:
        simulate(TinyTask(), timed_plan(algorithm=algorithm, devices={"kinds": {"none": device}}))
    assert "had 0 valid updates in attempt 3 of 3" in str(paused.value)
    assert why in str(paused.value)


PLANS = {
    "rounds with dropouts": {"devices": {**UNEQUAL, "wait-for": 3}, "federation": {"cohort_size": 5, "rounds": 6}},
    "FedBuff": {
        "algorithm": "fedbuff:2",
        "devices": UNEQUAL,
        "federation": {"cohort_size": 4, "rounds": 8, "server_optimizer": "adam", "server_learning_rate": 0.01},
    },
    "FedAsync": {"algorithm": "fedasync", "devices": UNEQUAL, "federation": {"rounds": 12}},
}


@pytest.mark.parametrize("trainings", [3, 8])
@pytest.mark.parametrize("name", PLANS)
def test_a_run_that_is_killed_and_resumed_gives_the_same_bits(name, trainings, tmp_path, monkeypatch):
    plan = timed_plan(**PLANS[name])
    whole = simulate(plan=plan)
    real, left = loop.train_locally, [trainings]

    def train(local, client, request):
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt
        return real(local, client, request)

    monkeypatch.setattr(loop, "train_locally", train)
    with pytest.raises(KeyboardInterrupt):
        simulate(plan=plan, out=tmp_path / "run")
    monkeypatch.undo()
    resumed = runner.resume(tmp_path / "run")
    assert torch.equal(flat(resumed.model), flat(whole.model))
    lines = [[{**line, "wall_seconds": 0} for line in run.rounds] for run in (resumed, whole)]
    assert lines[0] == lines[1]


def test_an_extended_asynchronous_run_is_the_run_that_was_planned_so(tmp_path):
    plan = timed_plan(algorithm="fedasync", devices=UNEQUAL, federation={"rounds": 10})
    whole = simulate(plan=plan)
    simulate(plan=plan.updated(federation={"rounds": 6}), out=tmp_path / "run")
    assert torch.equal(flat(runner.resume(tmp_path / "run", rounds=10).model), flat(whole.model))
