"""fedcore's messages as Flower records, and back. One flat array a message, and nothing that is executed.

Whatever comes from the other side is checked before it is used: number type and size of the array against
the layout, names and types of every record.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from flwr.app import Array, ArrayRecord, ConfigRecord, MetricRecord, RecordDict

from fedcore.audit.groups import GroupTable
from fedcore.errors import DataError, UpdateRejectedError
from fedcore.messages import ClientReport, ClientUpdate, EvaluateRequest, TrainRequest
from fedcore.metrics import Metrics
from fedcore.parameters import Layout, Parameters
from fedcore.plan import RunPlan
from fedcore.privacy.plan import PrivacyEvent

_ARRAYS, _PARAMETERS, _HEADER, _METRICS = "arrays", "parameters", "fedcore", "metrics"
_NPY_MAGIC = b"\x93NUMPY"
_DTYPES = {"float32": torch.float32, "float64": torch.float64}


def pack_request(request: TrainRequest | EvaluateRequest, plan: RunPlan) -> RecordDict:
    """A request with the plan that it belongs to."""
    header = {
        "round": request.round,
        "attempt": request.attempt if isinstance(request, TrainRequest) else 0,
        "cohort": json.dumps(request.cohort),
        "plan": json.dumps(plan.to_mapping()),
        "plan-sha256": plan.sha256,
    }
    return _record(header, request.parameters)


def unpack_plan(content: RecordDict) -> RunPlan:
    """The plan of a request.

    Raises:
        DataError: It is absent, or its hash is another.
        PlanError: It is no valid plan.
    """
    header = _header(content)
    plan = RunPlan.from_mapping(_json(header, "plan", dict))
    if plan.sha256 != header.get("plan-sha256"):
        raise DataError("the plan in the request does not have the hash that the request names")
    return plan


def unpack_train_request(content: RecordDict, layout: Layout) -> TrainRequest:
    """Read a training request for a model of the given layout.

    Raises:
        DataError: A part is absent, or has another type, size or number type than expected.
    """
    header = _header(content)
    return TrainRequest(
        round=_integer(header, "round"),
        attempt=_integer(header, "attempt"),
        cohort=tuple(_json(header, "cohort", list)),
        parameters=_parameters(content, layout),
    )


def unpack_evaluate_request(content: RecordDict, layout: Layout) -> EvaluateRequest:
    """Read an evaluation request; raises as `unpack_train_request`."""
    request = unpack_train_request(content, layout)
    return EvaluateRequest(round=request.round, cohort=request.cohort, parameters=request.parameters)


def pack_update(update: ClientUpdate) -> RecordDict:
    """A client's update."""
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
    content = _record(header, update.difference)
    content[_METRICS] = _pack_metrics(update.metrics)
    return content


def unpack_update(content: RecordDict, layout: Layout, *, client: str) -> ClientUpdate:
    """Read the update of a client.

    Args:
        client: Who sent it, as the transport knows; a reply under another name is refused.

    Raises:
        UpdateRejectedError: With the code ``SCHEMA`` or ``LAYOUT``.
    """
    try:
        header = _header(content)
        _expect_sender(header, client)
        return ClientUpdate(
            client=client,
            round=_integer(header, "round"),
            difference=_parameters(content, layout),
            num_examples=_integer(header, "num-examples") if "num-examples" in header else None,
            metrics=_unpack_metrics(content),
            privacy_event=_unpack_event(header),
        )
    except DataError as error:
        raise UpdateRejectedError(client, "SCHEMA", str(error)) from error


def pack_report(report: ClientReport) -> RecordDict:
    """A client's evaluation report."""
    tables = {name: table.to_json() for name, table in report.tables.items()}
    header = {"client": report.client, "round": report.round, "tables": json.dumps(tables)}
    return RecordDict({_HEADER: ConfigRecord(header), _METRICS: _pack_metrics(report.metrics)})  # type: ignore[arg-type]


def unpack_report(content: RecordDict, *, client: str) -> ClientReport:
    """Read the evaluation report of a client.

    Raises:
        UpdateRejectedError: With the code ``SCHEMA``.
    """
    try:
        header = _header(content)
        _expect_sender(header, client)
        tables = {name: GroupTable.from_json(table) for name, table in _json(header, "tables", dict).items()}
        return ClientReport(
            client=client, round=_integer(header, "round"), metrics=_unpack_metrics(content), tables=tables
        )
    except DataError as error:
        raise UpdateRejectedError(client, "SCHEMA", str(error)) from error


def pack_name(client: str) -> RecordDict:
    """A client's answer to who it is."""
    return RecordDict({_HEADER: ConfigRecord({"client": client})})


def unpack_name(content: RecordDict) -> str:
    """The name in a client's answer.

    Raises:
        DataError: There is none.
    """
    name = _header(content).get("client")
    if not isinstance(name, str) or not 0 < len(name) <= 200:
        raise DataError("expected a client's name of up to 200 characters")
    return name


def _record(header: Mapping[str, Any], parameters: Parameters) -> RecordDict:
    array = Array(np.ascontiguousarray(parameters.buffer.detach().cpu().numpy()))
    return RecordDict({_ARRAYS: ArrayRecord({_PARAMETERS: array}), _HEADER: ConfigRecord(dict(header))})


def _header(content: RecordDict) -> Mapping[str, Any]:
    header = content.get(_HEADER)
    if not isinstance(header, ConfigRecord):
        raise DataError(f"expected a record {_HEADER!r} in the message")
    return header


def _parameters(content: RecordDict, layout: Layout) -> Parameters:
    """Decode the one array, after its declared type and size were checked against the layout."""
    record = content.get(_ARRAYS)
    if not isinstance(record, ArrayRecord) or list(record) != [_PARAMETERS]:
        raise DataError("expected exactly one array, named 'parameters'")
    array = record[_PARAMETERS]
    dtype = _DTYPES.get(array.dtype)
    if dtype is None or tuple(array.shape) != (layout.size,):
        raise DataError(
            f"expected float32 or float64 of shape ({layout.size},), found {str(array.dtype)[:20]} of shape "
            f"{tuple(array.shape)[:4]}"
        )
    if len(array.data) > layout.size * dtype.itemsize + 1024:
        raise DataError("the array is longer than its shape says")
    if array.stype != "numpy.ndarray" or not array.data.startswith(_NPY_MAGIC):
        raise DataError("expected an array in NumPy's own format")
    try:
        decoded = array.numpy()
    except Exception as error:  # whatever a forged header makes the decoder do, it costs this reply only
        raise DataError("the array cannot be decoded") from error
    if str(decoded.dtype) != array.dtype or decoded.shape != (layout.size,):
        raise DataError("the array is not what its header says")
    return Parameters(torch.from_numpy(np.array(decoded)), layout)


def _pack_metrics(metrics: Metrics) -> MetricRecord:
    record = MetricRecord()
    for name, value in metrics.sums.items():
        record[f"sum.{name}"] = float(value)
        record[f"count.{name}"] = float(metrics.counts[name])
    return record


def _unpack_metrics(content: RecordDict) -> Metrics:
    record = content.get(_METRICS)
    if not isinstance(record, MetricRecord) or len(record) > 200:
        raise DataError("expected a metric record of at most 200 numbers")
    parts: dict[str, dict[str, float]] = {"sum": {}, "count": {}}
    for key, value in record.items():
        kind, _, name = key.partition(".")
        if kind not in parts or not name or isinstance(value, list):
            raise DataError("expected metrics as sum.NAME and count.NAME, each one number")
        parts[kind][name] = float(value)
    return Metrics(sums=parts["sum"], counts=parts["count"])


def _unpack_event(header: Mapping[str, Any]) -> PrivacyEvent | None:
    if "privacy-event" not in header:
        return None
    event = _json(header, "privacy-event", dict)
    try:
        return PrivacyEvent(
            sampling_rate=float(event["sampling-rate"]),
            noise_multiplier=float(event["noise-multiplier"]),
            steps=int(event["steps"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise DataError("the privacy event is malformed") from error


def _expect_sender(header: Mapping[str, Any], client: str) -> None:
    if header.get("client") != client:
        raise DataError("the reply bears another client's name than its sender's")


def _integer(header: Mapping[str, Any], key: str) -> int:
    value = header.get(key)
    if not isinstance(value, int) or isinstance(value, bool):
        raise DataError(f"expected a whole number {key!r} in the message")
    return value


def _json(header: Mapping[str, Any], key: str, kind: type[Any]) -> Any:
    try:
        value = json.loads(header[key])
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise DataError(f"expected JSON under {key!r} in the message") from error
    if not isinstance(value, kind):
        raise DataError(f"expected a JSON {kind.__name__} under {key!r} in the message")
    return value
