"""Only what was checked leaves a client."""

import pytest
import torch
from flwr.app import ConfigRecord

from fedcore.errors import RefusedError
from fedcore.messages import ClientUpdate
from fedcore.metrics import Metrics
from fedcore.segments import Form, Segment
from fedcore.wire.replies import pack_update
from fedcore_clients.agent.egress import checked_reply
from fedcore_clients.policy.request_facts import RequestFacts
from tests.clients.policy.builders import build_plan, build_policy


def facts(plan, size=5):
    return RequestFacts(
        run="run",
        incarnation=1,
        round=1,
        attempt=0,
        kind="train",
        plan=plan,
        cohort=("north", "south"),
        roster_version=1,
        model_dtype="float32",
        array_bytes=4 * size,
    )


def reply(plan, **changes):
    from fedcore.privacy.plan import PrivacyPlan

    values = {
        "client": "north",
        "round": 1,
        "values": {"update": torch.ones(5)},
        "num_examples": 100,
        "metrics": Metrics(),
        "privacy_event": PrivacyPlan.from_run_plan(plan).event(1),
    }
    update = ClientUpdate(**(values | changes))
    return pack_update(update, Form((Segment("update", "float32", len(update.values["update"])),)))


def test_an_update_as_the_plan_wants_it_leaves_as_it_is():
    plan = build_plan()
    checked = checked_reply(reply(plan), facts(plan), build_policy(), client="north")
    assert set(checked) == {"arrays", "fedcore", "metrics"}


def test_what_no_update_has_stays_here_whoever_put_it_in():
    plan = build_plan()
    with_record, with_key = reply(plan), reply(plan)
    with_record["leak"] = ConfigRecord({"diagnosis": "C50.1"})
    with_key["fedcore"]["diagnosis"] = "C50.1"
    for content in (with_record, with_key):
        with pytest.raises(RefusedError) as caught:
            checked_reply(content, facts(plan), build_policy(), client="north")
        assert caught.value.code == "SCHEMA"
        assert "C50" not in str(caught.value)


@pytest.mark.parametrize("change", [{"client": "south"}, {"round": 2}])
def test_an_update_of_another_client_or_round_stays_here(change):
    plan = build_plan()
    with pytest.raises(RefusedError, match="another client's, or of another round"):
        checked_reply(reply(plan, **change), facts(plan), build_policy(), client="north")
