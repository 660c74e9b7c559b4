"""The server's gate: clients are untrusted inputs, and a bad reply costs that reply, never the round."""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from fedcore.audit.tables.values import AuditTable
from fedcore.errors import DataError, LayoutError, UpdateRejectedError
from fedcore.messages import ClientReport, ClientUpdate, EvaluateRequest, TrainRequest, UpdateBlock
from fedcore.method.exchange import vector_of
from fedcore.method.method import Method
from fedcore.metrics import MetricColumns
from fedcore.plan import RunPlan
from fedcore.privacy.evaluation import ACCURACY, LOSS, EvaluationPrivacy
from fedcore.privacy.plan import PrivacyPlan
from fedcore.storage.large_vectors import is_finite, rough_norms, rows_of
from fedcore_server.rounds.state import Rejection

NOT_FINITE = "the metrics are not finite sums with counts"
_log = logging.getLogger("fedcore.server")

_LARGEST_COUNT = 1e12
_LARGEST_SUM = 1e100
_TRAINING_METRICS = ("loss",)
_METRIC_NAME = re.compile("[a-z0-9_]{1,64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """Accepted updates.

    Attributes:
        block: All but the vectors.
        vectors: What the clients sent, decoded, a row for each; shape ``(k, d)``.
        norms: Euclidean norm of each row.
    """

    block: UpdateBlock
    vectors: Mapping[str, Tensor]
    norms: Mapping[str, Sequence[float]]

    @property
    def clients(self) -> tuple[str, ...]:
        return self.block.clients

    def rows(self, which: Sequence[int]) -> Opened:
        return Opened(
            block=self.block.rows(which),
            vectors={name: rows_of(rows, which) for name, rows in self.vectors.items()},
            norms={name: [norms[row] for row in which] for name, norms in self.norms.items()},
        )

    def only(self, kept: Sequence[bool]) -> Iterator[Opened]:
        """The rows that are kept; nothing where none is."""
        if all(kept):
            yield self
        elif any(kept):
            yield self.rows([row for row, keep in enumerate(kept) if keep])


def opened_replies(
    replies: Iterable[ClientUpdate | UpdateBlock | Rejection], request: TrainRequest, plan: RunPlan, method: Method
) -> Iterator[Opened | Rejection]:
    """The replies opened, or why they are rejected; a client's second reply is rejected."""
    gate = _Gate(request, plan, method)
    for reply in replies:
        if isinstance(reply, Rejection):
            yield gate.judged(reply)
        else:
            yield from gate.opened(reply if isinstance(reply, UpdateBlock) else UpdateBlock.of(reply))


class _Gate:
    """The gate of one round.

    Guarantee:
        Under unit `client`, whether a client's numbers are finite, how long its update is, what its training metrics
        are, and whether it failed after it had read its data depends on its rows, and shows neither in who was counted
        nor in a rejection: it counts as zero, which is within every clip norm.
    """

    def __init__(self, request: TrainRequest, plan: RunPlan, method: Method) -> None:
        self._request, self._method, self._most = request, method, plan.federation.max_examples
        self._cohort, self._seen = frozenset(request.cohort), set[str]()
        self._codec = method.exchange.codec(vector_of(request.parameters.buffer))
        self._by_client = plan.privacy.unit == "client"
        privacy = PrivacyPlan.from_run_plan(plan)
        self._event = privacy.event(1) if privacy else None

    def judged(self, reply: Rejection) -> Opened | Rejection:
        """A client's refusal, counted as zero where it may depend on its rows."""
        if not (self._by_client and reply.refusal and reply.read_data):
            return reply
        # For the operator, who is trusted; none of it is written to the run directory.
        _log.warning("%s refused (%s) after it had read its data, and counts as zero", reply.client, reply.refusal)
        return self._zero(reply.client)

    def opened(self, block: UpdateBlock) -> Iterator[Opened | Rejection]:
        """A block is checked whole; where something is wrong with it, one client after the other."""
        try:
            opened: Opened | Rejection = self._checked(block)
        except UpdateRejectedError as error:
            if len(block.clients) > 1:
                for row in range(len(block.clients)):
                    yield from self.opened(block.rows([row]))
                return
            opened = Rejection(client=error.client, code=error.code, reason=str(error))
            if error.code == "NONFINITE" and self._by_client:
                opened = self._zero(error.client)
        if isinstance(opened, Opened) or opened.code == "NONFINITE":
            self._seen.update(block.clients)
        yield opened

    def _checked(self, block: UpdateBlock) -> Opened:
        """Updates that are accepted, with their numbers of examples cut to the plan's `max_examples`.

        The number is only claimed. A false one gains nothing beyond the cap; an honest large client, where the cap was
        set too low, loses weight and not its place in the round.

        Raises:
            UpdateRejectedError: In the name of the first client.
        """
        client = block.clients[0]
        self._check_expected(block)
        if self._by_client:
            block = replace(block, metrics=MetricColumns())
        try:
            vectors = self._codec.decode(block.values, rows=len(block.clients))
        except (LayoutError, DataError) as error:
            raise UpdateRejectedError(client, "LAYOUT", str(error)) from error
        lengths = {name: rough_norms(rows) for name, rows in vectors.items()}
        if not all(math.isfinite(norm) for each in lengths.values() for norm in each):
            self._check_finite(client, vectors)
        _check_weights(block, self._method)
        if block.privacy_event != self._event:
            raise UpdateRejectedError(client, "PRIVACY", "the update was not made with the plan's privacy")
        if self._event and block.metrics.sums:
            raise UpdateRejectedError(client, "PRIVACY", "a private update must hold no training metric")
        _check_metrics(client, block.metrics, _TRAINING_METRICS)
        _check_accuracies(client, block.metrics)
        most = tuple(None if count is None else min(count, self._most) for count in block.num_examples)
        return Opened(block=replace(block, values={}, num_examples=most), vectors=vectors, norms=lengths)

    def _check_expected(self, block: UpdateBlock) -> None:
        names, client = set(block.clients), block.clients[0]
        if len(names) < len(block.clients) or names & self._seen:
            raise UpdateRejectedError(client, "DUPLICATE", "this client has sent an update already")
        if not names <= self._cohort or block.round != self._request.round:
            raise _not_asked(client, block.round)

    def _check_finite(self, client: str, vectors: Mapping[str, Tensor]) -> None:
        """Name the first tensor of the model that is not finite; where only a norm is not, there is none."""
        views, numbers = self._request.parameters.layout.views, self._method.algorithm.numbers
        for vector, row in ((name, row) for name, rows in vectors.items() for row in rows):
            for name, view in [(vector, row)] if vector in numbers else views(row):
                if not is_finite(view.flatten()):
                    why = f"the update holds numbers that are not finite, first in {name!r}"
                    raise UpdateRejectedError(client, "NONFINITE", why)

    def _zero(self, client: str) -> Opened:
        block = UpdateBlock(clients=(client,), round=self._request.round, values={}, num_examples=(None,))
        zeros = torch.zeros_like(self._request.parameters.buffer).unsqueeze(0)
        return Opened(block=block, vectors={"update": zeros}, norms={"update": [0.0]})


def _not_asked(client: str, round: int) -> UpdateRejectedError:
    return UpdateRejectedError(client, "NOT_EXPECTED", f"no reply was asked of {client!r} for round {round}")


def check_report(
    report: ClientReport,
    request: EvaluateRequest,
    expected: dict[str, AuditTable],
    *,
    asked: Collection[str] | None = None,
    measured: Collection[str] | None = None,
    privacy: EvaluationPrivacy | None = None,
) -> None:
    """Refuse a malformed report.

    A report with one unknown metric or a number that is not finite is refused whole: every client measures with the
    same installed task, so it does not come from that task.

    Args:
        expected: An empty table for each audited attribute, with the plan's vocabulary.
        asked: The request's cohort as a set, which a hundred thousand reports are looked up in.
        measured: Names of the task's metrics; ``None`` where it does not declare them.
        privacy: Noise that the report must have, where the plan asks for it.

    Raises:
        UpdateRejectedError: With the code ``NOT_EXPECTED``, ``METRICS`` or ``TABLE``.
    """
    if report.client not in (request.cohort if asked is None else asked) or report.round != request.round:
        raise _not_asked(report.client, report.round)
    metrics = MetricColumns.of(report.metrics)
    _check_metrics(report.client, metrics, measured if privacy is None else (LOSS, ACCURACY))
    if privacy is None:
        _check_accuracies(report.client, metrics)
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


def _check_weights(block: UpdateBlock, method: Method) -> None:
    known = [count for count in block.num_examples if count is not None]
    if len(known) < len(block.clients) and method.rule.by_examples:
        raise UpdateRejectedError(
            block.clients[0], "WEIGHT", "the rule weights by examples, and the update has no number of them"
        )
    if min(known, default=0) < 0:
        raise UpdateRejectedError(block.clients[0], "WEIGHT", "the number of examples is negative")


def _check_metrics(client: str, metrics: MetricColumns, allowed: Collection[str] | None) -> None:
    columns = (*metrics.sums.values(), *metrics.counts.values())
    if metrics.sums.keys() != metrics.counts.keys() or not all(all(map(math.isfinite, each)) for each in columns):
        raise UpdateRejectedError(client, "METRICS", NOT_FINITE)
    if not all(_METRIC_NAME.fullmatch(name) for name in metrics.sums):
        raise UpdateRejectedError(client, "METRICS", "a metric's name is not of lower-case letters, digits and _")
    if allowed is not None and not set(metrics.sums) <= set(allowed):
        raise UpdateRejectedError(
            client, "METRICS", f"a metric is none of the task's own: {', '.join(sorted(allowed))}"
        )
    if any(max(map(abs, totals)) > _LARGEST_SUM for totals in metrics.sums.values()):
        raise UpdateRejectedError(client, "METRICS", "a metric's sum is too large")
    if any(not 0 <= min(counts) <= max(counts) <= _LARGEST_COUNT for counts in metrics.counts.values()):
        raise UpdateRejectedError(client, "METRICS", "a metric's count is negative or too large")


def _check_accuracies(client: str, metrics: MetricColumns) -> None:
    named = [name for name in metrics.sums if "accuracy" in name]
    pairs = (pair for name in named for pair in zip(metrics.sums[name], metrics.counts[name], strict=True))
    if any(not 0 <= total <= count for total, count in pairs):
        raise UpdateRejectedError(client, "METRICS", "an accuracy is outside its range")
