"""The results of a finished run, and their files."""

from __future__ import annotations

import importlib.metadata
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from torch import nn

import fedcore
from fedcore.audit.verdict.gap_json import reach_words
from fedcore.audit.verdict.report import BiasReport
from fedcore.method.method import Method
from fedcore.method.names import rule_of
from fedcore.plan import RunPlan
from fedcore.plan.evaluation_schedule import chooses_a_round
from fedcore.plugins import name_of
from fedcore.privacy.evaluation import evaluation_privacy
from fedcore.privacy.isolation import Isolation
from fedcore.privacy.plan import Relation, Unit
from fedcore.privacy.promise import Promise, promise_of
from fedcore.privacy.statement.build import Release, privacy_statement
from fedcore.privacy.statement.statement import check_statement
from fedcore.report.model_card.documents import model_card
from fedcore.report.release_words import withheld_words
from fedcore.storage.files import append_line
from fedcore.storage.mapped_bytes import sha256
from fedcore.task import Task, extras_of
from fedcore_server.evaluation.choice import choice_words
from fedcore_server.evaluation.stopping import evaluations_left_out, rounds_left_out, stop_words, why_stopped
from fedcore_server.rounds.divergence import diverged
from fedcore_server.rounds.driver import Outcome
from fedcore_server.runs.directory import RunDirectory
from fedcore_server.runs.model_file import released_model, serialised
from fedcore_server.runs.release import RELEASED, WITHHELD, withheld_because
from fedcore_server.runs.run_warnings import lost_clients, too_long, warnings_about

_PACKAGES = ("torch", "flwr", "opacus", "dp-accounting", "numpy")


@dataclass(frozen=True, slots=True, kw_only=True)
class Results:
    """Content of ``summary.json``, ``privacy.json``, ``bias.json``, ``bias.md`` and ``model.safetensors``.

    Attributes:
        split: Rows of each client; simulations only.
        after_release: Calls the audit hooks once more; the audit with their answers, or None.
    """

    model: nn.Module
    weights: memoryview
    summary: Mapping[str, Any]
    privacy: Mapping[str, Any] | None
    bias: BiasReport | None
    split: Mapping[str, Any] | None
    after_release: Callable[[], BiasReport | None]

    def write(self, directory: RunDirectory, *, rounds: Iterable[Mapping[str, Any]] | None) -> Path:
        """Write all files, the report last: where it exists, the run is finished. Returns the report's path.

        Args:
            rounds: Lines of the journal, for a run that was not written round by round.
        """
        from fedcore.report.page import write_report

        for record in rounds or ():
            append_line(directory.path / "rounds.jsonl", json.dumps(record, allow_nan=False))
        directory.write_json("privacy.json", self.privacy or {})
        self._write_bias(directory, self.bias)
        # After its statement, so that a crash leaves no model without one.
        directory.write_model(self.weights, WITHHELD if self.summary["withheld"] else RELEASED)
        if self.split is not None:
            directory.write_json("split.json", self.split)
        directory.write_json("summary.json", self.summary)
        if not self.summary["withheld"] and (audited := self.after_release()):
            self._write_bias(directory, audited)
        return write_report(directory.path)

    def _write_bias(self, directory: RunDirectory, bias: BiasReport | None) -> None:
        content = bias.to_json() if bias else {}
        directory.write_json("bias.json", content)
        directory.write_text("bias.md", model_card(content, self.summary, day=datetime.now(UTC).date()))


@dataclass(frozen=True, slots=True, kw_only=True)
class FinishedRun:
    """What is known of a finished run.

    Attributes:
        examples: Rows of all clients, held-out ones included; ``None`` if not all clients reported them.
        client_sizes: Training rows of each client.
        records: Lines of ``rounds.jsonl``.
        split: Rows of each client; simulations only.
        verification: Which checks of the privacy guarantee were run.
        took_part: From `participation`; ``None`` where that is secret.
        privacy_warnings: The linter's warnings about plan and model.
        ledgers: The last receipt of each client that sends them, as plain values; deployments only.
        acknowledged: The most charges that one client sent receipts of; deployments only.
        isolation: How records are isolated; ``None`` where nothing is promised.
        energy: Keys of the summary about the energy used, where that is known; simulations only.
    """

    task: Task
    plan: RunPlan
    outcome: Outcome
    engine: str
    examples: int | None
    client_sizes: Sequence[int]
    wall_seconds: float
    records: Sequence[Mapping[str, Any]]
    split: Mapping[str, Any] | None
    verification: str
    command: str | None
    took_part: Mapping[str, Any] | None = None
    privacy_warnings: Sequence[str] = ()
    ledgers: Mapping[str, Mapping[str, Any]] | None = None
    acknowledged: int | None = None
    isolation: Isolation | None = None
    energy: Mapping[str, Any] = field(default_factory=dict)


def build_results(run: FinishedRun) -> Results:
    """Raises PrivacyError: The privacy statement lacks something without which no model is released."""
    model = released_model(run.task, run.plan, run.outcome.state.released)
    weights = serialised(model)
    model_sha256 = sha256(weights)
    statement = _statement(run, model_sha256)
    return Results(
        model=model,
        weights=weights,
        summary=_summary(run, statement, model_sha256),
        privacy=statement,
        bias=run.outcome.bias,
        split=run.split,
        after_release=run.outcome.after_release,
    )


def _statement(run: FinishedRun, model_sha256: str) -> dict[str, Any] | None:
    plan, state, privacy = run.plan, run.outcome.state, promise_of(run.plan)
    if privacy is None:
        return None
    released = Release(
        rounds=state.round,
        asked=state.asked,
        client_sizes=[] if _rows_are_secret(privacy) else run.client_sizes,
        preprocessing=extras_of(run.task).preprocessing,
        verification=run.verification,
        model_sha256=model_sha256,
        versions=_versions(),
        run={"plan_sha256": plan.sha256, "finished": datetime.now(UTC).date().isoformat()},
        trials=plan.privacy.trials,
        warnings=run.privacy_warnings,
        contact=plan.privacy.contact,
        split_is_shown=run.split is not None,
        evaluation=evaluation_privacy(run.task, plan),
        evaluated=state.evaluated,
        rounds_left_out=rounds_left_out(plan, state),
        evaluations_left_out=evaluations_left_out(plan, state),
        chosen_by_evaluation=chooses_a_round(plan),
        tested=plan.task.test_data is not None,
        ledgers=run.ledgers or {},
        acknowledged=run.acknowledged,
        isolation=run.isolation,
        start_sha256=plan.task.start_sha256,
    )
    statement = privacy_statement(privacy, released)
    check_statement(statement)
    return statement


def _summary(run: FinishedRun, statement: Mapping[str, Any] | None, model_sha256: str) -> dict[str, Any]:
    plan, outcome, privacy = run.plan, run.outcome, promise_of(run.plan)
    client_rounds = sum(len(line["counted"]) for line in run.records)
    return {
        "task": run.task.name,
        "engine": run.engine,
        "algorithm": plan.algorithm.name,
        "rule": name_of(rule_of(plan)),
        "encodings": [name_of(each) for each in plan.aggregation.encode],
        "clients": plan.federation.clients,
        "rounds": outcome.state.round,
        "released_round": outcome.state.released_round,
        "stopped": why_stopped(outcome.state),
        "examples": None if privacy and _rows_are_secret(privacy) else run.examples,
        "metrics": dict(outcome.evaluation.metrics),
        "evaluated_on": outcome.evaluation.sampled.to_json() if outcome.evaluation.sampled else None,
        "epsilon": statement["epsilon"] if statement else None,
        "delta": statement["delta"] if statement else None,
        "unit": privacy.unit.value if privacy else None,
        "privacy_audit": None,  # until fedcore audit privacy refutes the claim
        "audit_verdict": outcome.bias and outcome.bias.verdict and outcome.bias.verdict.value,
        "withheld": withheld_because(plan, outcome.bias),
        "worst_gap": _worst_gap(outcome.bias),
        "wall_seconds": round(run.wall_seconds, 3),
        "client_rounds_per_second": round(client_rounds / run.wall_seconds, 3) if run.wall_seconds > 0 else None,
        **_simulated(run),
        **run.energy,
        "bytes_sent": sum(line.get("bytes_sent", 0) for line in run.records),
        "bytes_received": sum(line.get("bytes_received", 0) for line in run.records),
        "notes": [*extras_of(run.task).notes, *Method.of(plan).notes],
        "warnings": _warnings(run, statement),
        "participation": dict(run.took_part["clients"]) if run.took_part else None,
        "model_sha256": model_sha256,
        "plan_sha256": plan.sha256,
        "fedcore_version": fedcore.__version__,
        "versions": _versions(),
        "command": run.command,
    }


def _simulated(run: FinishedRun) -> dict[str, float]:
    """Simulated time from the beginning to the last round, where the run has one."""
    clock = next((line["simulated_clock"] for line in reversed(run.records) if "simulated_clock" in line), None)
    return {} if clock is None else {"simulated_seconds": round(clock, 6)}


def _warnings(run: FinishedRun, statement: Mapping[str, Any] | None) -> list[str]:
    plan, outcome = run.plan, run.outcome
    withheld = withheld_because(plan, outcome.bias)
    own = (
        withheld and withheld_words(withheld),
        choice_words(plan, outcome.state),
        stop_words(plan, outcome.state),
        outcome.evaluation.sampled and outcome.evaluation.sampled.words(),
        diverged(plan, outcome.state, outcome.evaluation),
    )
    return [
        *(words for words in own if words),
        *warnings_about(outcome, statement, promise_of(plan)),
        *lost_clients(run.took_part),
        *too_long(run.took_part, plan),
    ]


def _worst_gap(bias: BiasReport | None) -> dict[str, Any] | None:
    gap = bias.worst_gap() if bias is not None else None
    if bias is None or gap is None:
        return None
    return {
        "which": bias.worst_gap_is(),
        "attribute": gap.attribute,
        "metric": gap.metric,
        "words": gap.words,
        "difference": gap.difference,
        "low": gap.difference_low,
        "high": gap.difference_high,
        "reach": reach_words(gap),
    }


def _rows_are_secret(privacy: Promise) -> bool:
    """Whether the number of rows is secret: under unit client it is only a fact about the experiment."""
    return privacy.unit is Unit.RECORD and privacy.relation is Relation.ADD_REMOVE


def _versions() -> dict[str, str]:
    return {"fedcore": fedcore.__version__} | {name: importlib.metadata.version(name) for name in _PACKAGES}
