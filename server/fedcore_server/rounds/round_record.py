"""The record of a round: one line of ``rounds.jsonl``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from fedcore.audit.metrics.catalogue import value_estimates
from fedcore.audit.metrics.estimates import Measure
from fedcore.audit.metrics.rates import Rate
from fedcore.audit.tables.values import AuditTable, ValueTable
from fedcore.audit.verdict.attribute_audit import AttributeAudit, rate_json
from fedcore.audit.verdict.hooks import Decision
from fedcore_server.evaluation.evaluation import Evaluation
from fedcore_server.rounds.state import Rejection, RoundReport


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundRecord:
    """One line of ``rounds.jsonl``.

    Attributes:
        evaluation: None where the plan evaluates less often than every round.
        epsilon: Spent so far; None without privacy, or where the round was not evaluated.
        learning_rate: Of the clients' optimizers.
        algorithm: What the algorithm reports of its state; None where it reports nothing.
        stop: Why the run ends with this round, before its last.
        chosen_round: The best round so far, where the plan chooses one and any was within its limits.
    """

    report: RoundReport
    evaluation: Evaluation | None
    decisions: tuple[Decision, ...]
    epsilon: float | None
    wall_seconds: float
    learning_rate: float
    algorithm: Mapping[str, Any] | None = None
    chosen_round: int | None = None
    stop: str | None = None

    def to_json(self) -> dict[str, Any]:
        report, evaluation = self.report, self.evaluation
        return {
            "round": report.round,
            "attempt": report.attempt,
            "committed": report.committed,
            "asked": list(report.asked),
            "counted": list(report.counted),
            "examples": dict(report.num_examples),
            "receipts": {client: receipt.to_json() for client, receipt in report.receipts.items()},
            "rejected": _codes(report.rejected),
            "evaluation_rejected": _codes(evaluation.rejected) if evaluation else [],
            "training": dict(report.training),
            "learning_rate": self.learning_rate,
            "update_norm": report.update_norm,
            "clip_norm": report.clip_norm,
            "evaluation": dict(evaluation.metrics) if evaluation else None,
            "evaluated_on": evaluation.sampled.to_json() if evaluation and evaluation.sampled else None,
            "groups": served_by_group(evaluation) if evaluation else {},
            "group_metric": _group_metric(evaluation) if evaluation else None,
            "clients": _shown_clients(evaluation) if evaluation else {},
            "decisions": [decision.to_json() for decision in self.decisions],
            "epsilon": self.epsilon,
            "algorithm": None if self.algorithm is None else dict(self.algorithm),
            "chosen_round": self.chosen_round,
            "stop": self.stop,
            "bytes_sent": report.bytes_sent + (evaluation.bytes_sent if evaluation else 0),
            "bytes_received": report.bytes_received,
            "wall_seconds": round(self.wall_seconds, 6),
            **(report.timing.to_json() if report.timing else {}),
        }


def _codes(rejected: Iterable[Rejection]) -> list[dict[str, str]]:
    return [{"client": each.client, "code": each.code, "reason": each.reason} for each in rejected]


def _shown_clients(evaluation: Evaluation) -> dict[str, dict[str, float]]:
    return {
        name: dict(values) if values["n"] >= evaluation.min_cell else {"n": values["n"]}
        for name, values in evaluation.clients.items()
    }


def served_by_group(evaluation: Evaluation) -> dict[str, dict[str, dict[str, Any]]]:
    """Accuracy (for numeric targets, mean absolute error) of every group that may be shown, with intervals."""
    return {name: _served(audit, evaluation.tables[name]) for name, audit in evaluation.audits.items()}


def _group_metric(evaluation: Evaluation) -> str | None:
    """What `served_by_group` shows."""
    numbers = {isinstance(table, ValueTable) for table in evaluation.tables.values()}
    return None if not numbers else "mean_absolute_error" if True in numbers else "accuracy"


def _served(audit: AttributeAudit, table: AuditTable) -> dict[str, dict[str, Any]]:
    if isinstance(table, ValueTable):
        metric, errors = "mean_absolute_error", value_estimates(table)["mean_absolute_error"]
        served: Mapping[str, Rate | Measure] = {g: e.measure(audit.settings.confidence) for g, e in errors.items()}
    else:
        metric, served = "accuracy", audit.groups["accuracy"]
    return {group: rate_json(one, suppressed=audit.hides(metric, group)) for group, one in served.items()}
