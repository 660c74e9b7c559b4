"""What a server asks, as records, and back."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from flwr.app import ConfigRecord, RecordDict

from fedcore.errors import DataError
from fedcore.messages import EvaluateRequest, TrainRequest
from fedcore.mitigation.row_weights import RowWeights
from fedcore.plan import RunPlan
from fedcore.wire.records import HEADER, array_and_header, header_of, integer_in, json_in, parameters_of

if TYPE_CHECKING:
    from fedcore.parameters import Layout


def pack_hello() -> RecordDict:
    """The first message to a client: who are you?"""
    return RecordDict({HEADER: ConfigRecord({"hello": True})})


def pack_request(request: TrainRequest | EvaluateRequest, plan: RunPlan, *, roster: str = "") -> RecordDict:
    """A request with the plan that it belongs to, and the signed roster to judge its cohort by."""
    header = {
        "round": request.round,
        "attempt": request.attempt,
        "cohort": json.dumps(request.cohort),
        "plan": json.dumps(plan.to_mapping()),
        "plan-sha256": plan.sha256,
        "roster": roster,
    }
    if isinstance(request, TrainRequest) and request.row_weights is not None:
        header["row-weights"] = json.dumps(request.row_weights.to_json())
    return array_and_header(header, request.parameters)


def unpack_cohort(content: RecordDict) -> tuple[str, ...]:
    """Names of the clients asked.

    Raises:
        DataError: They are no list of names.
    """
    cohort = json_in(header_of(content), "cohort", list)
    if not all(isinstance(name, str) for name in cohort):
        raise DataError("expected a cohort of names")
    return tuple(cohort)


def unpack_roster(content: RecordDict) -> str:
    """The roster's text, not checked yet.

    Raises:
        DataError: There is none.
    """
    roster = header_of(content).get("roster")
    if not isinstance(roster, str):
        raise DataError("expected a roster in the message")
    return roster


def unpack_plan(content: RecordDict) -> RunPlan:
    """The plan of a request.

    Raises:
        DataError: It is absent, or its hash is another.
        PlanError: It is no valid plan.
    """
    header = header_of(content)
    plan = RunPlan.from_mapping(json_in(header, "plan", dict))
    if plan.sha256 != header.get("plan-sha256"):
        raise DataError("the plan in the request does not have the hash that the request names")
    return plan


def unpack_train_request(content: RecordDict, layout: Layout) -> TrainRequest:
    """Read a training request for a model of the given layout.

    Raises:
        DataError: A part is absent, or has another type, size or number type than expected.
    """
    header = header_of(content)
    return TrainRequest(
        round=integer_in(header, "round"),
        attempt=integer_in(header, "attempt"),
        cohort=unpack_cohort(content),
        parameters=parameters_of(content, layout),
        row_weights=RowWeights.from_json(json_in(header, "row-weights", dict)) if "row-weights" in header else None,
    )


def unpack_evaluate_request(content: RecordDict, layout: Layout) -> EvaluateRequest:
    """Read an evaluation request; raises as `unpack_train_request`."""
    request = unpack_train_request(content, layout)
    return EvaluateRequest(
        round=request.round, attempt=request.attempt, cohort=request.cohort, parameters=request.parameters
    )
