"""The results of a finished run, and the files that hold them."""

from __future__ import annotations

import importlib.metadata
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from torch import nn

import fedcore
from fedcore.audit.verdict.gap_words import reach_words
from fedcore.audit.verdict.report import BiasReport
from fedcore.plan import RunPlan
from fedcore.plan.evaluation_schedule import chooses_a_round
from fedcore.privacy.evaluation import evaluation_privacy
from fedcore.privacy.isolation import Isolation
from fedcore.privacy.plan import Relation, Unit
from fedcore.privacy.promise import Promise, promise_of
from fedcore.privacy.statement.build import privacy_statement
from fedcore.privacy.statement.fields import check_statement
from fedcore.report.model_card import model_card
from fedcore.report.release_words import withheld_words
from fedcore.storage.files import append_line
from fedcore.storage.mapped_bytes import sha256
from fedcore.task import Task
from fedcore_server.rounds.choice import choice_words
from fedcore_server.rounds.divergence import diverged
from fedcore_server.rounds.driver import Outcome
from fedcore_server.runs.directory import RunDirectory
from fedcore_server.runs.model_file import released_model, serialised
from fedcore_server.runs.release import RELEASED, WITHHELD, withheld_because
from fedcore_server.runs.run_warnings import lost_clients, too_long, warnings_about

_PACKAGES = ("torch", "flwr", "opacus", "dp-accounting", "numpy")


@dataclass(frozen=True, slots=True, kw_only=True)
class Results:
    """What ``summary.json``, ``privacy.json``, ``bias.json``, ``bias.md`` and ``model.safetensors`` hold.

    Attributes:
        split: How the rows lie with the clients; simulations only.
        after_release: Asks the audit hooks once more; the audit with what they say, or None.
    """

    model: nn.Module
    weights: memoryview
    summary: Mapping[str, Any]
    privacy: Mapping[str, Any] | None
    bias: BiasReport | None
    split: Mapping[str, Any] | None
    after_release: Callable[[], BiasReport | None]

    def write(self, directory: RunDirectory, *, rounds: Iterable[Mapping[str, Any]] | None) -> Path:
        """Write all files, the report last: where it stands, the run is finished.

        Args:
            rounds: Lines of the journal, for a run that was not written round by round.

        Returns:
            Path of the report.
        """
        from fedcore.report.page import write_report

        for record in rounds or ():
            append_line(directory.path / "rounds.jsonl", json.dumps(record, allow_nan=False))
        directory.write_json("privacy.json", self.privacy or {})
        self._write_bias(directory, self.bias)
        # After what is said of it, so that a crash leaves no model without its statement.
        directory.write_model(self.weights, WITHHELD if self.summary["withheld"] else RELEASED)
        if self.split is not None:
            directory.write_json("split.json", self.split)
        directory.write_json("summary.json", self.summary)
        if not self.summary["withheld"] and (said := self.after_release()):
            self._write_bias(directory, said)
        return write_report(directory.path)

    def _write_bias(self, directory: RunDirectory, bias: BiasReport | None) -> None:
        content = bias.to_json() if bias else {}
        directory.write_json("bias.json", content)
        directory.write_text("bias.md", model_card(content, self.summary, day=datetime.now(UTC).date()))


def build_results(
    *,
    task: Task,
    plan: RunPlan,
    outcome: Outcome,
    engine: str,
    examples: int,
    client_sizes: Sequence[int],
    wall_seconds: float,
    client_rounds: int,
    split: Mapping[str, Any] | None,
    verification: str,
    command: str | None,
    took_part: Mapping[str, Any] | None = None,
    privacy_warnings: Sequence[str] = (),
    ledgers: Mapping[str, Mapping[str, Any]] | None = None,
    acknowledged: int | None = None,
    isolation: Isolation | None = None,
) -> Results:
    """Put together what a finished run has to show.

    Args:
        examples: Rows of all clients, held-out ones included.
        client_sizes: Training rows of each client.
        client_rounds: Updates counted in `wall_seconds`.
        verification: Which checks of the privacy guarantee were run.
        took_part: Who took part, from `participation`; ``None`` where that is a secret.
        privacy_warnings: What the linter said of plan and model without refusing them.
        ledgers: The last receipt of each client that told one, as plain values; deployments only.
        acknowledged: The most charges that one client sent receipts of; deployments only.
        isolation: How records are kept apart; ``None`` where nothing is promised to them.

    Raises:
        PrivacyError: The privacy statement lacks something without which no model is released.
    """
    model = released_model(task, plan, outcome.state.released)
    weights = serialised(model)
    model_sha256 = sha256(weights)
    privacy = promise_of(plan)
    statement = (
        privacy_statement(
            privacy,
            rounds=outcome.state.round,
            asked=outcome.state.asked,
            client_sizes=[] if _rows_are_secret(privacy) else client_sizes,
            preprocessing=getattr(task, "preprocessing", "not covered: whatever the task's own load_data does"),
            verification=verification,
            model_sha256=model_sha256,
            versions=_versions(),
            run={"plan_sha256": plan.sha256, "finished": datetime.now(UTC).date().isoformat()},
            trials=plan.privacy.trials,
            warnings=privacy_warnings,
            contact=plan.privacy.contact,
            split_is_told=split is not None,
            evaluation=evaluation_privacy(task, plan),
            evaluated=outcome.state.evaluated,
            chosen_by_evaluation=chooses_a_round(plan),
            ledgers=ledgers or {},
            acknowledged=acknowledged,
            isolation=isolation,
        )
        if privacy
        else None
    )
    if statement is not None:
        check_statement(statement)
    withheld = withheld_because(plan, outcome.bias)
    summary = {
        "task": task.name,
        "engine": engine,
        "clients": plan.federation.clients,
        "rounds": outcome.state.round,
        "released_round": outcome.state.released_round,
        "examples": None if privacy and _rows_are_secret(privacy) else examples,
        "metrics": dict(outcome.evaluation.metrics),
        "epsilon": statement["epsilon"] if statement else None,
        "delta": statement["delta"] if statement else None,
        "unit": privacy.unit.value if privacy else None,
        "privacy_audit": None,  # until fedcore audit privacy refutes the claim
        "audit_verdict": outcome.bias and outcome.bias.verdict and outcome.bias.verdict.value,
        "withheld": withheld,
        "worst_gap": _worst_gap(outcome.bias),
        "wall_seconds": round(wall_seconds, 3),
        "client_rounds_per_second": round(client_rounds / wall_seconds, 3) if wall_seconds > 0 else None,
        "notes": list(getattr(task, "notes", ())),
        "warnings": [
            *([withheld_words(withheld)] if withheld else []),
            *([words] if (words := choice_words(plan, outcome.state)) else []),
            *([why] if (why := diverged(plan, outcome.state, outcome.evaluation)) else []),
            *warnings_about(outcome, statement, privacy),
            *lost_clients(took_part),
            *too_long(took_part, plan),
        ],
        "participation": dict(took_part["clients"]) if took_part else None,
        "model_sha256": model_sha256,
        "plan_sha256": plan.sha256,
        "fedcore_version": fedcore.__version__,
        "versions": _versions(),
        "command": command,
    }
    return Results(
        model=model,
        weights=weights,
        summary=summary,
        privacy=statement,
        bias=outcome.bias,
        split=split,
        after_release=outcome.after_release,
    )


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
    """Whether the number of rows is: under unit client it is no more than a fact about the experiment."""
    return privacy.unit is Unit.RECORD and privacy.relation is Relation.ADD_REMOVE


def _versions() -> dict[str, str]:
    return {"fedcore": fedcore.__version__} | {name: importlib.metadata.version(name) for name in _PACKAGES}
