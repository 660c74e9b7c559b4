"""Envelopes: what is signed is what is read."""

import json

import numpy as np
import pytest
from flwr.app import Array, ConfigRecord, RecordDict

from fedcore.errors import TrustError
from fedcore.trust.identity import COORDINATOR, Identity
from fedcore.wire.envelope import Place, check_array, open_envelope, seal, unsealed
from fedcore.wire.objects import record_of

PLACE = Place(run="digits-0001.ab", incarnation=1, round=2, attempt=0, kind="train")


def content(values=4):
    data = np.arange(values, dtype=np.float32).tobytes()
    array = Array("float32", (values,), "fedcore.raw", data)
    return RecordDict({"arrays": record_of({"parameters": array}), "fedcore": ConfigRecord({"round": 2, "plan": "{}"})})


def sealed_by(identity, records=None, *, chain_head="0" * 64, destination="north", place=PLACE):
    return seal(records or content(), place, identity=identity, destination=destination, chain_head=chain_head)[0]


@pytest.mark.parametrize("values", [4, 400_000])
def test_what_was_sealed_is_what_comes_out(values):
    identity = Identity.create(COORDINATOR)
    sealed = sealed_by(identity, content(values))

    envelope = open_envelope(sealed, identity.public, destination="north")
    opened = unsealed(sealed)
    check_array(opened, envelope)

    assert envelope.place == PLACE
    assert dict(opened["fedcore"]) == {"round": 2, "plan": "{}"}
    assert bytes(opened["arrays"]["parameters"].data) == bytes(content(values)["arrays"]["parameters"].data)


@pytest.mark.parametrize("chain_head", ["\ud800", "A" * 64, "0" * 63, "\x1b[2J", "0" * 64 + "\n"])
def test_a_chain_head_that_is_no_hash_is_refused_though_it_is_signed(chain_head):
    identity = Identity.create("south")
    with pytest.raises(TrustError, match="malformed"):
        open_envelope(sealed_by(identity, chain_head=chain_head), identity.public, destination="north")


@pytest.mark.parametrize("run", ["r\n12:00 refused", "", "x" * 300, "a/b", "\x1b[2J"])
def test_a_run_whose_name_could_pose_as_something_else_is_refused(run):
    identity = Identity.create(COORDINATOR)
    place = Place(run=run, incarnation=1, round=1, attempt=0, kind="train")
    with pytest.raises(TrustError, match="malformed"):
        open_envelope(sealed_by(identity, place=place), identity.public, destination="north")


def test_an_array_that_was_changed_on_the_way_is_found():
    identity = Identity.create(COORDINATOR)
    sealed = sealed_by(identity, content(400_000))
    envelope = open_envelope(sealed, identity.public, destination="north")
    opened = unsealed(sealed)
    changed = bytearray(opened["arrays"]["parameters"].data)
    changed[7] ^= 1
    opened["arrays"]["parameters"].data = bytes(changed)
    with pytest.raises(TrustError, match="not the one that was signed"):
        check_array(opened, envelope)


def test_a_small_array_that_was_changed_on_the_way_is_found():
    identity = Identity.create(COORDINATOR)
    sealed = sealed_by(identity)
    sealed["envelope"]["data"] = bytes(16)
    with pytest.raises(TrustError, match="not the one that was signed"):
        open_envelope(sealed, identity.public, destination="north")


def test_records_beside_those_that_were_signed_are_refused():
    identity = Identity.create(COORDINATOR)
    sealed = sealed_by(identity)
    sealed["more"] = ConfigRecord({"plan": "another"})
    with pytest.raises(TrustError, match="more than was signed"):
        open_envelope(sealed, identity.public, destination="north")


def test_an_envelope_for_another_or_by_another_is_refused():
    identity, other = Identity.create(COORDINATOR), Identity.create(COORDINATOR)
    with pytest.raises(TrustError, match="addressed"):
        open_envelope(sealed_by(identity, destination="south"), identity.public, destination="north")
    with pytest.raises(TrustError, match="signature"):
        open_envelope(sealed_by(other), identity.public, destination="north")


def test_a_statement_that_was_changed_breaks_its_signature():
    identity = Identity.create(COORDINATOR)
    sealed = sealed_by(identity)
    statement = json.loads(sealed["envelope"]["statement"])
    statement["place"]["round"] = 3
    sealed["envelope"]["statement"] = json.dumps(statement, sort_keys=True).encode()
    with pytest.raises(TrustError, match="signature"):
        open_envelope(sealed, identity.public, destination="north")
