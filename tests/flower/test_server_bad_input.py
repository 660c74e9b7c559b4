"""Whatever one client sends costs its own contribution; rows B1 to B23 of the bad-input matrix, through real envelopes.

Each row is sent by one client of four in every round. The run must go on to its end, name the client and the code in
every line of its journal, count the strikes, and end in the very model of a run without that client's updates.
"""

import contextlib
import io
import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from flwr.app import Array, ArrayRecord, ConfigRecord, Error, Message, MetricRecord, RecordDict
from flwr.common.serde import message_to_proto
from hypothesis import given, settings
from hypothesis import strategies as st

from fedcore.errors import RoundFailedError, UpdateRejectedError
from fedcore.storage.events import EventLog, read_events
from fedcore.trust.identity import COORDINATOR, FlowerKey, Identity
from fedcore.wire.envelope import Place, open_envelope, seal, unsealed
from fedcore.wire.objects import record_of
from fedcore.wire.replies import pack_update, unpack_report, unpack_update
from fedcore_server.flower.superlink.arrival import Reply
from fedcore_server.runs.participation import participation
from tests.builders import build_form, build_update
from tests.flower.driving import plan_of, through_flower
from tests.flower.in_memory_grid import Consortium, InMemoryGrid, WholeReply

BAD = "client-0"
OTHERS = ["client-1", "client-2", "client-3"]
SIZE = 58
PLAN = "FedAvg with weights"


def is_update(content):
    return "arrays" in content


def in_updates(change):
    """A tampering with every update of one client, before it signs."""

    def tamper(name, content):
        return change(content) if name == BAD and is_update(content) else content

    return tamper


def with_values(values):
    def change(content):
        content["arrays"]["parameters"].data = np.asarray(values, np.float64).tobytes()
        return content

    return in_updates(change)


def with_header(**changes):
    def change(content):
        for key, value in changes.items():
            if value is None:
                del content["fedcore"][key.replace("_", "-")]
            else:
                content["fedcore"][key.replace("_", "-")] = value
        return content

    return in_updates(change)


def with_array(data=bytes(SIZE * 8), **declared):
    def change(content):
        content["arrays"] = ArrayRecord(
            {
                "parameters": Array(
                    **({"dtype": "float64", "shape": (SIZE,), "stype": "fedcore.raw"} | declared), data=data
                )
            }
        )
        return content

    return in_updates(change)


def with_records(change):
    def changed(content):
        change(content)
        return content

    return in_updates(changed)


def with_metrics(**numbers):
    return with_records(lambda content: content.update(metrics=MetricRecord(numbers)))


def pickled():
    with io.BytesIO() as file:
        np.save(file, np.array([{"a": 1}] * SIZE, dtype=object), allow_pickle=True)
        return file.getvalue()


def claims_a_trillion_elements():
    with io.BytesIO() as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "<f8", "fortran_order": False, "shape": (10**12,)})
        return file.getvalue()


def one(index, value):
    values = np.zeros(SIZE)
    values[index] = value
    return values


def renamed(content):
    content["arrays"] = record_of({"weights": content["arrays"]["parameters"]})


def doubled(content):
    content["arrays"]["more"] = content["arrays"]["parameters"]


def two_records(content):
    content["more"] = record_of({"parameters": content["arrays"]["parameters"]})


TAMPERED = {
    "B1 a NaN": (with_values(one(3, np.nan)), "NONFINITE"),
    "B1 only NaN": (with_values(np.full(SIZE, np.nan)), "NONFINITE"),
    "B2 infinity": (with_values(one(0, np.inf)), "NONFINITE"),
    "B2 minus infinity": (with_values(one(57, -np.inf)), "NONFINITE"),
    "B3 a norm of 1e30": (with_values(one(0, 1e30)), "NORM"),
    "B3 a norm that overflows": (with_values(np.full(SIZE, 1e200)), "NORM"),
    "B4 a number that makes the total zero": (with_header(num_examples=-72), "WEIGHT"),
    "B5 minus one example": (with_header(num_examples=-1), "WEIGHT"),
    "B6 NaN examples": (with_header(num_examples=float("nan")), "SCHEMA"),
    "B8 a list of examples": (with_header(num_examples=[24]), "SCHEMA"),
    "B8 examples in words": (with_header(num_examples="24"), "SCHEMA"),
    "B8 a truth value of examples": (with_header(num_examples=True), "SCHEMA"),
    "B8 a fraction of examples": (with_header(num_examples=24.5), "SCHEMA"),
    "B8 no number of examples": (with_header(num_examples=None), "WEIGHT"),
    "B9 one number for all": (with_array(bytes(8), shape=(1,)), "LAYOUT"),
    "B10 one number too many": (with_array(bytes(SIZE * 8 + 8), shape=(SIZE + 1,)), "LAYOUT"),
    "B10 a matrix": (with_array(shape=(2, SIZE // 2)), "LAYOUT"),
    "B11 float32": (with_array(bytes(SIZE * 4), dtype="float32"), "LAYOUT"),
    "B11 float16": (with_array(bytes(SIZE * 2), dtype="float16"), "LAYOUT"),
    "B11 bfloat16": (with_array(bytes(SIZE * 2), dtype="bfloat16"), "LAYOUT"),
    "B11 int8": (with_array(bytes(SIZE), dtype="int8"), "LAYOUT"),
    "B11 complex": (with_array(bytes(SIZE * 16), dtype="complex128"), "LAYOUT"),
    "B11 objects": (with_array(dtype="object"), "LAYOUT"),
    "B12 fewer bytes than declared": (with_array(bytes(SIZE * 8 - 8)), "SCHEMA"),
    "B12 more bytes than declared": (with_array(bytes(SIZE * 8 + 8)), "SCHEMA"),
    "B12 float32 bytes declared as float64": (with_array(bytes(SIZE * 4)), "SCHEMA"),
    "B12 no bytes": (with_array(b""), "SCHEMA"),
    "B12 text": (with_array(b"garbage"), "SCHEMA"),
    "B13 a head of 1e12 elements": (with_array(claims_a_trillion_elements(), stype="numpy.ndarray"), "LAYOUT"),
    "B13 a shape of 1e12 elements": (with_array(shape=(10**12,)), "LAYOUT"),
    "B13 a shape beyond 64 bits": (with_array(shape=(10**30,)), "LAYOUT"),
    "B14 a pickled array": (with_array(pickled(), stype="numpy.ndarray"), "LAYOUT"),
    "B14 a pickled array under our own name": (with_array(pickled()), "SCHEMA"),
    "B14 a pickled tensor": (with_array(pickled(), stype="torch.tensor"), "LAYOUT"),
    "B15 no array": (with_records(lambda content: content.pop("arrays")), "LAYOUT"),
    "B15 an array under another name": (with_records(renamed), "LAYOUT"),
    "B15 one record more": (with_records(lambda content: content.update(extra=ConfigRecord({"a": 1}))), "SCHEMA"),
    "B15 no header": (with_records(lambda content: content.pop("fedcore")), "SCHEMA"),
    "B15 no metrics": (with_records(lambda content: content.pop("metrics")), "SCHEMA"),
    "B15 another name in the header": (with_header(client="client-1"), "SCHEMA"),
    "B17 another round in the header": (with_header(round=2**40), "NOT_EXPECTED"),
    "B20 ten thousand metrics": (with_metrics(**{f"sum.m{n}": 1.0 for n in range(10_000)}), "SCHEMA"),
    "B20 a NaN": (with_metrics(**{"sum.loss": float("nan"), "count.loss": 24.0}), "METRICS"),
    "B20 a count of NaN": (with_metrics(**{"sum.loss": 1.0, "count.loss": float("nan")}), "METRICS"),
    "B20 a metric that training does not give": (
        with_metrics(**{"sum.loss": 1.0, "count.loss": 24.0, "sum.secret": 1.0, "count.secret": 1.0}),
        "METRICS",
    ),
    "B20 a sum without a count": (with_metrics(**{"sum.loss": 1.0}), "METRICS"),
    "B20 a list": (with_metrics(**{"sum.loss": [1.0, 2.0], "count.loss": 24.0}), "SCHEMA"),
    "B20 an integer beyond a float": (with_metrics(**{"sum.loss": 10**400, "count.loss": 24.0}), "SCHEMA"),
    "B20 privacy of infinitely many steps": (
        with_header(privacy_event='{"sampling-rate": 1, "noise-multiplier": 1, "steps": Infinity}'),
        "SCHEMA",
    ),
    "B20 privacy beyond a float": (
        with_header(privacy_event=f'{{"sampling-rate": {10**400}, "noise-multiplier": 1, "steps": 1}}'),
        "SCHEMA",
    ),
    "B22 nothing": (in_updates(lambda _: RecordDict()), "SCHEMA"),
    "B22 an empty header": (in_updates(lambda _: RecordDict({"fedcore": ConfigRecord({})})), "LAYOUT"),
    "B22 a refusal in other words": (
        in_updates(lambda _: RecordDict({"fedcore": ConfigRecord({"refused": "<b>patient 4711</b>"})})),
        "SCHEMA",
    ),
}


@pytest.fixture(scope="module")
def without_it():
    """The model of a run in which the client's updates never came, and the journal."""
    outcome, rounds = through_flower(plan_of(PLAN), tamper=lose)
    assert all(line["counted"] == OTHERS for line in rounds)
    return outcome.state.parameters.buffer


def lose(name, content):
    return None if name == BAD and is_update(content) else content


def assert_costs_that_client_only(without_it, code, **grid):
    outcome, rounds = through_flower(plan_of(PLAN), **grid)

    assert [line["round"] for line in rounds if line["committed"]] == [1, 2, 3]
    for line in rounds:
        assert line["counted"] == OTHERS
        assert [(each["client"], each["code"]) for each in line["rejected"]] == [(BAD, code)]
        assert len(line["rejected"][0]["reason"]) <= 200
        assert BAD not in line["examples"]
    assert torch.equal(outcome.state.parameters.buffer, without_it)
    took_part = participation([BAD, *OTHERS], rounds)
    assert took_part["lost"] == [BAD]
    assert took_part["clients"][BAD] == {
        "asked": 3,
        "answered": 0 if code in ("LATE", "ERROR") else 3,
        "counted": 0,
        "evaluated": 3,
        "rejected": {code: 3},
        "evaluation_rejected": {},
        # What the relay may have done is not held against a client.
        "strikes": 0 if code in ("LATE", "ERROR", "BAD_SIGNATURE", "MISSING", "MALFORMED") else 3,
    }
    assert all(took_part["clients"][name]["strikes"] == 0 for name in OTHERS)
    return rounds


@pytest.mark.parametrize("row", TAMPERED)
def test_a_bad_update_costs_its_sender_and_nobody_else(without_it, row):
    tamper, code = TAMPERED[row]
    rounds = assert_costs_that_client_only(without_it, code, tamper=tamper)
    assert "patient" not in json.dumps(rounds)


@pytest.mark.parametrize("change", [doubled, two_records], ids=["B15 two arrays", "B15 two records of arrays"])
def test_arrays_that_no_envelope_holds_are_refused(without_it, change):
    """Our own client cannot seal two arrays: they are put beside the signed one."""

    def forge(name, sealed):
        content = unsealed(sealed)
        if name == BAD and is_update(content):
            change(content)
            sealed = RecordDict({**sealed, **{key: content[key] for key in ("arrays", "more") if key in content}})
        return sealed

    assert_costs_that_client_only(without_it, "BAD_SIGNATURE", forge=forge)


def test_b7_a_claim_of_1e18_examples_weighs_no_more_than_the_cap():
    _, usual = through_flower(plan_of(PLAN))
    plan = plan_of(PLAN).updated(federation={"max-examples": usual[0]["examples"][BAD]})
    honest, told = through_flower(plan)
    lying, rounds = through_flower(plan, tamper=with_header(num_examples=10**18))

    assert rounds[0]["examples"] == told[0]["examples"]
    assert rounds[0]["examples"][BAD] == usual[0]["examples"][BAD]
    assert torch.equal(lying.state.parameters.buffer, honest.state.parameters.buffer)


def test_b7_without_a_cap_of_the_plans_own_the_others_are_not_rounded_away():
    outcome, rounds = through_flower(plan_of(PLAN), tamper=with_header(num_examples=10**18))
    alone, _ = through_flower(
        plan_of(PLAN), tamper=lambda name, content: lose(BAD, content) if name != BAD else content
    )
    assert rounds[0]["examples"][BAD] == 1_000_000
    assert all(line["counted"] == [BAD, *OTHERS] for line in rounds)
    assert not torch.equal(outcome.state.parameters.buffer, alone.state.parameters.buffer)


def test_b3_the_plan_may_set_a_bound_that_fits():
    _, usual = through_flower(plan_of(PLAN))
    plan = plan_of(PLAN).updated(federation={"max-update-norm": 100 * usual[0]["update_norm"]})
    _, honest = through_flower(plan)
    _, rounds = through_flower(plan, tamper=with_values(one(0, 1000 * usual[0]["update_norm"])))
    assert not honest[0]["rejected"]
    assert [each["code"] for each in rounds[0]["rejected"]] == ["NORM"]


def after_sealing(change):
    """A forgery on the way, or by a client that signs what it should not."""

    def forge(name, sealed):
        return change(sealed) if name == BAD and is_update(unsealed(sealed)) else sealed

    return forge


def flipped(sealed):
    signature = bytearray(sealed["envelope"]["signature"])
    signature[0] ^= 1
    return RecordDict({"envelope": ConfigRecord({**sealed["envelope"], "signature": bytes(signature)})})


def altered(sealed):
    data = bytearray(sealed["envelope"]["data"])
    data[3] ^= 1
    return RecordDict({"envelope": ConfigRecord({**sealed["envelope"], "data": bytes(data)})})


def naked(sealed):
    return unsealed(sealed)


def beside(sealed):
    return RecordDict({**sealed, "more": ConfigRecord({"a": 1})})


FORGED = {
    "B18 no envelope": naked,
    "B18 a flipped bit in the signature": flipped,
    "B18 a flipped bit in the array": altered,
    "B18 a record that was not signed": beside,
    "B22 nothing at all": lambda _: RecordDict(),
}


@pytest.mark.parametrize("row", FORGED)
def test_what_was_not_signed_by_its_sender_is_refused(without_it, row):
    assert_costs_that_client_only(without_it, "BAD_SIGNATURE", forge=after_sealing(FORGED[row]))


class Signing:
    """Signs a client's replies anew: as another, or for another place."""

    def __init__(self, *, signer=None, run=None, nonce=None, **place):
        self.consortium = Consortium.of([BAD, *OTHERS])
        self.signer, self.run, self.nonce, self.place = signer, run, nonce, place

    def __call__(self, name, sealed):
        if name != BAD or not is_update(unsealed(sealed)):
            return sealed
        honest = self.consortium.clients[BAD]
        envelope = open_envelope(sealed, honest.public, destination=COORDINATOR)
        changes = {**self.place, **({"run": self.run} if self.run else {})}
        return seal(
            unsealed(sealed),
            replace(envelope.place, **changes),
            identity=self.signer(self.consortium) if self.signer else honest,
            destination=COORDINATOR,
            chain_head=envelope.chain_head,
            in_reply_to=self.nonce or envelope.in_reply_to,
        )[0]


SIGNED = {
    "B17 another client's reply": (Signing(signer=lambda consortium: consortium.clients["client-1"]), "NOT_EXPECTED"),
    "B17 another run": (Signing(run="yesterday"), "NOT_EXPECTED"),
    "B17 another round": (Signing(round=77), "NOT_EXPECTED"),
    "B17 another attempt": (Signing(attempt=77), "NOT_EXPECTED"),
    "B17 before a restart": (Signing(incarnation=0), "NOT_EXPECTED"),
    "B17 an evaluation": (Signing(kind="evaluate"), "NOT_EXPECTED"),
    "B17 another request": (Signing(nonce="0" * 32), "NOT_EXPECTED"),
    "B18 a signer who is not on the roster": (Signing(signer=lambda _: Identity.create("stranger")), "BAD_SIGNATURE"),
    "B18 another key under the client's name": (Signing(signer=lambda _: Identity.create(BAD)), "BAD_SIGNATURE"),
    "B18 the coordinator's name": (Signing(signer=lambda _: Identity.create(COORDINATOR)), "BAD_SIGNATURE"),
}


@pytest.mark.parametrize("row", SIGNED)
def test_a_reply_that_is_signed_for_elsewhere_is_refused(without_it, row):
    forge, code = SIGNED[row]
    assert_costs_that_client_only(without_it, code, forge=forge, consortium=forge.consortium)


def test_b16_the_reply_of_the_round_before_is_not_counted_again(without_it):
    sent = []

    def replay(sealed):
        sent.append(sealed)
        return sent[0]

    outcome, rounds = through_flower(plan_of(PLAN), forge=after_sealing(replay))
    assert [[each["code"] for each in line["rejected"]] for line in rounds] == [[], ["NOT_EXPECTED"], ["NOT_EXPECTED"]]
    assert rounds[0]["counted"] == [BAD, *OTHERS]
    assert outcome.state.round == 3


class Repeating(InMemoryGrid):
    """Delivers every reply twice."""

    def arrivals(self, message_ids, *, timeout_seconds):
        for reply in super().arrivals(message_ids, timeout_seconds=timeout_seconds):
            yield reply
            yield reply


def test_b16_two_replies_of_one_client_count_once():
    once, _ = through_flower(plan_of(PLAN))
    twice, rounds = through_flower(plan_of(PLAN), make_grid=Repeating)
    assert torch.equal(once.state.parameters.buffer, twice.state.parameters.buffer)
    assert all(line["counted"] == [BAD, *OTHERS] for line in rounds)


def correspondence_of(consortium, path):
    return consortium.correspondence(EventLog(path / "events.jsonl"))


def answer(consortium, request, name=BAD, **changes):
    content = pack_update(build_update(name, 1.0, 2.0, 3.0), build_form(3))
    place = replace(request.place, **changes)
    return seal(
        content,
        place,
        identity=consortium.clients[name],
        destination=COORDINATOR,
        chain_head="0" * 64,
        in_reply_to=request.nonce,
    )[0]


def code_of(correspondence, *arguments, **options):
    with pytest.raises(UpdateRejectedError) as caught:
        correspondence.read(*arguments, **options)
    return caught.value.code


def test_b16_a_request_is_answered_once_and_the_answer_is_in_the_events(tmp_path):
    consortium = Consortium.of([BAD, *OTHERS])
    correspondence = correspondence_of(consortium, tmp_path)
    _, request = correspondence.write(RecordDict(), to=BAD, kind="train", round=1)
    reply = answer(consortium, request)
    assert code_of(correspondence, answer(consortium, request, round=2), request, sender=BAD) == "NOT_EXPECTED"
    correspondence.read(reply, request, sender=BAD)  # what was refused before has not used the request up
    assert code_of(correspondence, reply, request, sender=BAD) == "DUPLICATE"
    assert code_of(correspondence, answer(consortium, request), request, sender=BAD) == "DUPLICATE"
    assert [event["event"] for event in read_events(tmp_path / "events.jsonl")] == ["train-answered"]


def test_b18_a_client_that_was_removed_in_the_meantime_is_refused(tmp_path):
    consortium = Consortium.of([BAD, *OTHERS])
    correspondence = correspondence_of(consortium, tmp_path)
    _, request = correspondence.write(RecordDict(), to=BAD, kind="train", round=1)
    reply = answer(consortium, request)
    consortium.roster = consortium.roster.without_member(BAD)
    assert code_of(correspondence, reply, request, sender=BAD) == "BAD_SIGNATURE"


def test_b19_an_answer_from_before_a_restart_is_refused(tmp_path):
    consortium = Consortium.of([BAD, *OTHERS])
    before = correspondence_of(consortium, tmp_path)
    after = consortium.correspondence(EventLog(tmp_path / "events.jsonl"), incarnation=2)
    _, old = before.write(RecordDict(), to=BAD, kind="train", round=1)
    _, new = after.write(RecordDict(), to=BAD, kind="train", round=1)
    assert code_of(after, answer(consortium, old), new, sender=BAD) == "NOT_EXPECTED"
    assert code_of(after, answer(consortium, old), old, sender=BAD) == "DUPLICATE"  # nothing of this start is open


class Delaying(InMemoryGrid):
    """Keeps one client's updates back, and delivers them in the next round."""

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.kept = []

    def arrivals(self, message_ids, *, timeout_seconds):
        yield from self.kept
        self.kept = []
        for reply in super().arrivals(message_ids, timeout_seconds=timeout_seconds):
            content = unsealed(RecordDict(reply.small)) if reply.error is None else {}
            late = is_update(content) and content["fedcore"]["client"] == BAD
            if late:
                self.kept.append(reply)
            else:
                yield reply


def test_b19_a_late_reply_is_told_as_late_and_never_counted(without_it):
    assert_costs_that_client_only(without_it, "LATE", make_grid=Delaying)


def in_reports(change):
    def tamper(name, content):
        return change(content) if name == BAD and "tables" in content.get("fedcore", {}) else content

    return tamper


def told(**numbers):
    def change(content):
        content["metrics"].update(numbers)
        return content

    return in_reports(change)


def with_report_header(**changes):
    def change(content):
        content["fedcore"].update(changes)
        return content

    return in_reports(change)


REPORTS = {
    "B20 ten thousand metrics": (told(**{f"sum.m{n}": 1.0 for n in range(10_000)}), "SCHEMA"),
    "B20 a metric that the task does not measure": (told(**{"sum.auc": 1.0, "count.auc": 1.0}), "METRICS"),
    "B20 a metric of a patient's name": (told(**{"sum.<b>Jane": 1.0, "count.<b>Jane": 1.0}), "METRICS"),
    "B20 NaN": (told(**{"sum.loss": float("nan")}), "METRICS"),
    "B20 infinity": (told(**{"sum.accuracy": float("inf")}), "METRICS"),
    "B20 an accuracy above one": (told(**{"sum.accuracy": 1e6}), "METRICS"),
    "B20 a count of 1e18": (told(**{"count.loss": 1e18}), "METRICS"),
    "B20 an integer beyond a float": (told(**{"count.loss": 10**400}), "SCHEMA"),
    "B20 a megabyte of text for a table": (with_report_header(tables="x" * 1_000_000), "SCHEMA"),
    "B20 nested tables": (with_report_header(tables="[" * 100_000), "SCHEMA"),
    "B15 no tables": (with_report_header(tables="{}"), "TABLE"),
    "B15 an array in a report": (
        in_reports(lambda content: RecordDict({**content, "arrays": ArrayRecord([np.zeros(SIZE)])})),
        "SCHEMA",
    ),
}


@pytest.mark.parametrize("row", REPORTS)
def test_a_bad_report_costs_its_sender_and_the_allowed_numbers_of_the_others_stay(row):
    tamper, code = REPORTS[row]
    outcome, rounds = through_flower(plan_of(PLAN), tamper=tamper)
    absent, _ = through_flower(plan_of(PLAN), tamper=in_reports(lambda _: None))
    undisturbed, _ = through_flower(plan_of(PLAN))

    assert [(each.client, each.code) for each in outcome.evaluation.rejected] == [(BAD, code)]
    assert outcome.evaluation.metrics == absent.evaluation.metrics
    assert set(outcome.evaluation.metrics) == {"loss", "accuracy"}
    assert torch.equal(outcome.state.parameters.buffer, undisturbed.state.parameters.buffer)
    assert participation((), rounds)["clients"][BAD]["strikes"] == 3
    assert not any(line["rejected"] for line in rounds)
    assert max(len(each["reason"]) for line in rounds for each in line["evaluation_rejected"]) <= 200


def test_b20_a_megabyte_of_text_in_a_header_is_not_kept():
    long = "patient 4711 " * 80_000
    outcome, rounds = through_flower(plan_of(PLAN), tamper=with_header(note=long))
    assert outcome.state.round == 3
    assert "patient" not in json.dumps(rounds)


class Failing(InMemoryGrid):
    """Answers for one client with an error that has a megabyte of words."""

    def arrivals(self, message_ids, *, timeout_seconds):
        for reply in super().arrivals(message_ids, timeout_seconds=timeout_seconds):
            content = unsealed(RecordDict(reply.small)) if reply.error is None else {}
            if is_update(content) and content["fedcore"]["client"] == BAD:
                failure = SimpleNamespace(code="ERROR", reason="<script>" * 130_000)
                yield WholeReply(reply.reply_to_message_id, failure)
            else:
                yield reply


def test_b21_an_error_costs_its_sender_and_is_cut_short(without_it):
    assert_costs_that_client_only(without_it, "ERROR", make_grid=Failing)


def test_b21_of_an_errors_text_nothing_is_kept():
    request = Message(RecordDict(), 7, "train", ttl=60.0)
    request.metadata.__dict__["_message_id"] = "request"
    header = message_to_proto(Message(Error(1, "KeyError: patient 4711 " * 45_000), reply_to=request))
    arrival = Reply(header, SimpleNamespace(), None, None).complete()
    assert (arrival.error.code, arrival.error.reason) == ("ERROR", "the client failed (code 1)")


def test_b23_without_a_valid_reply_the_round_fails_and_the_model_stays():
    states = []

    def spoil(name, content):
        if is_update(content):
            content["arrays"]["parameters"].data = np.full(SIZE, np.nan).tobytes()
        return content

    plan = plan_of(PLAN).updated(federation={"round-attempts": 2})
    rounds = []
    with pytest.raises(RoundFailedError, match=r"round 1 had 0 valid updates in attempt 2 of 2, and the quorum is 1"):
        through_flower(
            plan,
            tamper=spoil,
            on_round=lambda record, state: (rounds.append(record.to_json()), states.append(state)),
        )
    assert [(line["round"], line["attempt"], line["committed"]) for line in rounds] == [(1, 0, False), (1, 1, False)]
    assert {each["code"] for line in rounds for each in line["rejected"]} == {"NONFINITE"}
    assert torch.equal(states[0].parameters.buffer, states[1].parameters.buffer)
    assert [state.round for state in states] == [0, 0]
    assert all(client["strikes"] == 2 for client in participation((), rounds)["clients"].values())


def test_a_node_whose_key_is_not_on_the_roster_is_asked_nothing():
    """Flower may still list who was removed, and whoever else it let in."""

    class OneStranger(InMemoryGrid):
        def get_nodes(self):
            nodes = super().get_nodes()
            nodes[0].public_key = FlowerKey.create().public_bytes
            return nodes

    outcome, rounds = through_flower(plan_of(PLAN).updated(federation={"patience-seconds": 0.0}), make_grid=OneStranger)
    assert outcome.state.round == 3
    assert all(line["asked"] == OTHERS for line in rounds)


def test_the_roster_travels_once_and_again_when_it_changed_or_a_reply_was_rejected():
    """It takes 433 bytes a member, and would go with every request to every member."""
    sent = []

    class Watched(InMemoryGrid):
        def push_messages(self, messages):
            for message in messages:
                header = unsealed(message.content)["fedcore"]
                sent.append((header["round"], self._names[message.metadata.dst_node_id], bool(header["roster"])))
            return super().push_messages(messages)

    def lose_the_first(name, content):
        return None if (name, sent[-1][0]) == (BAD, 1) else content

    consortium = Consortium.of([BAD, *OTHERS])

    def admit_somebody(record, state):
        if state.round == 2:
            consortium.roster = consortium.roster.model_copy(update={"version": 2})

    plan = plan_of(PLAN).updated(federation={"rounds": 3, "evaluate-every": 3})
    through_flower(plan, consortium=consortium, make_grid=Watched, tamper=lose_the_first, on_round=admit_somebody)
    first = [(1, name, True) for name in (BAD, *OTHERS)]
    second = [(2, BAD, True)] + [(2, name, False) for name in OTHERS]
    third = [(3, name, True) for name in (BAD, *OTHERS)]
    evaluation = [(3, name, False) for name in (BAD, *OTHERS)]
    assert sent == [*first, *second, *third, *evaluation]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.just(10**400),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
TABLE_KEYS = ("attribute", "groups", "labels", "num_bins", "scored", "counts")
TABLES = JSON | st.dictionaries(st.text(max_size=4), JSON | st.fixed_dictionaries(dict.fromkeys(TABLE_KEYS, JSON)))
VALUES = st.integers() | st.floats() | st.text(max_size=8) | st.booleans() | st.just(10**400)
NUMBERS = st.dictionaries(
    st.sampled_from(["sum.loss", "count.loss", "sum.", "loss", "sum.x"]), st.integers() | st.floats() | st.just(10**400)
)


@settings(max_examples=300, deadline=None)
@given(tables=TABLES, event=JSON, num_examples=VALUES, round=VALUES, numbers=NUMBERS)
def test_whatever_a_signed_reply_holds_is_read_or_rejected(tables, event, num_examples, round, numbers):
    header = {
        "client": BAD,
        "round": round,
        "num-examples": num_examples,
        "privacy-event": json.dumps(event),
        "tables": json.dumps(tables),
    }
    records = {"fedcore": ConfigRecord(header), "metrics": MetricRecord(numbers)}
    array = Array("float64", (3,), "fedcore.raw", bytes(24))
    for read in (
        lambda: unpack_report(RecordDict(records), client=BAD),
        lambda: unpack_update(
            RecordDict({**records, "arrays": ArrayRecord({"parameters": array})}), build_form(3, "float64"), client=BAD
        ),
    ):
        with contextlib.suppress(UpdateRejectedError):
            read()


def test_a_place_is_newer_by_its_restart_then_round_then_attempt():
    place = Place(run="r", incarnation=1, round=2, attempt=0, kind="train")
    later = [replace(place, attempt=1), replace(place, round=3), replace(place, incarnation=2, round=1)]
    assert all(place.order < each.order for each in later)
