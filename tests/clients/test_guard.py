"""A hostile server gets a signed refusal with a code, and nothing else; rows N1 to N12 of the bad-input matrix.

Nothing is charged for what is refused, and no test here has any data that could be opened.
"""

import json
import re
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from flwr.app import ConfigRecord, MetricRecord, RecordDict
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fedcore.errors import StorageError, TrustError, UpdateRejectedError
from fedcore.messages import ClientReport, ClientUpdate, LedgerReceipt
from fedcore.metrics import Metrics
from fedcore.privacy.plan import PrivacyPlan
from fedcore.storage.events import read_events, verify_events
from fedcore.trust.identity import COORDINATOR, Identity
from fedcore.wire.envelope import Place, seal, unsealed
from fedcore.wire.replies import pack_report, pack_update, unpack_update
from fedcore_clients.agent.admission import RequestRefused
from fedcore_server.consortium.members import remove
from tests.builders import build_form
from tests.clients.policy.builders import build_bare_plan, build_open_policy, build_plan, build_policy
from tests.clients.policy.test_reply_gate import build_report, build_table
from tests.clients.site import SIZE, Site


@pytest.fixture
def site(tmp_path):
    return Site(tmp_path)


def refused(site, guard, sealed, code):
    """The request is refused with this code, before its array is fetched, and nothing else is told."""
    before = site.charges()
    with pytest.raises(RequestRefused) as caught:
        guard.charge(guard.receive(sealed))
    assert caught.value.cause.code == code, caught.value.cause
    assert site.charges() == before
    assert_tells_a_code_only(site, guard.refuse(caught.value), sealed, code)
    return str(caught.value.cause)


def assert_tells_a_code_only(site, reply, sealed, code, *, read_data=False):
    """The code, and whether this very request was charged, so that data may have been opened."""
    envelope, content = site.read(reply)
    told = {"refused": code, "read-data": read_data or code == "STALE"}
    assert {name: dict(record) for name, record in content.items()} == {"fedcore": told}
    assert set(reply) == {"envelope"}
    assert set(reply["envelope"]) == {"statement", "signature", "records"}
    request = json.loads(sealed["envelope"]["statement"])
    assert (envelope.in_reply_to, envelope.destination) == (request["nonce"], COORDINATOR)
    assert envelope.place.kind == request["place"]["kind"]


def dropped(site, guard, sealed):
    """What is not the coordinator's word gets no signed answer."""
    with pytest.raises(TrustError):
        guard.receive(sealed)
    assert site.charges() == []


def test_a_request_by_the_rules_is_let_in_and_charged_once(site):
    guard = site.guard()
    request = guard.receive(site.request())
    assert (request.facts.cohort, request.array_bytes) == (("north", "south", "west"), 4 * SIZE)
    assert site.charges() == []
    guard.charge(request)
    assert len(site.charges()) == 1
    assert [event["event"] for event in read_events(site.home.events)] == ["accepted"]


def by(identity):
    return lambda site: site.request(correspondence=site.correspondence(identity=identity(site)))


def without_envelope(site):
    return unsealed(site.request())


def with_record(**changes):
    def changed(site):
        sealed = site.request()
        return RecordDict({"envelope": ConfigRecord({**sealed["envelope"], **changes})})

    return changed


def flipped(name):
    def changed(site):
        sealed = site.request()
        content = bytearray(sealed["envelope"][name])
        content[len(content) // 2] ^= 1
        return RecordDict({"envelope": ConfigRecord({**sealed["envelope"], name: bytes(content)})})

    return changed


def as_reply(site):
    place = Place(run="run", incarnation=1, round=1, attempt=0, kind="train")
    return seal(
        unsealed(site.request()),
        place,
        identity=site.coordinator,
        destination="north",
        chain_head="0" * 64,
        in_reply_to="0" * 32,
    )[0]


LATER = 2**40  # Unix time

UNTRUSTED = {
    "N1 no envelope": without_envelope,
    "N1 nothing at all": lambda _: RecordDict(),
    "N1 another coordinator": by(lambda _: Identity.create(COORDINATOR)),
    "N1 a member who forges a request": by(lambda site: site.home.identity()),
    "N1 no signature": with_record(signature=b""),
    "N1 a signature of text": with_record(signature="abc"),
    "N1 a statement that is no JSON": with_record(statement=b"{"),
    "N1 a statement of a megabyte": with_record(statement=b" " * 1_000_000),
    "N1 other words than were signed": flipped("records"),
    "N1 another signature": flipped("signature"),
    "N1 another statement": flipped("statement"),
    "N1 an array of another hash": flipped("data"),
    "N1 a record beside the envelope": lambda site: RecordDict({**site.request(), "code": ConfigRecord({"a": "b"})}),
    "N1 a reply of the coordinator": as_reply,
    "N2 a request for another client": lambda site: site.request(to="south"),
    "N2 a request for anyone": lambda site: site.request(to="*"),
}


@pytest.mark.parametrize("row", UNTRUSTED)
def test_what_is_not_the_coordinators_word_to_this_client_gets_no_answer(site, row):
    guard = site.guard()
    dropped(site, guard, UNTRUSTED[row](site))
    assert list(read_events(site.home.events)) == []
    guard.receive(site.request())  # and has used nothing up


def asking(**options):
    return lambda site: site.request(**options)


def planned(**sections):
    return lambda site: site.request(plan=build_plan(**sections))


LARGER_NOISE = {"privacy": {"noise-multiplier": 0.4}}
HOSTILE = {
    "N3 a cohort of one": (asking(cohort=("north",)), "COHORT"),
    "N3 a cohort without this client": (asking(cohort=("south", "west")), "COHORT"),
    "N3 strangers": (asking(cohort=("north", "south", "mallory")), "COHORT"),
    "N3 one client many times": (asking(cohort=("north", "north", "south")), "COHORT"),
    "N3 nobody": (asking(cohort=()), "COHORT"),
    "N3 a cohort that is no list": (asking(header={"cohort": '"north"'}), "SCHEMA"),
    "N3 a cohort of numbers": (asking(header={"cohort": "[1, 2]"}), "SCHEMA"),
    "N3 no roster": (asking(header={"roster": 7}), "SCHEMA"),
    "N3 a roster that nobody signed": (asking(roster="{}"), "ROSTER"),
    "N4 no privacy": (lambda site: site.request(plan=build_bare_plan()), "PRIVACY"),
    "N4 a smaller sigma": (planned(privacy={"noise-multiplier": 0.4}), "PRIVACY"),
    "N4 no noise": (planned(privacy={"noise-multiplier": 0.0}), "PRIVACY"),
    "N4 noise that the server knows": (planned(privacy={"noise": "test"}), "PRIVACY"),
    "N4 a larger delta": (planned(privacy={"delta": 0.1}), "PRIVACY"),
    "N4 a larger clip norm": (planned(privacy={"clip-norm": 1e6}), "PRIVACY"),
    "N4 more steps than epsilon allows": (planned(privacy={"steps-per-round": 1000}), "PRIVACY"),
    "N5 more rounds": (planned(federation={"rounds": 501}), "ROUNDS"),
    "N5 a round beyond the plan": (asking(round=11), "ROUNDS"),
    "N5 round zero": (asking(round=0), "ROUNDS"),
    "N5 more epochs": (planned(training={"local-epochs": 1000}), "RANGE"),
    "N5 another learning rate": (planned(training={"learning-rate": 1e9}), "RANGE"),
    "N5 another optimizer": (planned(training={"optimizer": "Rprop"}), "RANGE"),
    "N6 a model of another number type": (asking(values=np.zeros(SIZE)), "LAYOUT"),
    "N6 an empty model": (asking(values=np.zeros(0, np.float32)), "SIZE"),
    "N6 NaN weights": (asking(values=np.array([0, 0, np.nan, 0, 0], np.float32)), "MODEL"),
    "N6 infinite weights": (asking(values=np.array([0, 0, 0, 0, -np.inf], np.float32)), "MODEL"),
    "N7 code by name in a transform": (planned(aggregation={"encode": ["os:system"]}), "ALGORITHM"),
    "N7 an option of the task": (planned(task={"options": {"path": "/etc/passwd"}}), "TASK"),
    "N7 a key that no plan has": (asking(header={"plan": '{"shell": {"run": "id"}}'}), "SCHEMA"),
    "N8 an unknown kind": (asking(signed_kind="execute"), "KIND"),
    "N8 a kind of any length": (asking(signed_kind="x" * 200), "KIND"),
    "N8 code as a task": (planned(task={"name": "os:system"}), "TASK"),
    "N9 an unlisted task": (planned(task={"name": "tabular"}), "TASK"),
    "N9 an unlisted data set": (planned(task={"data": "psychiatry"}), "DATA"),
    "N9 a path": (planned(task={"data": "/etc/passwd"}), "DATA"),
    "N9 a data set granted to nothing": (planned(task={"data": "archive"}), "DATA"),
    "N10 an attribute whose counts may not leave": (
        planned(audit={"sensitive": ["religion"], "vocabularies": {"religion": ["a", "b"]}}),
        "METRICS",
    ),
    "a plan of another hash": (asking(header={"plan-sha256": "0" * 64}), "SCHEMA"),
    "no plan": (asking(header={"plan": "null"}), "SCHEMA"),
    "a plan nested without end": (asking(header={"plan": "[" * 50_000}), "SCHEMA"),
    "another round in the words than in the statement": (asking(header={"round": 2}), "SCHEMA"),
    "a round in words": (asking(header={"round": "1"}), "SCHEMA"),
}


@pytest.mark.parametrize("row", HOSTILE)
def test_a_hostile_request_gets_a_code_and_nothing_else(site, row):
    make, code = HOSTILE[row]
    guard = site.guard()
    refused(site, guard, make(site), code)
    events = list(read_events(site.home.events))
    assert [event.get("code") for event in events if event["event"] == "refused"] == [code]
    assert verify_events(site.home.events) == []


def test_n11_a_model_of_5_gigabytes_is_refused_by_its_declared_size(site):
    """Sealed by hand: nobody need hold such a model to declare it."""
    sealed = site.request()
    records = json.loads(sealed["envelope"]["records"])
    records["arrays"][1]["parameters"][1] = [5 * 10**9 // 4]
    place = Place(run="run", incarnation=1, round=1, attempt=0, kind="train")
    content = unsealed(sealed)
    content["arrays"]["parameters"].shape = (5 * 10**9 // 4,)
    huge = seal(content, place, identity=site.coordinator, destination="north", chain_head="0" * 64, not_after=LATER)[0]
    guard = site.guard()
    with pytest.raises(RequestRefused) as caught:
        guard.receive(huge)
    assert caught.value.cause.code == "SIZE"
    assert_tells_a_code_only(site, guard.refuse(caught.value), huge, "SIZE")


def test_a_model_of_other_bytes_than_declared_is_refused_before_it_is_charged(site):
    content = unsealed(site.request())
    content["arrays"]["parameters"].data = b"\0\0\0"
    place = Place(run="run", incarnation=1, round=1, attempt=0, kind="train")
    sealed = seal(content, place, identity=site.coordinator, destination="north", chain_head="0" * 64, not_after=LATER)[
        0
    ]
    refused(site, site.guard(), sealed, "MODEL")


def test_n1_an_array_that_is_swapped_on_its_way_is_refused_before_it_is_charged(site):
    """A large array comes by itself, after the envelope was opened."""
    guard = site.guard()
    sealed = site.request()
    request = guard.receive(sealed)
    request.content["arrays"]["parameters"].data = np.ones(SIZE, np.float32).tobytes()
    with pytest.raises(RequestRefused) as caught:
        guard.charge(request)
    assert site.charges() == []
    assert_tells_a_code_only(site, guard.refuse(caught.value), sealed, "ARRAY")


def test_n2_a_request_is_worked_on_once_also_after_a_restart(site):
    guard, sealed = site.guard(), site.request(round=2)
    guard.charge(guard.receive(sealed))
    spent = site.charges()
    for again in (guard, site.guard()):
        refused(site, again, sealed, "STALE")
        refused(site, again, site.request(round=1), "STALE")
        refused(site, again, site.request(round=2, correspondence=site.correspondence()), "STALE")
    assert site.charges() == spent
    site.guard().receive(site.request(round=2, attempt=1))


def test_n2_a_request_that_was_held_back_is_refused(site):
    held_back = site.correspondence(clock=lambda: time.time() - 600 - 301)
    refused(site, site.guard(), site.request(correspondence=held_back), "EXPIRED")
    refused(site, site.guard(), site.request(kind="evaluate", correspondence=held_back), "EXPIRED")
    assert site.charges() == []
    site.guard().receive(
        site.request(correspondence=site.correspondence(clock=lambda: time.time() - 600 - 240))
    )  # clocks differ


def answered(site, guard, sealed, **changes):
    request = guard.receive(sealed)
    guard.charge(request)
    return guard.release(request, update(site, **changes))


def content_of(site, reply):
    content = site.read(reply)[1]
    return bytes(content["arrays"]["parameters"].data), dict(content["fedcore"])


def test_who_asks_the_same_again_gets_the_same_answer_uncharged_also_after_a_restart(site):
    sealed, guard = site.request(), site.guard()
    first = content_of(site, answered(site, guard, sealed))
    again = site.request(correspondence=site.correspondence())  # the same words in another envelope
    for each, who in ((sealed, guard), (again, guard), (sealed, site.guard())):
        reply = who.receive(each).answer
        assert content_of(site, reply) == first
        assert site.read(reply)[0].in_reply_to == json.loads(each["envelope"]["statement"])["nonce"]
    assert len(site.charges()) == 1


def test_who_asks_another_thing_in_the_same_place_is_refused(site):
    guard = site.guard()
    answered(site, guard, site.request())
    refused(site, guard, site.request(values=[1.0] * SIZE), "STALE")
    refused(site, guard, site.request(cohort=("north", "south")), "STALE")


def test_an_answer_is_kept_until_the_next_one_of_its_data_set(site):
    guard, first = site.guard(), site.request()
    answered(site, guard, first)
    answered(site, guard, site.request(round=2), round=2)
    refused(site, guard, first, "STALE")
    assert len(list(site.home.outbox.glob("*.bin"))) == 1


def test_an_older_attempt_is_refused_and_neither_answered_nor_worked_on_again(site):
    """Delivered late, after the server tried the round again or was started again: it has given this attempt up."""
    guard = site.guard()
    places = ({"attempt": 0}, {"attempt": 1}, {"correspondence": site.correspondence(incarnation=2)})
    older, old, newest = (site.request(**place) for place in places)
    for sealed in (older, old, newest):
        answered(site, guard, sealed)
    for who in (guard, site.guard()):
        refused(site, who, older, "STALE")
        refused(site, who, old, "STALE")
        assert who.receive(newest).answer is not None
    assert len(site.charges()) == 3


def test_of_two_runs_on_one_data_set_the_one_answered_last_can_ask_again_and_the_other_is_refused(site):
    """The other may well ask: its answer was lost. It has to try the round again, which is charged."""
    guard = site.guard()
    one, two = (site.request(correspondence=site.correspondence(run=run)) for run in ("one", "two"))
    answered(site, guard, one)
    last = content_of(site, answered(site, guard, two))
    for who in (guard, site.guard()):
        refused(site, who, one, "STALE")
        assert content_of(site, who.receive(two).answer) == last
    answered(site, guard, site.request(correspondence=site.correspondence(run="one"), attempt=1))
    assert [(charge.run.partition("@")[0], charge.attempt) for charge in site.charges()] == [
        ("one", 0), ("two", 0), ("one", 1),
    ]  # fmt: skip


def test_where_the_journal_is_lost_the_ledger_refuses_what_it_has_charged(site):
    guard = site.guard()
    attempts = [site.request(attempt=attempt) for attempt in (0, 1)]
    for sealed in attempts:
        answered(site, guard, sealed)
    for sealed in attempts:
        site.home.events.unlink()
        refused(site, site.guard(), sealed, "STALE")


PLACES = st.tuples(st.sampled_from(["one", "two"]), st.integers(1, 2), st.integers(1, 2), st.integers(0, 1))


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(asked=st.lists(st.tuples(PLACES, st.booleans()), min_size=4, max_size=14))
def test_in_whatever_order_requests_are_repeated_each_is_worked_on_once_and_charged(tmp_path_factory, asked):
    """With clients that die at any time; each answer is the first one to its question."""
    site = Site(tmp_path_factory.mktemp("site"), build_policy(privacy={"max-epsilon": 1e6, "budget": {"epsilon": 1e4}}))
    guard, worked_on, answers = site.guard(), [], {}
    for place, dies in asked:
        run, incarnation, round_, attempt = place
        correspondence = site.correspondence(run=run, incarnation=incarnation)
        sealed = site.request(correspondence=correspondence, round=round_, attempt=attempt)
        try:
            request = guard.receive(sealed)
            if request.answer is None:
                guard.charge(request)
                worked_on.append(place)
                values = {"update": torch.tensor([0.01 * len(worked_on)] * SIZE)}  # fresh noise
                reply = guard.release(request, update(site, round=round_, values=values))
                assert answers.setdefault(place, content_of(site, reply)) == content_of(site, reply)
            else:
                assert content_of(site, request.answer) == answers[place]
        except RequestRefused as refusal:
            assert refusal.cause.code == "STALE"  # noqa: PT017 - one of several ends
        guard = site.guard() if dies else guard
    assert len(worked_on) == len(set(worked_on)) == len(site.charges())


@pytest.mark.parametrize("what", ["*.bin", "*.json"])
@pytest.mark.parametrize("how", [lambda path: path.unlink(), lambda path: path.write_bytes(b"\1" * 20)])
def test_an_answer_that_was_damaged_is_not_sent_and_not_made_anew(site, what, how):
    guard, sealed = site.guard(), site.request()
    answered(site, guard, sealed)
    (path,) = site.home.outbox.glob(what)
    how(path)
    refused(site, guard, sealed, "STALE")


def test_an_answer_that_cannot_be_kept_does_not_leave(site, monkeypatch):
    def full(path, content):
        raise StorageError("the disk is full")

    guard = site.guard()
    request = guard.receive(site.request())
    guard.charge(request)
    monkeypatch.setattr("fedcore_clients.ledger.outbox.write_whole", full)
    with pytest.raises(StorageError, match="disk is full"):
        guard.release(request, update(site))
    assert len(site.charges()) == 1


def test_a_client_does_not_start_beside_an_account_that_is_gone(site):
    guard = site.guard()
    guard.charge(guard.receive(site.request()))
    site.home.ledger.unlink()
    with pytest.raises(StorageError, match="what was spent is unknown"):
        site.guard()


def test_n2_an_older_incarnation_of_a_run_is_refused_for_every_kind(site):
    guard = site.guard()
    guard.receive(site.request(round=2, correspondence=site.correspondence(incarnation=3)))
    for kind in ("train", "evaluate"):
        refused(
            site, guard, site.request(kind=kind, round=9, correspondence=site.correspondence(incarnation=2)), "STALE"
        )
    guard.receive(site.request(round=1, correspondence=site.correspondence(incarnation=4)))
    guard.receive(site.request(round=1, correspondence=site.correspondence(run="another")))


def test_n3_an_older_roster_is_refused_and_a_newer_one_kept(site):
    guard, old = site.guard(), site.roster().signed(site.coordinator)
    remove(site.consortium.path, "west")
    guard.receive(site.request(cohort=("north", "south")))
    refused(site, guard, site.request(round=2, cohort=("north", "south"), roster=old), "ROSTER")
    refused(site, site.guard(), site.request(round=2, cohort=("north", "south"), roster=old), "ROSTER")
    refused(site, guard, site.request(round=2), "COHORT")  # west is a stranger now


def test_n3_a_roster_is_named_by_its_hash_to_a_client_that_has_it(site):
    guard = site.guard()
    refused(site, guard, site.request(whole_roster=False), "ROSTER")
    guard.receive(site.request())
    guard.receive(site.request(round=2, whole_roster=False))
    site.guard().receive(site.request(round=3, whole_roster=False))  # it is kept on disk

    remove(site.consortium.path, "west")
    cohort = ("north", "south")
    refused(site, guard, site.request(round=4, cohort=cohort, whole_roster=False), "ROSTER")
    guard.receive(site.request(round=4, cohort=cohort))
    guard.receive(site.request(round=5, cohort=cohort, whole_roster=False))


def test_n3_two_rosters_of_one_version_are_not_taken_in_turns(site):
    guard = site.guard()
    guard.receive(site.request())
    other = site.roster().without_member("west").model_copy(update={"version": site.roster().version})
    cohort = ("north", "south")
    refused(site, guard, site.request(round=2, cohort=cohort, roster=other.signed(site.coordinator)), "ROSTER")
    guard.receive(site.request(round=2))


def test_n3_a_roster_without_this_client_or_with_another_key_for_it_is_refused(site):
    stranger = site.roster().without_member("north")
    refused(site, site.guard(), site.request(roster=stranger.signed(site.coordinator)), "ROSTER")
    mine = site.roster().member("north")
    posed = stranger.with_member(mine.model_copy(update={"identity_key": Identity.create("north").public.key}))
    refused(site, site.guard(), site.request(roster=posed.signed(site.coordinator)), "ROSTER")
    assert not site.home.roster.exists()


def test_n4_an_exhausted_budget_ends_all_training_and_charges_nothing_more(tmp_path):
    site = Site(tmp_path, build_policy(privacy={"budget": {"epsilon": 3.0}, "max-epsilon": 3.0}))
    guard, runs = site.guard(), 0
    while b"BUDGET" not in site.home.events.read_bytes() if site.home.events.exists() else True:
        runs += 1
        assert runs < 200, "the budget never ends"
        try:
            guard.charge(guard.receive(site.request(correspondence=site.correspondence(run=f"run-{runs}"))))
        except RequestRefused as refusal:
            guard.refuse(refusal)
    spent = site.charges()
    assert 1 <= len(spent) == runs - 1
    refused(site, site.guard(), site.request(correspondence=site.correspondence(run="one-more")), "BUDGET")
    assert site.charges() == spent


def test_n4_the_daily_limit_and_a_missing_approval_are_codes_as_well(tmp_path):
    site = Site(tmp_path, build_policy(limits={"requests-per-day": 1}, approval={"required": True}))
    guard = site.guard()
    refused(site, guard, site.request(), "APPROVAL")
    site = Site(tmp_path / "limited", build_policy(limits={"requests-per-day": 1}))
    guard = site.guard()
    guard.receive(site.request())
    refused(site, guard, site.request(round=2), "LIMIT")


def held_back(site, guard, sealed, content, code):
    """The answer is held back, and only a code leaves."""
    request = guard.receive(sealed)
    guard.charge(request)
    with pytest.raises(RequestRefused) as caught:
        guard.release(request, content)
    assert caught.value.cause.code == code, caught.value.cause
    assert_tells_a_code_only(site, guard.refuse(caught.value), sealed, code, read_data=True)


def report(rows=100.0, tables=(), **sums):
    return pack_report(build_report(rows=rows, tables=tables, **sums))


REPORTS = {
    "N10 three rows": (lambda: report(rows=3.0), "MIN_COUNT"),
    "N10 no rows": (lambda: pack_report(ClientReport(client="north", round=1, metrics=Metrics())), "MIN_COUNT"),
    "N10 a metric that is not listed": (lambda: report(loss=1.0, patients=4711.0), "METRICS"),
    "N10 a number that is none": (lambda: report(loss=float("nan")), "METRICS"),
    "N10 a table that the plan does not audit": (lambda: report(tables=[build_table()]), "METRICS"),
    "a report of another client": (lambda: pack_report(replace(build_report(), client="south")), "SCHEMA"),
}


@pytest.mark.parametrize("row", REPORTS)
def test_an_evaluation_that_tells_too_much_is_held_back(site, row):
    make, code = REPORTS[row]
    held_back(site, site.guard(), site.request(kind="evaluate"), make(), code)
    assert site.charges() == []


def update(site, **changes):
    privacy = PrivacyPlan.from_run_plan(site.plan)
    values = {
        "client": "north",
        "round": 1,
        "values": {"update": torch.tensor([0.5] * SIZE)},
        "num_examples": 100,
        "privacy_event": privacy.event(1) if privacy else None,
    }
    update = ClientUpdate(**(values | changes))
    vector = update.values["update"]
    return pack_update(update, build_form(len(vector), str(vector.dtype).removeprefix("torch.")))


UPDATES = {
    "without the promised noise": ({"privacy_event": None}, "PRIVACY"),
    "of three rows": ({"num_examples": 3}, "MIN_COUNT"),
    "that is not finite": ({"values": {"update": torch.tensor([float("nan")] * SIZE)}}, "NONFINITE"),
    "of another size": ({"values": {"update": torch.tensor([1.0])}}, "LAYOUT"),
    "with a training metric": ({"metrics": Metrics(sums={"loss": 1.0}, counts={"loss": 100.0})}, "METRICS"),
}


@pytest.mark.parametrize("row", UPDATES)
def test_an_update_that_breaks_the_promise_is_held_back_and_stays_charged(site, row):
    changes, code = UPDATES[row]
    held_back(site, site.guard(), site.request(), update(site, **changes), code)
    assert len(site.charges()) == 1


def test_an_update_by_the_rules_leaves_signed_and_is_written_down(site):
    guard, sealed = site.guard(), site.request()
    request = guard.receive(sealed)
    guard.charge(request)
    envelope, content = site.read(guard.release(request, update(site)))
    assert set(content) == {"arrays", "fedcore", "metrics"}
    assert envelope.source == "north"
    assert [event["event"] for event in read_events(site.home.events)] == ["accepted", "answered"]


def test_where_the_ledger_stands_is_not_told_unless_the_owner_lets_it(site):
    assert "ledger" not in content_of(site, answered(site, site.guard(), site.request()))[1]


def test_a_receipt_names_the_charge_and_neither_data_set_nor_budget_and_is_the_same_when_asked_again(tmp_path):
    site = Site(tmp_path, build_policy(release={"ledger-receipts": True}))
    guard = site.guard()
    for number in (1, 2):
        sealed = site.request(round=number)
        first = content_of(site, answered(site, guard, sealed, round=number))
        assert content_of(site, guard.receive(sealed).answer) == first
        told, charge = json.loads(first[1]["ledger"]), site.charges()[-1]
        assert set(told) == {"entry", "digest"}
        assert told["entry"] == charge.number
        assert told["digest"] != charge.hash  # which guesses at the entry could be tried on
        with guard._account.ledger.file.reading() as book:
            assert LedgerReceipt.of(book.id, charge.number, charge.hash).to_json() == told
        update = unpack_update(site.read(site.guard().receive(sealed).answer)[1], build_form(SIZE), client="north")
        assert update.receipt.to_json() == told


def test_a_receipt_that_the_child_made_up_does_not_leave(site):
    content = update(site)
    content["fedcore"]["ledger"] = json.dumps({"entry": 1, "digest": "0" * 64})
    held_back(site, site.guard(), site.request(), content, "SCHEMA")


@pytest.mark.parametrize(
    "told",
    [
        '{"entry": 0, "digest": "DIGEST"}',
        '{"entry": true, "digest": "DIGEST"}',
        '{"entry": 1.5, "digest": "DIGEST"}',
        '{"entry": 1, "digest": "ab"}',
        '{"entry": 1, "digest": 5}',
        '{"entry": 1}',
        '{"entry": 1, "digest": "DIGEST", "data_set": "wards"}',
        "[]",
        "x",
    ],
)
def test_a_malformed_receipt_costs_the_update(site, told):
    content = update(site)
    content["fedcore"]["ledger"] = told.replace("DIGEST", "0" * 64)
    with pytest.raises(UpdateRejectedError) as rejected:
        unpack_update(content, build_form(SIZE), client="north")
    assert rejected.value.code == "SCHEMA"


def test_f22_what_was_charged_stays_charged_when_the_client_dies_before_or_after_its_answer(site):
    """The charge comes before data is opened, so that no crash can leave a release uncounted."""
    for round_, dies_after_the_answer in ((1, False), (2, True)):
        guard, sealed = site.guard(), site.request(round=round_)
        request = guard.receive(sealed)
        guard.charge(request)
        if dies_after_the_answer:
            guard.release(request, update(site, round=round_))
        reborn = site.guard()
        assert len(site.charges()) == round_
        refused(site, reborn, sealed, "STALE")  # the same request is not answered, and not charged, twice
    charges = site.charges()
    assert [charge.round for charge in charges] == [1, 2]
    assert sum(event["event"] == "answered" for event in read_events(site.home.events)) <= len(charges)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.just(10**400),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
SECTIONS = ("task", "federation", "training", "privacy", "audit", "engine")
PLANS = JSON | st.dictionaries(st.sampled_from(SECTIONS), JSON | st.dictionaries(st.text(max_size=12), JSON))
HEADERS = st.dictionaries(
    st.sampled_from(["round", "attempt", "cohort", "plan", "plan-sha256", "roster", "roster-sha256"]),
    st.integers() | st.floats() | st.text(max_size=20) | st.booleans() | PLANS.map(json.dumps),
    min_size=1,
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(header=HEADERS)
def test_whatever_the_coordinator_signs_is_refused_with_a_code_unless_it_says_what_it_should(site, header):
    guard, spent = site.guard(), site.charges()
    honest = dict(unsealed(site.request())["fedcore"])
    try:
        guard.charge(guard.receive(site.request(header=header)))
    except RequestRefused as refusal:
        assert re.fullmatch("[A-Z_]{1,32}", refusal.cause.code)  # noqa: PT017 - one that is let in is right as well
        assert site.charges() == spent
    else:
        assert {**honest, **header} == honest


def test_without_privacy_the_numbers_of_training_leave_as_the_policy_says(tmp_path):
    site = Site(tmp_path, build_open_policy())
    site.plan = build_bare_plan()
    guard = site.guard()
    request = guard.receive(site.request())
    guard.charge(request)
    told = Metrics(sums={"loss": 1.0}, counts={"loss": 100.0})
    _, content = site.read(guard.release(request, update(site, metrics=told)))
    assert dict(content["metrics"]) == {"sum.loss": 1.0, "count.loss": 100.0}
    assert isinstance(content["metrics"], MetricRecord)


def test_a_ledger_that_is_not_the_data_sets_own_is_refused_with_a_code(site):
    guard = site.guard()
    guard.charge(guard.receive(site.request()))
    (mark,) = (site.home.path.parent / "data").glob("*.fedcore-ledger")
    found = json.loads(mark.read_text())
    mark.write_text(json.dumps({**found, "ledger": "0" * len(found["ledger"])}))
    request = guard.receive(site.request(round=2))
    with pytest.raises(RequestRefused) as caught:
        guard.charge(request)
    assert caught.value.cause.code == "LEDGER"
    mark.write_text(json.dumps(found))
    assert len(site.charges()) == 1
