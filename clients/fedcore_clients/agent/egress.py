"""The last check of a reply: only what was checked is sent, and a reply that holds more is refused."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
from flwr.app import RecordDict
from numpy.typing import NDArray

from fedcore.errors import DataError, LayoutError, UpdateRejectedError
from fedcore.refusals import Refusal
from fedcore.segments import ITEM_BYTES
from fedcore.storage.mapped_bytes import let_go
from fedcore.wire.records import ARRAYS, HEADER, header_of, one_array, segments_of
from fedcore.wire.replies import METRICS, event_in, metrics_in, pack_report, unpack_report
from fedcore_clients.policy.reply_gate import UpdateFacts, check_report, check_update
from fedcore_clients.policy.request_facts import RequestFacts
from fedcore_clients.policy.settings import Policy

_UPDATE_RECORDS = frozenset({ARRAYS, HEADER, METRICS})
_UPDATE_HEADER = frozenset({"client", "round", "num-examples", "privacy-event"})


def checked_reply(content: RecordDict, facts: RequestFacts, policy: Policy, *, client: str) -> RecordDict:
    """The reply as it may leave.

    Raises:
        RefusedError: The policy does not allow it, or it holds what no reply of its kind has.
    """
    try:
        checked = _checked_report if facts.kind == "evaluate" else _checked_update
        return checked(content, facts, policy, client)
    except (DataError, UpdateRejectedError) as error:
        raise Refusal.SCHEMA(str(error)) from error


def _checked_report(content: RecordDict, facts: RequestFacts, policy: Policy, client: str) -> RecordDict:
    report = unpack_report(content, client=client)
    if report.round != facts.round:
        raise DataError("the report is of another round than was asked for")
    check_report(report, facts, policy, held_out_rows=int(report.metrics.counts.get("loss", 0)))
    return pack_report(report)


def _checked_update(content: RecordDict, facts: RequestFacts, policy: Policy, client: str) -> RecordDict:
    header, array = header_of(content), one_array(content)
    if set(content) - _UPDATE_RECORDS or set(header) - _UPDATE_HEADER:
        raise DataError("the update holds unexpected records")
    if (header.get("client"), header.get("round")) != (client, facts.round):
        raise DataError("the update is another client's, or of another round than was asked for")
    update = UpdateFacts(
        vectors=_vectors(content, facts),
        num_examples=cast("int | None", header.get("num-examples")),
        metrics=metrics_in(content),
        privacy_event=event_in(header),
    )
    check_update(update, facts, policy)
    let_go(array.data)
    return content


def _vectors(content: RecordDict, facts: RequestFacts) -> dict[str, NDArray[Any]]:
    """What the update holds, decoded. Without encodings an array of the request's own type and size is not looked into.

    Raises:
        RefusedError: It is not what plan and algorithm declare.
    """
    array = one_array(content)
    plain = not facts.plan.aggregation.encode
    if plain and array.dtype == facts.model_dtype and len(array.data) == facts.array_bytes:
        return {"update": np.frombuffer(array.data, np.dtype(array.dtype))}
    from fedcore.aggregation.contract import Array
    from fedcore.method.exchange import Exchange

    exchange, precision = Exchange.of(facts.plan), facts.plan.training.precision
    size = facts.array_bytes // ITEM_BYTES[precision] // (1 + len(exchange.algorithm.shares))
    codec = exchange.codec(Array(dtype=precision, size=size))
    try:
        decoded = codec.decode(segments_of(content, codec.form))
    except (DataError, LayoutError) as error:
        raise Refusal.LAYOUT(f"the update is not what the plan declares: {error}") from error
    return {name: vector.numpy() for name, vector in decoded.items()}
