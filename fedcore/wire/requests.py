"""Requests of servers as records."""

from __future__ import annotations

import hashlib
import json
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from flwr.app import RecordDict

from fedcore.algorithms.row_weights import RowWeights
from fedcore.errors import DataError
from fedcore.messages import EvaluateRequest, TrainRequest
from fedcore.plan import RunPlan
from fedcore.segments import MODEL, Form, Segment
from fedcore.wire.records import array_and_header, header_of, integer_in, json_in, segments_of

if TYPE_CHECKING:
    from fedcore.parameters import Layout


def pack_request(
    request: TrainRequest | EvaluateRequest, plan: RunPlan, *, roster: str = "", whole_roster: bool = True
) -> RecordDict:
    """A request with its plan and the signed roster to check its cohort.

    Args:
        whole_roster: False sends the roster's hash only: it takes 433 bytes a member, and seldom changes.
    """
    header = {
        "round": request.round,
        "attempt": request.attempt,
        "cohort": json.dumps(request.cohort),
        "plan": json.dumps(plan.to_shared()),
        "plan-sha256": plan.sha256,
        "roster": roster if whole_roster else "",
        "roster-sha256": hash_of_roster(roster),
    }
    if isinstance(request, TrainRequest) and request.row_weights is not None:
        header["row-weights"] = json.dumps(request.row_weights.to_json())
    if isinstance(request, TrainRequest) and request.retried:
        header["retried"] = json.dumps(list(request.retried.items()))
    shared = request.shared if isinstance(request, TrainRequest) else {}
    buffer = request.parameters.buffer
    form = Form.of(Segment(name, str(buffer.dtype).removeprefix("torch."), len(buffer)) for name in (MODEL, *shared))
    return array_and_header(header, form.packed({MODEL: buffer, **shared}))


def unpack_cohort(content: RecordDict) -> tuple[str, ...]:
    """Names of the clients asked; raises `DataError` unless they are a list of names."""
    cohort = json_in(header_of(content), "cohort", list)
    if not all(isinstance(name, str) for name in cohort):
        raise DataError("expected a cohort of names")
    return tuple(cohort)


def hash_of_roster(text: str) -> str:
    """How a request names a roster that the client has."""
    return hashlib.sha256(text.encode()).hexdigest()


def unpack_roster(content: RecordDict) -> tuple[str, str]:
    """The roster's text, unchecked and empty if the client should have it, and its hash.

    Raises:
        DataError: There is none.
    """
    header = header_of(content)
    roster, digest = header.get("roster"), header.get("roster-sha256")
    if not isinstance(roster, str) or not isinstance(digest, str):
        raise DataError("expected a roster in the message, or its hash")
    return roster, digest


def unpack_plan(content: RecordDict) -> RunPlan:
    """The plan of a request.

    Raises:
        DataError: It is missing, or its hash differs.
        PlanError: The plan is not valid.
    """
    header = header_of(content)
    text, digest = header.get("plan"), header.get("plan-sha256")
    if not isinstance(text, str) or not isinstance(digest, str):
        raise DataError("expected a plan in the message, and its hash")
    return _validated(text, digest)


@lru_cache(maxsize=8)
def _validated(text: str, digest: str) -> RunPlan:
    """Each process validates a plan once, however many requests bring it."""
    try:
        plan = RunPlan.from_mapping(json_in({"plan": text}, "plan", dict))
    except (ValueError, RecursionError) as error:
        raise DataError("the plan in the request is nested too deep") from error
    if plan.sha256 != digest:
        raise DataError("the plan in the request does not have the hash that the request names")
    return plan


def unpack_train_request(content: RecordDict, layout: Layout, form: Form) -> TrainRequest:
    """Read a training request for a model of the given layout.

    Raises:
        DataError: A part is missing, or has another type, size or number type than expected.
    """
    from fedcore.parameters import Parameters

    header, vectors = header_of(content), segments_of(content, form)
    return TrainRequest(
        round=integer_in(header, "round"),
        attempt=integer_in(header, "attempt"),
        cohort=unpack_cohort(content),
        parameters=Parameters(vectors.pop(MODEL), layout),
        shared=vectors,
        row_weights=RowWeights.from_json(json_in(header, "row-weights", dict)) if "row-weights" in header else None,
        retried=_retried(json_in(header, "retried", list)) if "retried" in header else {},
    )


def _retried(pairs: list[Any]) -> dict[int, int]:
    if not all(isinstance(pair, list) and [type(each) for each in pair] == [int, int] for pair in pairs):
        raise DataError("expected pairs of round and attempt as 'retried'")
    return dict(pairs)


def unpack_evaluate_request(content: RecordDict, layout: Layout, form: Form) -> EvaluateRequest:
    """Read an evaluation request, whose form is the model alone; raises as `unpack_train_request`."""
    request = unpack_train_request(content, layout, form)
    return EvaluateRequest(
        round=request.round, attempt=request.attempt, cohort=request.cohort, parameters=request.parameters
    )
