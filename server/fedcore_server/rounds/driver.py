"""The loop over rounds, the same for simulated and for deployed clients."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from fedcore.algorithms.contract import Algorithm
from fedcore.audit.tables.declared import empty_tables
from fedcore.audit.verdict.hooks import AuditHook, Decision
from fedcore.audit.verdict.report import BiasReport
from fedcore.errors import DivergedError, RoundFailedError
from fedcore.listeners import Listeners
from fedcore.messages import EvaluateRequest, TrainRequest
from fedcore.method.method import Method
from fedcore.parameters import Parameters
from fedcore.plan import RunPlan
from fedcore.privacy.evaluation import evaluation_privacy
from fedcore.refusals import FINAL
from fedcore.schedules.learning_rate import learning_rate
from fedcore.storage.large_vectors import is_finite
from fedcore.task import Task, extras_of
from fedcore.text.wording import named
from fedcore_server.evaluation.audit_points import AuditPoints
from fedcore_server.evaluation.choice import chosen
from fedcore_server.evaluation.detail import detailed
from fedcore_server.evaluation.evaluated_clients import choose_evaluated
from fedcore_server.evaluation.evaluation import Evaluation, close_evaluation
from fedcore_server.evaluation.stopping import judged, why_stopped
from fedcore_server.rounds.divergence import diverged, rebased, with_first_loss
from fedcore_server.rounds.federation import Federation
from fedcore_server.rounds.round_record import RoundRecord
from fedcore_server.rounds.rounds import close_round, done, plan_round
from fedcore_server.rounds.state import RoundReport, ServerState

_log = logging.getLogger("fedcore")


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


Keep = Callable[[RoundRecord, ServerState], None]
"""Writes a round down, with the state to resume from. If it raises, the run ends."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What stays the same from round to round.

    Attributes:
        hooks: Audit hooks in the order they are called.
        listeners: Shown each round once it is kept.
        test: The metrics of a model on the plan's own test data; None where it has none.
        clock: Seconds, for wall times only; nothing that is computed depends on it.
        on_request: Given each request to train, before clients are asked.
        next_round: Plans, trains and closes a round in another way, such as in simulated time.
    """

    task: Task
    plan: RunPlan
    federation: Federation
    hooks: Sequence[AuditHook] = ()
    listeners: Listeners = field(default_factory=Listeners)
    test: Callable[[Parameters], Mapping[str, float]] | None = None
    clock: Callable[[], float] = time.monotonic
    on_request: Callable[[TrainRequest], None] = lambda request: None
    next_round: Callable[[ServerState], tuple[ServerState, RoundReport]] | None = None

    def to_end(self, state: ServerState, keep: Keep) -> Outcome:
        """Run the remaining rounds, then audit the model that is to be released.

        Args:
            state: From `init_state`, or from a checkpoint.
            keep: Called after every round, including failed ones.

        Raises:
            RoundFailedError: A round had no quorum in all its attempts.
            DivergedError: The evaluated loss is not finite, or far above that of the start.
            PlanError: A hook refuses the plan.
            DataError: A hook refuses the data.
        """
        points = AuditPoints(plan=self.plan, hooks=self.hooks, tables=empty_tables(self.task, self.plan))
        evaluation: Evaluation | None = None
        declared = points.plan_declared()
        state, said = self._untrained(state, points)
        while not done(state, self.plan):
            started = self.clock()
            state, report = self._train(state)  # from here on nothing holds the model before
            record = self._close(state, report, started, points)
            record, said = replace(record, decisions=(*said, *record.decisions)), ()
            if record.evaluation:
                state = chosen(self.plan, self._after(record.evaluation, state), record.evaluation)
                state = judged(self.plan, state, record.evaluation)
                record = replace(record, chosen_round=state.part("choice").get("round"), stop=why_stopped(state))
            _log_round(record)
            evaluation = record.evaluation or evaluation
            pause = self._no_quorum(record.report, state) or self._diverged(record.evaluation, state)
            if isinstance(pause, DivergedError) and record.evaluation:
                state = rebased(state, record.evaluation)
            keep(record, replace(state, settled=pause is not None))
            if self.listeners:
                self.listeners.round_closed(record.to_json())
            if pause is not None:
                raise pause
        if evaluation is None or evaluation.round != state.released_round:
            evaluation = self._released(state, points)
            state = replace(state, evaluated=state.evaluated + 1)
        detail = detailed(evaluation)
        bias = points.report(detail, state, declared)
        return Outcome(
            state=state,
            evaluation=detail.evaluation,
            bias=bias,
            after_release=lambda: points.after_release(bias, detail.evaluation, state) if bias else None,
        )

    def _untrained(self, state: ServerState, points: AuditPoints) -> tuple[ServerState, tuple[Decision, ...]]:
        """Evaluate the first model where a hook waits for the data, or the algorithm learns from evaluations."""
        wanted = self._algorithm.learns or points.wait_for_data
        if not wanted or state.round > 0 or state.part("record"):
            return state, ()
        evaluation = self._evaluate(state, points)
        said = points.data_counted(evaluation, state)
        return self._after(evaluation, state), said

    def _after(self, evaluation: Evaluation, state: ServerState) -> ServerState:
        """The state once it was evaluated: counted, and the algorithm has learnt from it."""
        kept_back = state.part("record").get("kept_back", False) or evaluation.keeps_back
        state = with_first_loss(self.task, self.plan, state, evaluation)
        state = state.with_parts(record={"kept_back": kept_back})
        if self._algorithm.learns:
            state = state.with_parts(algorithm=self._algorithm.learn(state.part("algorithm"), evaluation, self.plan))
        return replace(state, evaluated=state.evaluated + 1)

    @property
    def _algorithm(self) -> Algorithm:
        return Method.of(self.plan).algorithm

    def _no_quorum(self, report: RoundReport, state: ServerState) -> RoundFailedError | None:
        """Why the run pauses after a round without a quorum; None where it is tried again, or had one."""
        most = self.plan.federation.round_attempts
        if report.committed or (state.attempt < most and not _refused(report)):
            return None
        return RoundFailedError(
            f"round {report.round} had {len(report.counted)} valid updates in attempt {state.attempt} of "
            f"{max(most, state.attempt)}, and the quorum is {self.plan.federation.quorum}{_why_not(report)}; "
            f"{'the last committed round is in the checkpoint' if state.round else 'no round was committed yet'}"
        )

    def _diverged(self, evaluation: Evaluation | None, state: ServerState) -> DivergedError | None:
        """Why the run pauses after an evaluation; None where it does not, or no round is left to save."""
        why = diverged(self.plan, state, evaluation) if evaluation and not done(state, self.plan) else None
        if why is None:
            return None
        advice = "Begin a new run with a smaller learning rate or a federation.max-update-norm"
        if is_finite(state.parameters.buffer):
            advice += ", or resume this one as it is"
        else:
            why += ", and the model itself is not finite, so that it cannot be resumed"
        return DivergedError(f"{why}; what was charged stays charged. {advice}")

    def _train(self, state: ServerState) -> tuple[ServerState, RoundReport]:
        if self.next_round is not None:
            return self.next_round(state)
        request = plan_round(state, self.plan, self.federation.available())
        self.on_request(request)
        return close_round(state, self.plan, request, self.federation.train(request))

    def _close(self, state: ServerState, report: RoundReport, started: float, points: AuditPoints) -> RoundRecord:
        evaluation = self._evaluate(state, points) if report.committed and self._due(state) else None
        return RoundRecord(
            report=report,
            evaluation=evaluation,
            decisions=points.round_evaluated(evaluation, state) if evaluation else (),
            epsilon=points.epsilon(state) if evaluation else None,
            wall_seconds=self.clock() - started,
            learning_rate=learning_rate(self.plan, report.round),
            algorithm=self._reported_algorithm(state, evaluation),
        )

    def _reported_algorithm(self, state: ServerState, evaluation: Evaluation | None) -> dict[str, Any] | None:
        """What the algorithm reports of the round; nothing where it would give back what an evaluation keeps back."""
        report = self._algorithm.report(state.part("algorithm"))
        if not self._algorithm.learns:
            return {"shown": True, **report} if report else None
        kept_back = state.part("record").get("kept_back", False) or (evaluation is not None and evaluation.keeps_back)
        return {"shown": False} if kept_back else {"shown": True, **report}

    def _released(self, state: ServerState, points: AuditPoints) -> Evaluation:
        """Evaluate what is released; an earlier round's model again, for its own tables are no longer here."""
        if state.released_round == state.round:
            return self._evaluate(state, points)
        evaluation = self._reported(state.released, points, round=state.round, attempt=1)
        return replace(evaluation, round=state.released_round)

    def _evaluate(self, state: ServerState, points: AuditPoints) -> Evaluation:
        return self._reported(state.candidate, points, round=state.round, attempt=0)

    def _reported(self, parameters: Parameters, points: AuditPoints, *, round: int, attempt: int) -> Evaluation:
        """Evaluate on every client, or a sample of all, not on the cohort: its accuracy would answer another question.

        A client takes only requests that are newer than those before, by round and attempt.
        """
        available, last = self.federation.available(), round >= self.plan.federation.rounds
        cohort = choose_evaluated(available, self.plan, round=round, attempt=attempt, last=last)
        request = EvaluateRequest(round=round, attempt=attempt, cohort=cohort, parameters=parameters)
        reports = self.federation.evaluate(request)
        closed = close_evaluation(
            request,
            reports,
            points.tables,
            points.settings,
            measured=extras_of(self.task).metrics,
            privacy=evaluation_privacy(self.task, self.plan),
            available=len(available),
        )
        tested = self.test(parameters) if self.test is not None else {}
        return replace(closed, metrics={**closed.metrics, **tested})

    def _due(self, state: ServerState) -> bool:
        return state.round % self.plan.federation.evaluate_every == 0 or done(state, self.plan)


def _refused(report: RoundReport) -> bool:
    """Whether a client has refused for good: asking once more would only charge the others."""
    return any(rejection.refusal in FINAL for rejection in report.rejected)


def _why_not(report: RoundReport) -> str:
    """The codes of the replies that were not counted, each with its clients."""
    by_code: dict[str, list[str]] = {}
    for each in report.rejected:
        by_code.setdefault(f"{each.code} {each.refusal}".strip(), []).append(each.client)
    return "".join(f"; {code}: {named(sorted(clients))}" for code, clients in sorted(by_code.items()))


def _log_round(record: RoundRecord) -> None:
    report = record.report
    metrics = record.evaluation.metrics if record.evaluation else {}
    metrics_text = " ".join(f"{name}={value:.4f}" for name, value in metrics.items())
    _log.info(
        "round=%d attempt=%d committed=%s counted=%d/%d rejected=%d %s",
        report.round,
        report.attempt,
        report.committed,
        len(report.counted),
        len(report.asked),
        len(report.rejected),
        metrics_text,
    )
