"""A run whose model gets far worse than it was pauses, and what was charged stays charged."""

import contextlib
import math
from types import SimpleNamespace

import pytest

from fedcore.algorithms.contract import Algorithm
from fedcore.errors import DivergedError
from fedcore_server.rounds.divergence import diverged, ignorant_loss, with_first_loss
from fedcore_server.rounds.gate import NOT_FINITE
from fedcore_server.rounds.rounds import init_state
from fedcore_server.rounds.state import Rejection, ServerState
from fedcore_server.runs.checkpoint import load_checkpoint
from fedcore_server.runs.directory import RunDirectory
from fedcore_simulations import simulate
from fedcore_simulations.runner import resume
from tests.builders import TinyTask, build_parameters, build_plan, build_private_plan
from tests.test_task import Counting, Line, Squeeze

NOISY = {"unit": "record", "noise_multiplier": 1.0, "nominal_batch": 1.0, "evaluation_noise_multiplier": 1.0}
TINY = "tests.builders:TinyTask"
GROWS = {"learning_rate": 1.5, "batch_size": 100}  # three numbers of variance one: a step multiplies the error by -2


def found(loss, start, *, rejected=(), **sections):
    evaluation = SimpleNamespace(round=4, metrics={} if loss is None else {"loss": loss}, rejected=rejected)
    parts = {} if start is None else {"loss": {"first": start}}
    state = ServerState(round=4, parameters=build_parameters(1.0), parts=parts)
    return diverged(build_plan(**sections), state, evaluation)


@pytest.mark.parametrize(
    ("loss", "start", "pauses"),
    [
        (99.0, 1.0, False),
        (101.0, 1.0, True),
        (math.inf, None, True),
        (math.nan, 1.0, True),
        (1e9, None, False),
        (None, 1.0, False),  # nobody answered
        (-2.0, -3.0, False),  # a loss may be negative: 100 times as far from zero, upwards
        (295.0, -3.0, True),
        (1e-9, 0.0, True),
    ],
)
def test_a_run_pauses_where_its_loss_is_not_finite_or_more_than_a_hundred_times_the_first(loss, start, pauses):
    assert (found(loss, start) is not None) == pauses


def test_the_plan_says_how_far_is_too_far_and_noisy_losses_are_not_judged():
    assert found(5.0, 1.0, federation={"max_loss_ratio": 4.0}) is not None
    assert found(5.0, 1.0, federation={"max_loss_ratio": 6.0}) is None
    assert found(1e6, 1e-3, privacy=NOISY) is None


def test_under_record_level_privacy_a_loss_that_is_finite_for_no_row_is_known_by_the_bound_it_counts_with():
    record = {"unit": "record", "noise_multiplier": 1.0, "nominal_batch": 1.0, "evaluation_loss_bound": 4.0}
    assert "finite for no row" in found(4.0, 2.0, privacy=record)
    assert found(3.9, 2.0, privacy=record) is None
    assert found(4.0, 2.0, privacy={**record, "unit": "client"}, aggregation={"rule": "uniform"}) is None


def test_a_loss_that_is_finite_at_no_client_is_known_by_what_the_gates_say():
    nan = Rejection(client="a", code="METRICS", reason=NOT_FINITE)
    withheld = Rejection(client="a", code="REFUSED", reason="the client refused: METRICS")
    assert "finite at no client" in found(None, None, rejected=[nan])
    assert "finite at no client" in found(None, 1.0, rejected=[withheld])
    assert found(None, None, rejected=[withheld]) is None  # a policy that lets no loss out
    assert found(None, 1.0, rejected=[Rejection(client="a", code="LATE", reason="")]) is None


def test_a_simulation_pauses_keeps_what_was_charged_and_can_be_resumed(tmp_path):
    plan = build_plan(task={"name": "tests.test_task:Line"}, federation={"rounds": 40, "clients": 2}, training=GROWS)
    with pytest.raises(DivergedError, match=r"federation.max-loss-ratio is 100; what was charged stays charged"):
        simulate(None, plan, out=tmp_path / "run")
    kept, first = _kept(tmp_path / "run"), len(RunDirectory(tmp_path / "run").rounds())
    assert (kept.round, kept.asked, kept.evaluated, kept.settled) == (first, first, first, True)
    assert 3 < first < 10
    with pytest.raises(DivergedError):
        resume(tmp_path / "run")
    again = _kept(tmp_path / "run")
    assert again.round > first + 1  # from the loss at which it paused, and not from the first one
    assert again.asked == again.round  # nothing was in work when it paused


def test_a_model_that_is_lost_in_round_one_is_known_by_what_a_model_that_knows_nothing_has(tmp_path):
    plan = build_private_plan(privacy={"learning_rate": 1e5}, federation={"rounds": 5}, task={"name": TINY})
    with pytest.raises(DivergedError, match=r"model of round 1 is .*, and that of its start 0\.693; federation"):
        simulate(None, plan, out=tmp_path / "run")
    kept = _kept(tmp_path / "run", TinyTask())
    assert (kept.round, kept.asked, kept.settled) == (1, 1, True)
    assert kept.part("loss")["first"] > 69.3  # from which a resumed run continues
    with contextlib.suppress(DivergedError):
        resume(tmp_path / "run")
    again = _kept(tmp_path / "run", TinyTask())
    assert again.round > 1
    assert again.asked == again.round


class Own(TinyTask):
    """With a loss of its own, whose scale nobody else knows."""

    def measure(self, model, batch):
        raise NotImplementedError


class Heights(Line):
    target_range = (-30.0, 20.0)


@pytest.mark.parametrize(
    ("task", "plan", "expected"),
    [
        (TinyTask(), {}, 0.6931472),
        (Counting(), {}, 4.7791235),  # ln 119, and of 7 tokens 1.95
        (Heights(), {}, 900.0),
        (Line(), {"audit": {"target_range": [1.0, 3.0]}}, 9.0),
        (Line(), {}, None),
        (Squeeze(), {}, None),
        (Own(), {}, None),
    ],
)
def test_what_a_model_that_knows_nothing_has_is_known_for_ready_made_losses_only(task, plan, expected):
    found = ignorant_loss(task, build_plan(**plan), init_state(task, build_plan()))
    assert found == (None if expected is None else pytest.approx(expected))


@pytest.mark.parametrize(
    ("task", "first", "start"),
    [(TinyTask(), 0.3, 0.3), (TinyTask(), 2e4, math.log(2)), (Own(), 2e4, 2e4), (TinyTask(), math.nan, None)],
)
def test_the_start_is_the_first_evaluation_or_what_a_model_that_knows_nothing_has(task, first, start):
    evaluation = SimpleNamespace(round=1, metrics={"loss": first}, rejected=())
    state = with_first_loss(task, build_plan(), init_state(task, build_plan()), evaluation)
    assert state.part("loss").get("first") == start
    later = SimpleNamespace(round=2, metrics={"loss": 0.1}, rejected=())
    assert start is None or with_first_loss(task, build_plan(), state, later).part("loss")["first"] == start


def test_a_run_that_diverges_in_its_last_round_ends_and_warns():
    plan = build_plan(federation={"rounds": 2, "clients": 2, "max_loss_ratio": 1.5}, training=GROWS)
    result = simulate(Line(), plan)
    assert any("federation.max-loss-ratio is 1.5" in words for words in result.summary["warnings"])


def _kept(path, task=None):
    plan = RunDirectory(path).plan()
    return load_checkpoint(path / "checkpoint", init_state(task or Line(), plan), plan)


class Lost(Algorithm):
    """Moves the model to where no number is."""

    def step(self, mean, state, cohort):
        return mean["update"] + (math.nan if mean["update"].any() else 0.0), state


def test_a_run_whose_model_is_not_finite_is_not_advised_to_be_resumed():
    with pytest.raises(DivergedError, match=r"the model itself is not finite, so that it cannot be resumed") as lost:
        simulate(TinyTask(), build_plan(algorithm={"name": f"{__name__}:Lost"}))
    assert "or resume this one" not in str(lost.value)
