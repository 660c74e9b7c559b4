"""Replies of clients as records."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

from flwr.app import ConfigRecord, MetricRecord, RecordDict

from fedcore.audit.tables.values import read_table
from fedcore.errors import DataError, UpdateRejectedError
from fedcore.messages import ClientReport, ClientUpdate, LedgerReceipt
from fedcore.metrics import Metrics
from fedcore.privacy.plan import PrivacyEvent
from fedcore.wire.records import ARRAYS, HEADER, array_and_header, header_of, integer_in, json_in, segments_of

if TYPE_CHECKING:
    from fedcore.segments import Form

METRICS = "metrics"
_RECEIPT = "ledger"
_CODE = re.compile("[A-Z_]{1,32}")


def pack_refusal(code: str, *, read_data: bool = True) -> RecordDict:
    """A client's refusal: a code, whether the request was charged and data opened before, and nothing else."""
    return RecordDict({HEADER: ConfigRecord({"refused": code, "read-data": read_data})})


def read_data_in(content: RecordDict) -> bool:
    """Whether a client that refused may have opened its data: unless it denies it."""
    return header_of(content).get("read-data") is not False


def refusal_in(content: RecordDict) -> str | None:
    """The code of a refusal; ``None`` for other replies. Raises `DataError` for an unknown code."""
    code = header_of(content).get("refused")
    if code is not None and not (isinstance(code, str) and _CODE.fullmatch(code)):
        raise DataError("expected a refusal's code of up to 32 capital letters")
    return code


def pack_update(update: ClientUpdate, form: Form) -> RecordDict:
    header: dict[str, Any] = {"client": update.client, "round": update.round}
    if update.num_examples is not None:
        header["num-examples"] = update.num_examples
    if update.privacy_event is not None:
        event = update.privacy_event
        header["privacy-event"] = json.dumps(
            {
                "sampling-rate": event.sampling_rate,
                "noise-multiplier": event.noise_multiplier,
                "steps": event.steps,
            }
        )
    content = array_and_header(header, form.packed(update.values))
    content[METRICS] = _pack_metrics(update.metrics)
    return content


def add_receipt(content: RecordDict, receipt: LedgerReceipt | None) -> None:
    """Add the state of the client's ledger to a packed update, if there is a receipt."""
    if receipt is not None:
        cast("ConfigRecord", content[HEADER])[_RECEIPT] = json.dumps(receipt.to_json())


def unpack_update(content: RecordDict, form: Form, *, client: str) -> ClientUpdate:
    """Read the update of a client.

    Args:
        client: The sender, as the transport knows; a reply under another name is refused.

    Raises:
        UpdateRejectedError: With the code ``SCHEMA`` or ``LAYOUT``.
    """
    try:
        header = header_of(content)
        _expect_records(content, {ARRAYS, HEADER, METRICS})
        _expect_sender(header, client)
        return ClientUpdate(
            client=client,
            round=integer_in(header, "round"),
            values=segments_of(content, form),
            num_examples=integer_in(header, "num-examples") if "num-examples" in header else None,
            metrics=metrics_in(content),
            privacy_event=event_in(header),
            receipt=_receipt_in(header),
        )
    except DataError as error:
        raise UpdateRejectedError(client, "SCHEMA", str(error)) from error


def pack_report(report: ClientReport) -> RecordDict:
    tables = {name: table.to_json() for name, table in report.tables.items()}
    header = {"client": report.client, "round": report.round, "tables": json.dumps(tables)}
    return RecordDict({HEADER: ConfigRecord(header), METRICS: _pack_metrics(report.metrics)})  # type: ignore[arg-type]


def unpack_report(content: RecordDict, *, client: str) -> ClientReport:
    """Read a client's evaluation report; raises `UpdateRejectedError` with the code ``SCHEMA``."""
    try:
        header = header_of(content)
        _expect_records(content, {HEADER, METRICS})
        _expect_sender(header, client)
        tables = {name: read_table(table) for name, table in json_in(header, "tables", dict).items()}
        return ClientReport(
            client=client, round=integer_in(header, "round"), metrics=metrics_in(content), tables=tables
        )
    except DataError as error:
        raise UpdateRejectedError(client, "SCHEMA", str(error)) from error


def _pack_metrics(metrics: Metrics) -> MetricRecord:
    record = MetricRecord()
    for name, value in metrics.sums.items():
        record[f"sum.{name}"] = float(value)
        record[f"count.{name}"] = float(metrics.counts[name])
    return record


def metrics_in(content: RecordDict) -> Metrics:
    """The metrics of a reply; raises `DataError` if malformed."""
    record = content.get(METRICS)
    if not isinstance(record, MetricRecord) or len(record) > 200:
        raise DataError("expected a metric record of at most 200 numbers")
    parts: dict[str, dict[str, float]] = {"sum": {}, "count": {}}
    for key, value in record.items():
        kind, _, name = key.partition(".")
        if kind not in parts or not name or isinstance(value, list):
            raise DataError("expected metrics as sum.NAME and count.NAME, each one number")
        parts[kind][name] = _as_float(value)
    return Metrics(sums=parts["sum"], counts=parts["count"])


def event_in(header: Mapping[str, Any]) -> PrivacyEvent | None:
    """The claimed privacy cost of an update; raises `DataError` if malformed."""
    if "privacy-event" not in header:
        return None
    event = json_in(header, "privacy-event", dict)
    try:
        return PrivacyEvent(
            sampling_rate=float(event["sampling-rate"]),
            noise_multiplier=float(event["noise-multiplier"]),
            steps=int(event["steps"]),
        )
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise DataError("the privacy event is malformed") from error


def _receipt_in(header: Mapping[str, Any]) -> LedgerReceipt | None:
    if _RECEIPT not in header:
        return None
    try:
        return LedgerReceipt(**json_in(header, _RECEIPT, dict))
    except TypeError as error:
        raise DataError("the ledger's receipt is malformed") from error


def _as_float(value: float) -> float:
    try:
        return float(value)
    except OverflowError as error:  # JSON's whole numbers have no end
        raise DataError("expected metrics that fit into a float") from error


def _expect_records(content: RecordDict, names: set[str]) -> None:
    if set(content) != names:
        raise DataError(f"expected the records {', '.join(sorted(names))} in the reply, and no others")


def _expect_sender(header: Mapping[str, Any], client: str) -> None:
    if header.get("client") != client:
        raise DataError("the reply has another client's name than its sender's")
