"""From the clients' reports to an evaluation of the model."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import partial

from fedcore.audit.tables.values import AuditTable, pooled
from fedcore.audit.verdict.attribute_audit import AttributeAudit
from fedcore.audit.verdict.fairness import audit_tables
from fedcore.audit.verdict.limits import limits_named
from fedcore.audit.verdict.settings import AuditSettings, confidence_of_each
from fedcore.errors import UpdateRejectedError
from fedcore.messages import ClientReport, EvaluateRequest
from fedcore.metrics import Metrics
from fedcore.plan import RunPlan
from fedcore.plan.evaluation_schedule import chooses_a_round, rounds_evaluated
from fedcore.plan.stop_rule import StopRule
from fedcore.privacy.evaluation import ACCURACY, EvaluationPrivacy
from fedcore_server.evaluation.evaluated_clients import SampledClients, sampled
from fedcore_server.rounds.gate import check_report
from fedcore_server.rounds.state import Rejection


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """A model on the held-out rows of the federation.

    Attributes:
        round: That of the model.
        metrics: Means over all rows; also those of the plan's own test data, which begin with ``test_``.
        clients: Each client's own means, with its number of rows under ``n``.
        tables: Summed group tables by attribute.
        client_tables: Each client's own tables; they stay in memory.
        audits: Audit of each table.
        bytes_sent: Of the models sent to be evaluated.
        sampled: How sure the metrics are where a sample of the clients was asked; None where all were.
        min_cell: A client's own means are shown from this many rows on.
    """

    round: int
    metrics: Mapping[str, float]
    clients: Mapping[str, Mapping[str, float]]
    tables: Mapping[str, AuditTable]
    client_tables: Mapping[str, Mapping[str, AuditTable]]
    audits: Mapping[str, AttributeAudit]
    rejected: tuple[Rejection, ...]
    min_cell: int
    bytes_sent: int = 0
    sampled: SampledClients | None = None

    @property
    def keeps_back(self) -> bool:
        """Whether anything of a group, or of a client, is not shown."""
        few = any(means["n"] < self.min_cell for means in self.clients.values())
        return few or any(audit.suppressed or audit.thin or audit.thin_overall for audit in self.audits.values())


def close_evaluation(
    request: EvaluateRequest,
    reports: Iterable[ClientReport | Rejection],
    empty: Mapping[str, AuditTable],
    settings: AuditSettings,
    *,
    measured: Collection[str] | None = None,
    privacy: EvaluationPrivacy | None = None,
    available: int = 0,
) -> Evaluation:
    """Sum the reports, one at a time; a malformed one costs that client's rows only.

    Args:
        empty: A table of zeros for each audited attribute.
        measured: Names of the task's metrics; ``None`` where it does not declare them.
        privacy: Noise that every report must have.
        available: Clients of whom those asked are a sample, if more.
    """
    tables, counted = dict(empty), list[Metrics]()
    clients: dict[str, Mapping[str, float]] = {}
    client_tables: dict[str, Mapping[str, AuditTable]] = {}
    rejected: list[Rejection] = []
    asked = frozenset(request.cohort)
    check = partial(
        check_report, request=request, expected=dict(empty), asked=asked, measured=measured, privacy=privacy
    )
    for reply in reports:
        report = _checked(reply, clients, check)
        if isinstance(report, Rejection):
            rejected.append(report)
            continue
        counted.append(report.metrics)
        tables = {name: pooled(table, report.tables[name]) for name, table in tables.items()}
        client_tables[report.client] = report.tables
        clients[report.client] = {**_means(report.metrics, privacy), "n": report.metrics.counts.get("loss", 0.0)}
    return Evaluation(
        round=request.round,
        metrics=_means(sum(counted, start=Metrics()), privacy),
        clients=clients,
        tables=tables,
        client_tables=client_tables,
        audits=audit_tables(tables.values(), settings),
        rejected=tuple(rejected),
        min_cell=settings.min_cell,
        sampled=(
            sampled(counted, of=available, confidence=settings.confidence) if available > len(request.cohort) else None
        ),
        bytes_sent=len(request.cohort) * request.parameters.buffer.nbytes,
    )


def audit_settings(plan: RunPlan) -> AuditSettings:
    """The plan's audit section as the audit reads it.

    Where the evaluations choose one of the evaluated rounds, or the last, the intervals of all rounds hold together at
    the plan's confidence; otherwise that of the chosen round would not hold.
    """
    audit, rule = plan.audit, StopRule.of(plan)
    stops = rule is not None and not rule.on_test_data
    looks = rounds_evaluated(plan) if stops or chooses_a_round(plan) else 1
    return AuditSettings(
        threshold=audit.threshold,
        favourable=audit.favourable,
        confidence=confidence_of_each(audit.confidence, looks) if looks > 1 else audit.confidence,
        looks=looks,
        stops_early=stops,
        min_cell=audit.min_cell,
        score_bins=audit.score_bins,
        references=dict(audit.references),
        limits=tuple(
            each
            for limit in audit.limits
            for each in limits_named(
                limit.metric,
                attribute=limit.attribute,
                kind=limit.kind,
                at_most=limit.at_most,
                at_least=limit.at_least,
            )
        ),
    )


def _checked(
    reply: ClientReport | Rejection,
    counted: Mapping[str, Mapping[str, float]],
    check: Callable[[ClientReport], None],
) -> ClientReport | Rejection:
    if isinstance(reply, Rejection):
        return reply
    if reply.client in counted:
        return Rejection(client=reply.client, code="DUPLICATE", reason="this client's report was counted already")
    try:
        check(reply)
    except UpdateRejectedError as error:
        return Rejection(client=error.client, code=error.code, reason=str(error))
    return reply


def _means(metrics: Metrics, privacy: EvaluationPrivacy | None) -> dict[str, float]:
    """Means over rows, with shares clipped to their range after noise."""
    means = metrics.means()
    if privacy is not None and ACCURACY in means:
        means[ACCURACY] = min(1.0, max(0.0, means[ACCURACY]))
    return means
