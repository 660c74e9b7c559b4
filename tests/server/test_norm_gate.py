"""The limit on the length of updates: given by the plan, or following the run."""

import json
from dataclasses import replace
from random import Random

import pytest
import torch

from fedcore.messages import ClientUpdate, UpdateBlock
from fedcore_server.rounds.gate import Opened
from fedcore_server.rounds.norm_gate import TIMES, NormGate
from fedcore_server.rounds.rounds import close_round, init_state, plan_round
from fedcore_server.rounds.state import Rejection, ServerState
from fedcore_server.runs.checkpoint import load_checkpoint, save_checkpoint
from fedcore_server.runs.directory import RunDirectory
from fedcore_simulations import simulate
from tests.builders import TinyTask, build_parameters, build_plan, build_request, build_update

CLIENTS = ("a", "b", "c", "d")


def close(plan, norms, *, state=None):
    state = state or ServerState(round=0, parameters=build_parameters(0.0, 0.0))
    request = build_request(state.parameters, cohort=tuple(norms), round=state.round + 1)
    updates = (build_update(name, norm, 0.0, round=state.round + 1) for name, norm in norms.items())
    return close_round(state, plan, request, updates)


def shuffled(norms, random):
    return dict(random.sample(list(norms.items()), len(norms)))


@pytest.mark.parametrize("place", range(4))
def test_one_client_times_a_million_is_rejected_in_the_first_round_wherever_it_comes(place):
    norms = {name: 1e6 if at == place else 1.0 + 0.1 * at for at, name in enumerate(CLIENTS)}
    state, report = close(build_plan(), norms)
    assert [(each.client, each.code) for each in report.rejected] == [(CLIENTS[place], "NORM")]
    honest = {name: norm for name, norm in norms.items() if norm < 1e6}
    assert torch.equal(state.parameters.buffer, close(build_plan(), honest)[0].parameters.buffer)


def test_later_rounds_are_held_against_the_median_of_what_clients_sent_before():
    state, _ = close(build_plan(), {"a": 1.0, "b": 2.0, "c": 3.0})
    state, report = close(build_plan(), {"a": 2.0 * TIMES, "b": 2.1 * TIMES}, state=state)
    assert report.counted == ("a",)
    assert [dict(each) for each in state.part("gate")["usual_norms"]] == [
        {"c": 3.0},
        pytest.approx({"a": 200.0, "b": 210.0}),
    ]


def test_one_tiny_update_of_two_does_not_reject_the_honest_one_for_ever():
    state = None
    for norm in (1e-3, 1.0, 1.0, 1.0):
        state, report = close(build_plan(), {"a": norm, "b": 1.0}, state=state)
        assert report.counted == ("a", "b")


def test_two_tiny_or_huge_ones_of_four_do_not_decide_alone():
    """At one half there is no majority; the geometric mean of the two in the middle favours neither pair."""
    state = None
    for _ in range(3):
        state, report = close(build_plan(), {"a": 1e-3, "b": 1e-3, "c": 1.0, "d": 1.0}, state=state)
        assert report.counted == CLIENTS
    assert close(build_plan(), {"a": 1e6, "b": 1e6, "c": 1.0, "d": 1.0})[1].counted == ("c", "d")


def test_a_client_that_is_alone_in_many_rounds_cannot_raise_the_limit_nor_lower_it():
    for factor in (99.0, 1 / 99.0):
        state, _ = close(build_plan(), dict.fromkeys(("a", "b", "c"), 1.0))
        for power in range(1, 5):
            state, _ = close(build_plan(), {"evil": factor**power}, state=state)
        _, report = close(build_plan(), {"a": 99.0, "b": 1.0, "c": 1.0, "evil": 5e8}, state=state)
        assert report.counted == ("a", "b", "c")


def test_after_any_rounds_of_a_minority_an_honest_majority_is_counted_again_within_one_round():
    random = Random(0)
    for _ in range(200):
        honest = [f"h{number}" for number in range(random.randint(2, 6))]
        evil = [f"e{number}" for number in range(random.randint(1, len(honest) - 1))]
        state, scale = None, 1.0
        for _ in range(6):
            norms = {name: 10.0 ** random.uniform(-30, 8.9) for name in evil if random.random() < 0.8}
            asked = random.random() < 0.5
            norms |= {name: scale * random.uniform(0.5, 2.0) for name in honest if asked}
            state, _ = close(build_plan(), shuffled(norms, random), state=state)
        scale = 10.0 ** random.uniform(-4, 4)
        norms = {name: scale * random.uniform(0.5, 2.0) for name in honest} | dict.fromkeys(evil, 500.0 * scale)
        state, _ = close(build_plan(), norms, state=state)
        _, report = close(build_plan(), shuffled(norms, random), state=state)
        assert set(honest) == set(report.counted), norms


def test_a_failed_attempt_tells_the_next_one_what_is_usual():
    plan = build_plan(federation={"quorum": 3})
    state, _ = close(plan, dict.fromkeys(CLIENTS, 1.0))
    grown = dict.fromkeys(CLIENTS, 1e4)
    state, report = close(plan, grown, state=state)
    assert (report.committed, state.round, state.attempt) == (False, 1, 1)
    state, report = close(plan, grown, state=state)
    assert (report.counted, state.round) == (CLIENTS, 2)


def test_what_is_usual_goes_by_the_newest_rounds_with_25_clients_among_them():
    state = None
    for start in range(0, 80, 10):
        norms = {f"client-{number}": 1.0 for number in range(start, start + 10)}
        state, _ = close(build_plan(), norms, state=state)
    assert [len(each) for each in state.part("gate")["usual_norms"]] == [10, 10, 10]
    state, _ = close(build_plan(), {f"client-{number}": 1.0 for number in range(100)}, state=state)
    state, _ = close(build_plan(), {"client-7": 1.0}, state=state)
    assert [len(each) for each in state.part("gate")["usual_norms"]] == [99, 1]  # answering last weighs no more


def test_updates_that_grow_from_round_to_round_are_followed():
    state = None
    for power in range(8):
        norm = 10.0**power
        state, report = close(build_plan(), dict.fromkeys(CLIENTS, norm), state=state)
        assert report.counted == CLIENTS, norm


def test_with_fewer_than_three_norms_to_compare_nobody_is_rejected_up_to_a_billion():
    assert close(build_plan(), {"a": 1e6, "b": 1.0})[1].counted == ("a", "b")
    assert close(build_plan(), {"a": 0.0, "b": 1.0, "c": 1e6, "d": 0.0})[1].counted == CLIENTS  # zeros do not vote
    _, report = close(build_plan(), {"a": 1.1e9, "b": 1.0})
    assert report.counted == ("b",)
    assert "the limit (the largest possible) 1e+09" in report.rejected[0].reason


def test_a_number_in_the_plan_is_absolute():
    plan = build_plan(federation={"max_update_norm": 10.0})
    state, report = close(plan, {"a": 9.0, "b": 11.0, "c": 0.001})
    assert report.counted == ("a", "c")
    assert state.part("gate") == {}
    assert close(plan, {"a": 9.0}, state=state)[1].counted == ("a",)


def test_of_many_first_updates_no_more_than_25_are_put_aside():
    gate = NormGate(build_plan(), ServerState(round=0, parameters=build_parameters(0.0)))
    taken = []

    def stream():
        for number in range(100):
            taken.append(number)
            block = UpdateBlock.of(build_update(f"client-{number}", 1.0))
            yield Opened(block=block, vectors=block.values, norms={"update": [1.0]})

    next(gate.passed(stream()))
    assert len(taken) == 25


def test_updates_that_were_put_aside_are_copies_for_their_memory_is_used_again():
    """As the slots of worker processes are."""
    plan, state = build_plan(), ServerState(round=0, parameters=build_parameters(0.0, 0.0))
    slot = torch.zeros(2)

    def stream():
        for number, name in enumerate(CLIENTS, start=1):
            update = build_update(name, float(number), 0.0)
            slot.copy_(update.values["update"])
            yield replace(update, values={"update": slot})

    new, _ = close_round(state, plan, build_request(state.parameters, cohort=CLIENTS), stream())
    assert new.parameters.buffer.tolist() == [2.5, 0.0]


def test_under_unit_client_no_update_is_rejected_for_its_norm_and_no_norm_is_kept():
    """A limit by other clients' updates would let one client decide whether another is counted."""
    privacy = {"unit": "client", "noise_multiplier": 1.0, "noise": "test"}
    plan = build_plan(privacy=privacy, aggregation={"rule": "uniform"})
    state, report = close(plan, {"a": 1.0, "b": 1.0, "c": 1e6})
    assert report.counted == ("a", "b", "c")
    assert state.part("gate") == {}


def test_the_norms_of_the_rounds_come_back_from_the_checkpoint(tmp_path):
    votes = [{"a": 2.0}, {"b": 0.1, "c": 1e-30}]
    parts = {"gate": {"usual_norms": votes}, "loss": {"first": 0.7}}
    state = ServerState(round=3, parameters=build_parameters(1.0), parts=parts, settled=True)
    save_checkpoint(tmp_path, state, build_plan())
    loaded = load_checkpoint(tmp_path, replace(state, round=0), build_plan())
    assert (loaded.parts, loaded.settled) == (parts, True)


def test_a_run_with_a_client_times_a_million_learns_and_warns_of_it(tmp_path, monkeypatch):
    from fedcore_simulations.engines import loop

    real = loop.train_locally

    def times_a_million(local, client, request):
        update = real(local, client, request)
        return (
            replace(update, values={"update": update.values["update"] * 1e6}) if client.name == "client-2" else update
        )

    monkeypatch.setattr(loop, "train_locally", times_a_million)
    result = simulate(TinyTask(), build_plan(), out=tmp_path / "run")
    assert result.metrics["loss"] < 1.0
    assert all(line["counted"] == ["client-0", "client-1", "client-3"] for line in result.rounds)
    facts = result.summary["participation"]["client-2"]
    assert (facts["asked"], facts["counted"], facts["rejected"], facts["evaluated"]) == (3, 0, {"NORM": 3}, 3)
    [warning] = [words for words in result.summary["warnings"] if "(NORM)" in words]
    assert "3 updates of client-2 were longer than 100 times the usual norm" in warning
    assert warning[:40] in (tmp_path / "run" / "report.html").read_text().replace("&#39;", "'")


def nonfinite(name):
    return build_update(name, float("nan"), 0.0, num_examples=5)


def test_under_unit_client_an_update_that_is_not_finite_counts_as_zero_and_does_not_show():
    privacy = {"unit": "client", "noise_multiplier": 1.0, "noise": "test"}
    plan = build_plan(privacy=privacy, federation={"quorum": 4}, aggregation={"rule": "uniform"})
    state = ServerState(round=0, parameters=build_parameters(0.0, 0.0))
    request = build_request(state.parameters, cohort=CLIENTS)
    others = [build_update(name, 0.1, 0.1) for name in CLIENTS[1:]]
    bad = (
        build_update("a", 0.0, 0.0),
        nonfinite("a"),
        build_update("a", float("inf"), 0.0),
        Rejection(client="a", code="REFUSED", reason="the client refused: NONFINITE"),
        Rejection(client="a", code="REFUSED", reason="the client refused: NORM"),
        Rejection(client="a", code="REFUSED", reason="the client refused: METRICS"),
        Rejection(client="a", code="REFUSED", reason="the client refused: FAILED"),
        Rejection(client="a", code="REFUSED", reason="the client refused: MIN_COUNT"),
    )
    closed = [close_round(state, plan, request, iter([each, *others])) for each in bad]
    for new, report in closed:
        assert (report.counted, report.rejected) == (CLIENTS, ())
        assert torch.equal(new.parameters.buffer, closed[0][0].parameters.buffer)


def test_without_unit_client_an_update_that_is_not_finite_is_rejected_and_says_where():
    plan, state = build_plan(), ServerState(round=0, parameters=build_parameters(0.0, 0.0))
    request = plan_round(state, plan, CLIENTS)
    _, report = close_round(state, plan, request, iter([nonfinite("a"), build_update("b", 1.0, 0.0)]))
    assert [(each.client, each.code) for each in report.rejected] == [("a", "NONFINITE")]
    assert "first in 'w'" in report.rejected[0].reason


def test_a_run_in_which_all_clients_are_not_finite_says_so_and_at_which(tmp_path):
    from fedcore.errors import RoundFailedError
    from tests.test_task import Line

    plan = build_plan(training={"learning_rate": 1e20}, federation={"rounds": 5, "round_attempts": 1})
    with pytest.raises(RoundFailedError, match="NONFINITE: client-0, client-1, client-2, client-3; no round was"):
        simulate(Line(), plan, out=tmp_path / "run")
    line = json.loads(RunDirectory(tmp_path / "run")._lines()[0])
    assert line["rejected"][0]["reason"].startswith("the update holds numbers that are not finite, first in '")


def test_each_vector_that_an_algorithm_sends_is_judged_by_its_own_norm():
    """An update far too long must not hide behind a control change that is longer still, nor the other way round."""
    plan = build_plan(algorithm={"name": "scaffold"}, federation={"clients": 4})
    state = init_state(TinyTask(), plan)
    size, names = state.parameters.layout.size, ("a", "b", "c", "d")
    request = plan_round(state, plan, names)
    for long in ("update", "control_change"):
        values = [{"update": torch.full((size,), 1.0), "control_change": torch.full((size,), 1e3)} for _ in names]
        values[3][long] = values[3][long] * 500
        updates = [
            ClientUpdate(client=name, round=1, values=each, num_examples=1)
            for name, each in zip(names, values, strict=True)
        ]
        _, report = close_round(state, plan, request, iter(updates))
        assert [(each.client, each.code) for each in report.rejected] == [("d", "NORM")]
        assert long in report.rejected[0].reason
