"""The server's gate: clients are untrusted inputs, and a bad reply costs that reply, never the round."""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from fedcore.aggregation.codec import Codec
from fedcore.audit.tables.values import AuditTable
from fedcore.errors import DataError, LayoutError, UpdateRejectedError
from fedcore.messages import ClientReport, ClientUpdate, EvaluateRequest, TrainRequest
from fedcore.method.exchange import vector_of
from fedcore.method.method import Method
from fedcore.metrics import Metrics
from fedcore.plan import RunPlan
from fedcore.privacy.evaluation import ACCURACY, LOSS, EvaluationPrivacy
from fedcore.privacy.plan import PrivacyPlan
from fedcore.storage.large_vectors import is_finite
from fedcore.storage.large_vectors import norm as vector_norm
from fedcore_server.rounds.state import Rejection

NOT_FINITE = "the metrics are not finite sums with counts"
_log = logging.getLogger("fedcore.server")

_LARGEST_COUNT = 1e12
_LARGEST_SUM = 1e100
_TRAINING_METRICS = ("loss",)
_METRIC_NAME = re.compile("[a-z0-9_]{1,64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """An accepted update.

    Attributes:
        vectors: What the client sent, decoded; each of the model's size.
        norms: Euclidean norm of each.
    """

    update: ClientUpdate
    vectors: Mapping[str, Tensor]
    norms: Mapping[str, float]

    @property
    def client(self) -> str:
        return self.update.client

    @property
    def norm(self) -> float:
        """Norm of the update."""
        return self.norms["update"]


def opened_replies(
    replies: Iterable[ClientUpdate | Rejection], request: TrainRequest, plan: RunPlan, method: Method
) -> Iterator[Opened | Rejection]:
    """Each reply opened, or why it is rejected; a client's second reply is rejected."""
    seen: set[str] = set()
    codec = method.exchange.codec(vector_of(request.parameters.buffer))
    for reply in replies:
        if reply.client in seen and isinstance(reply, ClientUpdate):
            yield Rejection(client=reply.client, code="DUPLICATE", reason="this client has sent an update already")
            continue
        try:
            opened = _opened(reply, request, plan, method, codec)
        except UpdateRejectedError as error:
            yield Rejection(client=error.client, code=error.code, reason=str(error))
            continue
        if isinstance(opened, Opened):
            seen.add(opened.client)
        yield opened


def _opened(
    reply: ClientUpdate | Rejection, request: TrainRequest, plan: RunPlan, method: Method, codec: Codec
) -> Opened | Rejection:
    """A reply, opened or rejected.

    Guarantee:
        Under unit `client`, whether a client's numbers are finite, how long its update is, what its training metrics
        are, and whether it failed after it had read its data depends on its rows, and shows neither in who was counted
        nor in a rejection: it counts as zero, which is within every clip norm.
    """
    by_client = plan.privacy.unit == "client"
    if isinstance(reply, Rejection):
        if not (by_client and reply.refusal and reply.read_data):
            return reply
        # For the operator, who is trusted; none of it is written to the run directory.
        _log.warning("%s refused (%s) after it had read its data, and counts as zero", reply.client, reply.refusal)
        return _zero(reply.client, request)
    update = replace(reply, metrics=Metrics()) if by_client else reply
    _check_expected(update.client, update.round, request)
    vectors = _decoded(update, codec)
    norms = {name: vector_norm(vector) for name, vector in vectors.items()}
    if not all(math.isfinite(norm) for norm in norms.values()) and not all(
        is_finite(vector) for vector in vectors.values()
    ):
        if by_client:
            return _zero(update.client, request)
        raise UpdateRejectedError(update.client, "NONFINITE", _not_finite(vectors, request))
    check_update(update, plan, method)
    return Opened(update=_capped(update, plan), vectors=vectors, norms=norms)


def check_update(update: ClientUpdate, plan: RunPlan, method: Method) -> None:
    """Check everything in an update except its vectors.

    Raises:
        UpdateRejectedError: With the code ``WEIGHT``, ``PRIVACY`` or ``METRICS``.
    """
    _check_weight(update, method)
    privacy = PrivacyPlan.from_run_plan(plan)
    if update.privacy_event != (privacy.event(1) if privacy else None):
        raise UpdateRejectedError(update.client, "PRIVACY", "the update was not made with the plan's privacy")
    if privacy and update.metrics.sums:
        raise UpdateRejectedError(update.client, "PRIVACY", "a private update must hold no training metric")
    _check_metrics(update.client, update.metrics, _TRAINING_METRICS)
    _check_accuracies(update.client, update.metrics)


def _decoded(update: ClientUpdate, codec: Codec) -> dict[str, Tensor]:
    try:
        return codec.decode(update.values)
    except (LayoutError, DataError) as error:
        raise UpdateRejectedError(update.client, "LAYOUT", str(error)) from error


def _zero(client: str, request: TrainRequest) -> Opened:
    update = ClientUpdate(client=client, round=request.round, values={}, num_examples=None)
    return Opened(update=update, vectors={"update": torch.zeros_like(request.parameters.buffer)}, norms={"update": 0.0})


def _not_finite(vectors: Mapping[str, Tensor], request: TrainRequest) -> str:
    views = (view for vector in vectors.values() for view in request.parameters.layout.views(vector))
    first = next(name for name, view in views if not is_finite(view.flatten()))
    return f"the update holds numbers that are not finite, first in {first!r}"


def _capped(update: ClientUpdate, plan: RunPlan) -> ClientUpdate:
    """The update with its number of examples cut to the plan's `max_examples`.

    The number is only claimed. A false one gains nothing beyond the cap; an honest large client, where the cap was set
    too low, loses weight and not its place in the round.
    """
    if update.num_examples is None or update.num_examples <= plan.federation.max_examples:
        return update
    return replace(update, num_examples=plan.federation.max_examples)


def check_report(
    report: ClientReport,
    request: EvaluateRequest,
    expected: dict[str, AuditTable],
    *,
    measured: Collection[str] | None = None,
    privacy: EvaluationPrivacy | None = None,
) -> None:
    """Refuse a malformed report.

    A report with one unknown metric or a number that is not finite is refused whole: every client measures with the
    same installed task, so it does not come from that task.

    Args:
        expected: An empty table for each audited attribute, with the plan's vocabulary.
        measured: Names of the task's metrics; ``None`` where it does not declare them.
        privacy: Noise that the report must have, where the plan asks for it.

    Raises:
        UpdateRejectedError: With the code ``NOT_EXPECTED``, ``METRICS`` or ``TABLE``.
    """
    _check_expected(report.client, report.round, request)
    _check_metrics(report.client, report.metrics, measured if privacy is None else (LOSS, ACCURACY))
    if privacy is None:
        _check_accuracies(report.client, report.metrics)
    if set(report.tables) != set(expected):
        raise UpdateRejectedError(report.client, "TABLE", "the report's group tables are not those of the plan")
    for name, empty in expected.items():
        table = report.tables[name]
        if type(table) is not type(empty) or table.vocabulary != empty.vocabulary:
            raise UpdateRejectedError(report.client, "TABLE", f"the group table of {name!r} has another vocabulary")
        if table.variance != (privacy.cell_variance if privacy else 0.0):
            raise UpdateRejectedError(report.client, "TABLE", f"the group table of {name!r} has other noise than asked")
        if int(np.abs(table.counts).max()) > _LARGEST_COUNT:
            raise UpdateRejectedError(report.client, "TABLE", f"the group table of {name!r} has impossible counts")
        if privacy is None and sum(table.group_sizes.values()) != report.metrics.counts.get("loss", 0):
            raise UpdateRejectedError(
                report.client, "TABLE", f"the group table of {name!r} counts other rows than the metrics do"
            )


def _check_weight(update: ClientUpdate, method: Method) -> None:
    count = update.num_examples
    if count is None and method.rule.by_examples:
        raise UpdateRejectedError(
            update.client, "WEIGHT", "the rule weights by examples, and the update has no number of them"
        )
    if count is not None and count < 0:
        raise UpdateRejectedError(update.client, "WEIGHT", "the number of examples is negative")


def _check_expected(client: str, round: int, request: TrainRequest | EvaluateRequest) -> None:
    if client not in request.cohort or round != request.round:
        raise UpdateRejectedError(client, "NOT_EXPECTED", f"no reply was asked of {client!r} for round {round}")


def _check_metrics(client: str, metrics: Metrics, allowed: Collection[str] | None) -> None:
    numbers = [*metrics.sums.values(), *metrics.counts.values()]
    if set(metrics.sums) != set(metrics.counts) or not all(math.isfinite(number) for number in numbers):
        raise UpdateRejectedError(client, "METRICS", NOT_FINITE)
    if not all(_METRIC_NAME.fullmatch(name) for name in metrics.sums):
        raise UpdateRejectedError(client, "METRICS", "a metric's name is not of lower-case letters, digits and _")
    if allowed is not None and not set(metrics.sums) <= set(allowed):
        raise UpdateRejectedError(
            client, "METRICS", f"a metric is none of the task's own: {', '.join(sorted(allowed))}"
        )
    if any(abs(total) > _LARGEST_SUM for total in metrics.sums.values()):
        raise UpdateRejectedError(client, "METRICS", "a metric's sum is too large")
    if any(not 0 <= count <= _LARGEST_COUNT for count in metrics.counts.values()):
        raise UpdateRejectedError(client, "METRICS", "a metric's count is negative or too large")


def _check_accuracies(client: str, metrics: Metrics) -> None:
    if any("accuracy" in name and not 0 <= total <= metrics.counts[name] for name, total in metrics.sums.items()):
        raise UpdateRejectedError(client, "METRICS", "an accuracy is outside its range")
