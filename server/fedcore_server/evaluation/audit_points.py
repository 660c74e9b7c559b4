"""The points of a run at which hooks are called, and what each of their answers does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from fedcore.audit.tables.values import AuditTable, ValueTable
from fedcore.audit.verdict.attribute_audit import AttributeAudit
from fedcore.audit.verdict.gate import Verdict
from fedcore.audit.verdict.hooks import AuditContext, AuditHook, Decision, Point, run_hooks
from fedcore.audit.verdict.report import BiasReport
from fedcore.audit.verdict.settings import AuditSettings
from fedcore.errors import DataError, PlanError
from fedcore.plan import RunPlan
from fedcore.privacy.accounting import epsilon_of
from fedcore.privacy.promise import promise_of
from fedcore_server.evaluation.detail import Detail
from fedcore_server.evaluation.evaluation import Evaluation, audit_settings
from fedcore_server.rounds.state import ServerState


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditPoints:
    """Calls the hooks of a run.

    Attributes:
        hooks: In the order they are called.
        tables: A table of zeros for each audited attribute, as every client fills it.
    """

    plan: RunPlan
    hooks: Sequence[AuditHook] = ()
    tables: Mapping[str, AuditTable] = field(default_factory=dict)

    @property
    def settings(self) -> AuditSettings:
        return audit_settings(self.plan)

    @property
    def wait_for_data(self) -> bool:
        return any(Point.DATA in hook.points for hook in self.hooks)

    def plan_declared(self) -> tuple[Decision, ...]:
        """Call hooks at ``plan``; may be repeated, since hooks answer the same for the same plan.

        Raises:
            PlanError: A hook says FAIL; nothing is started.
        """
        decisions = self._ask(Point.PLAN, round=0, tables=self.tables)
        if refused := _refusals(decisions):
            raise PlanError([f"audit.hooks: {words}" for words in refused])
        return decisions

    def data_counted(self, evaluation: Evaluation, state: ServerState) -> tuple[Decision, ...]:
        """Call hooks at ``data``, with the held-out rows that the untrained model was evaluated on.

        Raises:
            DataError: A hook says FAIL; nothing is trained.
        """
        decisions = self._ask_of(Point.DATA, evaluation, state)
        if refused := _refusals(decisions):
            raise DataError("not trained on these data; " + "; ".join(refused))
        return decisions

    def round_evaluated(self, evaluation: Evaluation, state: ServerState) -> tuple[Decision, ...]:
        return self._ask_of(Point.ROUND_EVALUATED, evaluation, state)

    def report(self, detail: Detail, state: ServerState, declared: Sequence[Decision]) -> BiasReport | None:
        """Call hooks at ``candidate`` and then at ``before-release``.

        Args:
            detail: Of the model that is to be released.
            declared: Answers at ``plan``.

        Returns:
            The audit with all answers; None where nothing is audited and there are no hooks.
        """
        evaluation = detail.evaluation
        if not evaluation.audits and not self.hooks:
            return None
        return BiasReport(
            plan_sha256=self.plan.sha256,
            round=evaluation.round,
            settings=self.settings,
            audits=evaluation.audits,
            decisions=(
                *declared,
                *self._ask_of(Point.CANDIDATE, evaluation, state),
                *self._ask_of(Point.BEFORE_RELEASE, evaluation, state),
                *_missing_evidence(evaluation),
                *_moved(evaluation),
            ),
            measures=detail.measures,
            sites=detail.sites,
            clients=detail.clients,
        )

    def after_release(self, report: BiasReport, evaluation: Evaluation, state: ServerState) -> BiasReport | None:
        """Call hooks at ``after-release``; the report with answers, its verdict unchanged, or None without any."""
        decided = self._ask_of(Point.AFTER_RELEASE, evaluation, state)
        return replace(report, decisions=(*report.decisions, *decided)) if decided else None

    def epsilon(self, state: ServerState) -> float | None:
        privacy = promise_of(self.plan)
        return epsilon_of(privacy.event(state.asked), privacy.delta, privacy.relation) if privacy else None

    def _ask_of(self, point: Point, evaluation: Evaluation, state: ServerState) -> tuple[Decision, ...]:
        if not any(point in hook.points for hook in self.hooks):
            return ()  # ε takes time
        return self._ask(
            point,
            round=evaluation.round,
            tables=evaluation.tables,
            audits=evaluation.audits,
            metrics=evaluation.metrics,
            epsilon=self.epsilon(state),
        )

    def _ask(
        self,
        point: Point,
        *,
        round: int,
        tables: Mapping[str, AuditTable],
        audits: Mapping[str, AttributeAudit] | None = None,
        **known: Any,
    ) -> tuple[Decision, ...]:
        context = AuditContext(
            point=point,
            round=round,
            tables=tables,
            audits=audits or {},
            plan=self.plan.to_mapping(),
            plan_sha256=self.plan.sha256,
            **{"metrics": {}, "epsilon": None, **known},
        )
        return run_hooks(self.hooks, context)


def _refusals(decisions: Sequence[Decision]) -> list[str]:
    return [
        f"hook {decision.hook} refuses: {'; '.join(decision.findings) or 'it gives no reason'}"
        for decision in decisions
        if decision.verdict is Verdict.FAIL
    ]


def _missing_evidence(evaluation: Evaluation) -> tuple[Decision, ...]:
    """Groups that were not counted block a PASS."""
    if not (evaluation.audits and evaluation.rejected):
        return ()
    names = ", ".join(rejection.client for rejection in evaluation.rejected)
    finding = f"the audit lacks the rows of {names}, whose reports were rejected"
    return (Decision(verdict=Verdict.INCONCLUSIVE, findings=(finding,), hook="coverage"),)


def _moved(evaluation: Evaluation) -> tuple[Decision, ...]:
    """Rows beyond the declared range make errors look smaller; more than 1 % of them blocks a PASS."""
    for table in evaluation.tables.values():
        if isinstance(table, ValueTable) and (moved := int(table.moved.sum())):
            rows = sum(table.group_sizes.values())
            finding = (
                f"of {moved} of {rows} rows the target or the prediction is beyond audit.target-range, {table.low:g} "
                f"to {table.high:g}, and was moved to its end, which can only make errors smaller"
            )
            verdict = Verdict.INCONCLUSIVE if 100 * moved > rows else None
            return (Decision(verdict=verdict, findings=(finding,), hook="range"),)
    return ()
