"""The gate for replies: the last check before they leave."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedcore.audit.tables.values import ValueTable
from fedcore.messages import ClientReport
from fedcore.metrics import Metrics
from fedcore.privacy.plan import PrivacyEvent, PrivacyPlan, Relation
from fedcore.refusals import Refusal
from fedcore.storage.mapped_bytes import let_go
from fedcore_clients.policy.request_facts import RequestFacts, shown
from fedcore_clients.policy.settings import Policy

_SLICE_BYTES = 16 * 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateFacts:
    """An update that is about to leave.

    Attributes:
        vectors: What the update holds, decoded, by name; each flat, and maybe mapped from a file.
        num_examples: Training rows, as the update reports them; ``None`` where the plan makes them secret.
    """

    vectors: Mapping[str, NDArray[Any]]
    num_examples: int | None
    metrics: Metrics = field(default_factory=Metrics)
    privacy_event: PrivacyEvent | None = None


def check_rows(num_rows: int, policy: Policy) -> None:
    """Refuse to train or evaluate on too few rows; called as soon as data is open.

    Raises:
        RefusedError: With the code ``MIN_COUNT``, which reveals only that there are too few.
    """
    if num_rows < policy.release.min_examples:
        raise Refusal.MIN_COUNT(f"release.min-examples is {policy.release.min_examples}, and there are fewer")


def check_update(update: UpdateFacts, request: RequestFacts, policy: Policy) -> None:
    """Refuse an update that the policy, or the promise made with the plan, does not allow.

    Raises:
        RefusedError: With the code ``PRIVACY``, ``MIN_COUNT``, ``METRICS``, ``NONFINITE`` or ``NORM``.
    """
    privacy = PrivacyPlan.from_run_plan(request.plan)
    _check_promise(update, privacy)
    if update.num_examples is not None:
        check_rows(update.num_examples, policy)
    _check_metrics(update.metrics, policy.release.training, "release.training")
    _check_values(update.vectors, policy.release.max_update_norm)


def check_report(report: ClientReport, request: RequestFacts, policy: Policy, *, held_out_rows: int) -> None:
    """Refuse an evaluation that reports more than the policy allows, or on too few rows.

    Raises:
        RefusedError: With the code ``MIN_COUNT`` or ``METRICS``.
    """
    check_rows(held_out_rows, policy)
    _check_metrics(report.metrics, policy.release.evaluation, "release.evaluation")
    for count in report.metrics.counts.values():
        check_rows(math.floor(count), policy)
    for name, table in report.tables.items():
        sums, counts = (policy.release.error_sums, "error-sums"), (policy.release.group_tables, "group-tables")
        listed, key = sums if isinstance(table, ValueTable) else counts
        if name != table.attribute or name not in listed:
            raise Refusal.METRICS(f"release.{key} does not list {shown(name)}")
        if name not in request.plan.audit.sensitive:
            raise Refusal.METRICS(f"the plan does not audit {shown(name)}")
        if (isinstance(table, ValueTable) or table.scored) and table.num_bins > policy.release.max_score_bins:
            raise Refusal.METRICS(f"release.max-score-bins is {policy.release.max_score_bins}")


def _check_promise(update: UpdateFacts, privacy: PrivacyPlan | None) -> None:
    if update.privacy_event != (privacy.event(1) if privacy else None):
        raise Refusal.PRIVACY("the update was not made with the plan's privacy")
    if privacy is None:
        return
    if update.metrics.sums or update.metrics.counts:
        raise Refusal.METRICS("a private update must hold no training metric, which would be another release")
    if privacy.relation is Relation.ADD_REMOVE and update.num_examples is not None:
        raise Refusal.PRIVACY("the number of rows is secret under add-remove, and the update reports it")


def _check_metrics(metrics: Metrics, allowed: Collection[str], key: str) -> None:
    if set(metrics.sums) != set(metrics.counts):
        raise Refusal.METRICS("each metric needs a sum and a count")
    for name in metrics.sums:
        if name not in allowed:
            raise Refusal.METRICS(f"{key} does not list {shown(name)}")
        if not (math.isfinite(metrics.sums[name]) and math.isfinite(metrics.counts[name])):
            raise Refusal.METRICS(f"metric {shown(name)} is not finite")


def _check_values(vectors: Mapping[str, NDArray[Any]], max_norm: float | None) -> None:
    """Check every number once, in slices: no copy of a large model is made. The norm is that of ``update``."""
    squares = 0.0
    step = _SLICE_BYTES // np.dtype(np.float64).itemsize
    with np.errstate(over="ignore"):
        for name, start in ((each, start) for each in vectors for start in range(0, len(vectors[each]), step)):
            part = vectors[name][start : start + step]
            if not np.isfinite(part).all():
                raise Refusal.NONFINITE("the update holds numbers that are not finite")
            squares += _sum_of_squares(part) if name == "update" else 0.0
            let_go(vectors[name].base)  # free the checked pages of a mapped file
    if max_norm is not None and math.sqrt(squares) > max_norm:
        raise Refusal.NORM(f"release.max-update-norm is {max_norm:g}, and the update's norm is larger")


def _sum_of_squares(part: NDArray[Any]) -> float:
    wide = part.astype(np.float64, copy=False)
    return float(np.dot(wide, wide))
