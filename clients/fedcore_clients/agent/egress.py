"""The last look at what leaves: only what was checked is sent, and a reply that holds more is refused."""

from __future__ import annotations

from typing import cast

import numpy as np
from flwr.app import RecordDict

from fedcore.errors import DataError, RefusedError, UpdateRejectedError
from fedcore.storage.mapped_bytes import let_go
from fedcore.wire.records import ARRAYS, HEADER, header_of, one_array
from fedcore.wire.replies import METRICS, event_in, metrics_in, pack_report, unpack_report
from fedcore_clients.policy.reply_gate import UpdateFacts, check_report, check_update
from fedcore_clients.policy.request_facts import RequestFacts
from fedcore_clients.policy.settings import Policy

_UPDATE_RECORDS = frozenset({ARRAYS, HEADER, METRICS})
_UPDATE_HEADER = frozenset({"client", "round", "num-examples", "privacy-event"})


def checked_reply(content: RecordDict, facts: RequestFacts, policy: Policy, *, client: str) -> RecordDict:
    """The reply as it may leave.

    Raises:
        RefusedError: The policy does not let it out, or it holds what no reply of its kind has.
    """
    try:
        if facts.kind == "evaluate":
            return _checked_report(content, facts, policy, client)
        return _checked_update(content, facts, policy, client)
    except (DataError, UpdateRejectedError) as error:
        raise RefusedError("SCHEMA", str(error)) from error


def _checked_report(content: RecordDict, facts: RequestFacts, policy: Policy, client: str) -> RecordDict:
    report = unpack_report(content, client=client)
    if report.round != facts.round:
        raise DataError("the report is of another round than was asked for")
    check_report(report, facts, policy, held_out_rows=int(report.metrics.counts.get("loss", 0)))
    return pack_report(report)


def _checked_update(content: RecordDict, facts: RequestFacts, policy: Policy, client: str) -> RecordDict:
    header, array = header_of(content), one_array(content)
    if set(content) - _UPDATE_RECORDS or set(header) - _UPDATE_HEADER:
        raise DataError("the update holds more than an update has")
    if (header.get("client"), header.get("round")) != (client, facts.round):
        raise DataError("the update is another client's, or of another round than was asked for")
    update = UpdateFacts(
        values=np.frombuffer(array.data, np.dtype(array.dtype)),
        num_examples=cast("int | None", header.get("num-examples")),
        metrics=metrics_in(content),
        privacy_event=event_in(header),
    )
    check_update(update, facts, policy)
    let_go(array.data)
    return content
