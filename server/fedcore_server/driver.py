"""The loop over rounds, the same for simulated and for deployed clients."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from fedcore.audit.hooks import AuditHook, Decision
from fedcore.audit.report import BiasReport
from fedcore.audit.tables import empty_tables
from fedcore.errors import RoundFailedError
from fedcore.messages import EvaluateRequest
from fedcore.mitigation.steering import Steering
from fedcore.plan import RunPlan
from fedcore.privacy.evaluation import evaluation_privacy
from fedcore.task import Task
from fedcore.transforms import UpdateTransform
from fedcore_server.audit_points import AuditPoints
from fedcore_server.detail import detailed
from fedcore_server.evaluation import Evaluation, close_evaluation
from fedcore_server.federation import Federation
from fedcore_server.mitigation import steered
from fedcore_server.rounds import close_round, done, plan_round
from fedcore_server.state import RoundReport, ServerState

_log = logging.getLogger("fedcore")

_FINAL_REFUSALS = frozenset(
    (
        "TASK",
        "DATA",
        "ROUNDS",
        "RANGE",
        "TRANSFORM",
        "PRIVACY",
        "BUDGET",
        "LEDGER",
        "METRICS",
        "MIN_COUNT",
        "SIZE",
        "APPROVAL",
    )
)
"""What a client's policy says of a plan: the same however often it is asked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundRecord:
    """Everything a round leaves behind; one line of ``rounds.jsonl``.

    Attributes:
        evaluation: None where the plan evaluates less often than every round.
        epsilon: Spent so far; None without privacy, or where the round was not evaluated.
        steering: What mitigated gaps in this round; None where nothing did.
    """

    report: RoundReport
    evaluation: Evaluation | None
    decisions: tuple[Decision, ...]
    epsilon: float | None
    wall_seconds: float
    steering: Steering | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        report, evaluation = self.report, self.evaluation
        refused = [*report.rejected, *(evaluation.rejected if evaluation else ())]
        return {
            "round": report.round,
            "attempt": report.attempt,
            "committed": report.committed,
            "asked": list(report.asked),
            "counted": list(report.counted),
            "examples": dict(report.num_examples),
            "receipts": {client: receipt.to_json() for client, receipt in report.receipts.items()},
            "rejected": [{"client": r.client, "code": r.code, "reason": r.reason} for r in refused],
            "training": dict(report.training),
            "update_norm": report.update_norm,
            "clip_norm": report.clip_norm,
            "evaluation": dict(evaluation.metrics) if evaluation else None,
            "groups": accuracy_by_group(evaluation) if evaluation else {},
            "clients": _shown_clients(evaluation) if evaluation else {},
            "decisions": [decision.to_json() for decision in self.decisions],
            "epsilon": self.epsilon,
            "mitigation": self.steering.to_json() if self.steering else None,
            "wall_seconds": round(self.wall_seconds, 6),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """A finished run.

    Attributes:
        evaluation: Of the released model.
        bias: The audit before release; None where the plan audits nothing and has no hooks.
        after_release: Asks the hooks once more, when the files are written; the audit with what they say, or None.
    """

    state: ServerState
    evaluation: Evaluation
    bias: BiasReport | None
    after_release: Callable[[], BiasReport | None] = field(default=lambda: None)


OnRound = Callable[[RoundRecord, ServerState], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What stays the same from round to round.

    Attributes:
        hooks: Audit hooks in the order they are called.
        clock: Seconds, for wall times only; nothing that is computed depends on it.
    """

    task: Task
    plan: RunPlan
    federation: Federation
    hooks: Sequence[AuditHook] = ()
    transforms: Sequence[UpdateTransform] = ()
    clock: Callable[[], float] = time.monotonic

    def to_end(self, state: ServerState, on_round: OnRound) -> Outcome:
        """Run the remaining rounds, then audit the model that is to be released.

        Args:
            state: From `init_state`, or from a checkpoint.
            on_round: Told of every round, also of one that failed, after it was closed.

        Raises:
            RoundFailedError: A round had no quorum in all its attempts.
            PlanError: A hook refuses the plan.
            DataError: A hook refuses the data.
        """
        points = AuditPoints(plan=self.plan, hooks=self.hooks, tables=empty_tables(self.task, self.plan))
        evaluation: Evaluation | None = None
        declared = points.plan_declared()
        state, said = self._steered_from_start(state, points)
        while not done(state, self.plan):
            started = self.clock()
            state, report = self._train(state)  # from here on nothing holds the model before
            record = self._close(state, report, started, points)
            record, said = replace(record, decisions=(*said, *record.decisions)), ()
            if record.evaluation:
                state = self._after(record.evaluation, state)
            _log_round(record)
            evaluation = record.evaluation or evaluation
            on_round(record, state)
            if not record.report.committed and (
                state.attempt >= self.plan.federation.round_attempts or _refused(record.report)
            ):
                raise RoundFailedError(
                    f"round {record.report.round} had {len(record.report.counted)} valid updates in attempt "
                    f"{state.attempt} of {self.plan.federation.round_attempts}, and the quorum is "
                    f"{self.plan.federation.quorum}; the last committed round is kept in the checkpoint"
                )
        if evaluation is None:
            evaluation = self._evaluate(state, points)
            state = self._after(evaluation, state)
        detail = detailed(evaluation, self.plan.mitigation)
        bias = points.report(detail, state, declared)
        return Outcome(
            state=state,
            evaluation=detail.evaluation,
            bias=bias,
            after_release=lambda: points.after_release(bias, detail.evaluation, state) if bias else None,
        )

    def _steered_from_start(self, state: ServerState, points: AuditPoints) -> tuple[ServerState, tuple[Decision, ...]]:
        """Where training mitigates gaps, evaluate the first model, so that the first round is steered too."""
        if not self.plan.mitigation.steers or state.steering is not None:
            return state, ()
        evaluation = self._evaluate(state, points)
        said = points.data_counted(evaluation, state)
        return self._after(evaluation, state), said

    def _after(self, evaluation: Evaluation, state: ServerState) -> ServerState:
        """The state once it was evaluated: counted, and the next rounds steered."""
        steering = steered(self.plan, state.steering, evaluation)
        return replace(state, evaluated=state.evaluated + 1, steering=steering)

    def _train(self, state: ServerState) -> tuple[ServerState, RoundReport]:
        request = plan_round(state, self.plan, self.federation.available())
        return close_round(state, self.plan, request, self.federation.train(request), self.transforms)

    def _close(self, state: ServerState, report: RoundReport, started: float, points: AuditPoints) -> RoundRecord:
        evaluation = self._evaluate(state, points) if report.committed and self._due(state) else None
        return RoundRecord(
            report=report,
            evaluation=evaluation,
            decisions=points.round_evaluated(evaluation, state) if evaluation else (),
            epsilon=points.epsilon(state) if evaluation else None,
            wall_seconds=self.clock() - started,
            steering=state.steering,
        )

    def _evaluate(self, state: ServerState, points: AuditPoints) -> Evaluation:
        """Evaluate on every client, whoever trained: a cohort's accuracy would be another question."""
        cohort = tuple(sorted(self.federation.available()))
        request = EvaluateRequest(round=state.round, cohort=cohort, parameters=state.released)
        reports = self.federation.evaluate(request)
        return close_evaluation(
            request,
            reports,
            points.tables,
            points.settings,
            measured=getattr(self.task, "metrics", None),
            privacy=evaluation_privacy(self.task, self.plan),
        )

    def _due(self, state: ServerState) -> bool:
        return state.round % self.plan.federation.evaluate_every == 0 or done(state, self.plan)


def _refused(report: RoundReport) -> bool:
    """Whether a client has refused for good: asking once more would only charge the others."""
    return any(rejection.refusal in _FINAL_REFUSALS for rejection in report.rejected)


def _shown_clients(evaluation: Evaluation) -> dict[str, dict[str, float]]:
    """Each client's means; of a client with fewer rows than may be shown, their number only."""
    return {
        name: dict(values) if values["n"] >= evaluation.min_cell else {"n": values["n"]}
        for name, values in evaluation.clients.items()
    }


def accuracy_by_group(evaluation: Evaluation) -> dict[str, dict[str, dict[str, Any]]]:
    """Accuracy of every group that may be shown, by attribute, with its interval."""
    shown = {attribute: audit.to_json()["groups"] for attribute, audit in evaluation.audits.items()}
    return {
        attribute: {group: metrics["accuracy"] for group, metrics in groups.items()}
        for attribute, groups in shown.items()
    }


def _log_round(record: RoundRecord) -> None:
    report = record.report
    metrics = record.evaluation.metrics if record.evaluation else {}
    told = " ".join(f"{name}={value:.4f}" for name, value in metrics.items())
    _log.info(
        "round=%d attempt=%d committed=%s counted=%d/%d rejected=%d %s",
        report.round,
        report.attempt,
        report.committed,
        len(report.counted),
        len(report.asked),
        len(report.rejected),
        told,
    )
