"""Which round's model is released: the last, or the most accurate within the plan's limits on rates."""

from __future__ import annotations

import math

from fedcore.audit.metrics.classes import with_classes
from fedcore.audit.verdict.gate import Verdict, judge_all, overall
from fedcore.audit.verdict.limits import WATCHED
from fedcore.plan import RunPlan
from fedcore.plan.evaluation_schedule import chooses_a_round, rounds_evaluated
from fedcore.privacy.evaluation import ACCURACY, LOSS
from fedcore.storage.large_vectors import put_aside
from fedcore.text.wording import counted
from fedcore_server.evaluation.evaluation import Evaluation, audit_settings
from fedcore_server.rounds.state import ServerState


def chosen(plan: RunPlan, state: ServerState, evaluation: Evaluation) -> ServerState:
    """The state with the best round so far as its part ``choice``.

    It is absent where the last model is released or no round is within the limits. Of two rounds of equal merit the
    earlier one stays. A round whose evaluation lacks the rows of a client is skipped: its accuracy is that of other
    rows.

    Args:
        state: After the round, with the choice among earlier rounds.
        evaluation: Of the round's model.
    """
    merit = _merit(evaluation)
    if not chooses_a_round(plan) or merit is None or not _within_limits(plan, evaluation):
        return state
    if merit <= state.part("choice").get("merit", -math.inf):
        return state
    # A copy, since a checkpoint also holds the round's own model.
    kept = put_aside(state.candidate.buffer)
    return state.with_parts(choice={"round": state.round, "merit": merit, "parameters": kept})


def choice_words(plan: RunPlan, state: ServerState) -> str | None:
    """Which round's model the run ends with, and why; None where the plan takes the last."""
    if not chooses_a_round(plan):
        return None
    looked_at = rounds_evaluated(plan)
    if not state.part("choice"):
        return f"no round of {looked_at} evaluated was within all limits on rates: the model is that of the last"
    return (
        f"the model is that of round {state.released_round}, the most accurate within all limits on rates; its "
        f"accuracy is the best of {counted(looked_at, 'round')} on the same rows, and likely a little lower on others"
    )


def _within_limits(plan: RunPlan, evaluation: Evaluation) -> bool:
    limits = (limit for limit in audit_settings(plan).limits if limit.metric in WATCHED)
    audits = {name: with_classes(audit, evaluation.tables[name]) for name, audit in evaluation.audits.items()}
    return not evaluation.rejected and overall(one.verdict for one in judge_all(limits, audits)) is Verdict.PASS


def _merit(evaluation: Evaluation) -> float | None:
    """Accuracy, or the negative loss of a task without accuracy; None where neither is a number."""
    metrics = evaluation.metrics
    merit = metrics[ACCURACY] if ACCURACY in metrics else -metrics.get(LOSS, math.nan)
    return merit if math.isfinite(merit) else None
