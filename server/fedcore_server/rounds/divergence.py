"""When a run should pause: the model became far worse than at the start."""

from __future__ import annotations

import math

from fedcore.plan import RunPlan
from fedcore.task import Task, extras_of
from fedcore.task_families import Classification, LanguageModelling, Regression
from fedcore_server.evaluation.evaluation import Evaluation
from fedcore_server.rounds.gate import NOT_FINITE
from fedcore_server.rounds.state import ServerState


def diverged(plan: RunPlan, state: ServerState, evaluation: Evaluation) -> str | None:
    """Why the run should pause, in words; ``None`` where it should not.

    Noisy losses are not judged: they are clipped to `evaluation_loss_bound`, and may be near zero.
    """
    loss, start, most = evaluation.metrics.get("loss"), state.part("loss").get("first"), plan.federation.max_loss_ratio
    if plan.privacy.evaluation_noise_multiplier is not None:
        return None
    where = f"the loss of the model of round {evaluation.round}"
    if loss is None:
        return f"{where} is finite at no client" if _is_finite_nowhere(evaluation, start) else None
    if not math.isfinite(loss):
        return f"{where} is not finite"
    if plan.privacy.unit == "record" and math.isclose(loss, plan.privacy.evaluation_loss_bound, rel_tol=1e-9):
        return f"{where} is finite for no row"  # such rows count with the bound, and no others exactly so
    if start is None or loss - start <= (most - 1.0) * abs(start):
        return None
    return f"{where} is {loss:.3g}, and that of its start {start:.3g}; federation.max-loss-ratio is {most:g}"


def with_first_loss(task: Task, plan: RunPlan, state: ServerState, evaluation: Evaluation) -> ServerState:
    """The state with the loss that this and later losses are compared with.

    It is that of the first evaluation, or of an uninformed model if that is less: the first evaluation follows a round,
    and its model may have diverged already.
    """
    loss = evaluation.metrics.get("loss", math.nan)
    if state.part("loss") or not math.isfinite(loss):
        return state
    known = ignorant_loss(task, plan, state)
    return state.with_parts(loss={"first": loss if known is None else min(loss, known)})


def ignorant_loss(task: Task, plan: RunPlan, state: ServerState) -> float | None:
    """About the greatest loss of an uninformed model; ``None`` for a task's own losses, of unknown scale."""
    measure = getattr(type(task), "measure", None)
    if measure is Classification.measure:
        return math.log(len(task.labels))  # of equal probabilities
    if measure is LanguageModelling.measure:
        return math.log(len(state.parameters.buffer))  # no more tokens than parameters, and of equal probabilities
    span = (extras_of(task).target_range or plan.audit.target_range) if measure is Regression.measure else None
    return max(end**2 for end in span) if span else None  # of predicting zero


def rebased(state: ServerState, evaluation: Evaluation) -> ServerState:
    """The state of a run that pauses here: a resumed run continues from this loss."""
    loss = evaluation.metrics.get("loss", math.nan)
    return state.with_parts(loss={"first": loss}) if math.isfinite(loss) else state


def _is_finite_nowhere(evaluation: Evaluation, start: float | None) -> bool:
    """Whether clients left out a loss because it is not finite, as they or the server report.

    A client's own gate has one code for everything wrong with metrics; this one is read so where it reported a loss
    before.
    """
    refused = start is not None and any(each.refusal == "METRICS" for each in evaluation.rejected)
    return refused or any(each.reason == NOT_FINITE for each in evaluation.rejected)
