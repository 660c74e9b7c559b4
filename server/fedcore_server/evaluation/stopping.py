"""When a run ends before its last round, by what its evaluations measured."""

from __future__ import annotations

import math

from fedcore.errors import PlanError
from fedcore.plan import RunPlan
from fedcore.plan.evaluation_schedule import rounds_evaluated
from fedcore.plan.stop_rule import ON_TEST_DATA, StopRule
from fedcore.privacy.evaluation import ACCURACY, LOSS
from fedcore.task import Task, extras_of
from fedcore.text.toml_problems import unknown
from fedcore_server.evaluation.evaluation import Evaluation
from fedcore_server.rounds.state import ServerState


def check_stopping(task: Task, plan: RunPlan) -> None:
    """Refuse a rule on a metric that no evaluation of the run has.

    Raises:
        PlanError: With the nearest metric.
    """
    rule, metrics = StopRule.of(plan), extras_of(task).metrics
    if rule is None or metrics is None:
        return
    if plan.privacy.evaluation_noise_multiplier is not None:
        metrics = tuple(name for name in (LOSS, ACCURACY) if name in metrics)  # the others are not released
    if plan.task.test_data is not None:
        metrics = (*metrics, *(ON_TEST_DATA + name for name in extras_of(task).metrics or ()))
    elif rule.on_test_data:
        raise PlanError(f"federation.stop-when: {rule.metric} needs task.test-data")
    if rule.metric not in metrics:
        raise PlanError(f"federation.stop-when: {unknown(rule.metric, metrics, f'metric of task {task.name!r}')}")


def judged(plan: RunPlan, state: ServerState, evaluation: Evaluation) -> ServerState:
    """The state with what the rule makes of a round's evaluation, in its part ``stop``.

    An evaluation that lacks the rows of a client is not judged: its metrics are those of other rows. Those on the
    plan's own test data always are.
    """
    rule = StopRule.of(plan)
    if rule is None or (evaluation.rejected and not rule.on_test_data):
        return state
    value = evaluation.metrics.get(rule.metric, math.nan)
    if rule.patience:
        return _patient(rule, state, value)
    return _stopped(state, rule.words(value)) if rule.reached(value) else state


def _patient(rule: StopRule, state: ServerState, loss: float) -> ServerState:
    """A loss that is not a number is not better."""
    known = state.part("stop")
    best = known.get("best")
    if math.isfinite(loss) and (best is None or loss < best):
        return state.with_parts(stop={"best": loss, "worse": 0})
    worse = known.get("worse", 0) + 1
    state = state.with_parts(stop={"best": best, "worse": worse})
    return _stopped(state, rule.words(loss, best)) if worse >= rule.patience else state


def _stopped(state: ServerState, why: str) -> ServerState:
    return state.with_parts(stop={**state.part("stop"), "why": why})


def why_stopped(state: ServerState) -> str | None:
    """The words of the rule that ended the run; ``None`` where none did."""
    why = state.part("stop").get("why")
    return None if why is None else str(why)


def stop_words(plan: RunPlan, state: ServerState) -> str | None:
    """How the run ended, for a plan with a rule; None without one."""
    rule, why, planned = plan.federation.stop_when, why_stopped(state), plan.federation.rounds
    if rule is None:
        return None
    if why is None:
        return f"federation.stop-when ({rule}) was not met in {planned} rounds"
    return (
        f"the run stopped after round {state.round} of {planned}: {why} (federation.stop-when = {rule!r}). These rows "
        "decided when to stop, so results on others are likely a little worse"
    )


def rounds_left_out(plan: RunPlan, state: ServerState) -> int:
    """Planned rounds that were not run because the rule ended the run."""
    return plan.federation.rounds - state.round if why_stopped(state) else 0


def evaluations_left_out(plan: RunPlan, state: ServerState) -> int:
    """Planned evaluations that were not made because the rule ended the run after an evaluated round."""
    made = -(-state.round // plan.federation.evaluate_every)
    return rounds_evaluated(plan) - made if why_stopped(state) else 0
