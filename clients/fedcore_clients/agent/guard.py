"""All that stands between the network and the data: checks of requests and of replies.

The order is fixed: signature, freshness, roster, policy; then the array is fetched and compared with what was signed;
then the budget is charged; only then is data opened. A reply is checked again and signed. An update is also stored, and
a repeated request gets the same one: fresh noise each time could be averaged away.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal, cast

from flwr.app import RecordDict

from fedcore.errors import DataError, PlanError, StorageError, TrustError
from fedcore.refusals import Refusal
from fedcore.storage.events import EventLog
from fedcore.storage.files import write_whole
from fedcore.trust.identity import Identity, PublicIdentity
from fedcore.trust.roster import Roster
from fedcore.wire.envelope import Envelope, Place, check_array, open_envelope, seal, unsealed
from fedcore.wire.records import array_bytes, header_of, one_array
from fedcore.wire.replies import add_receipt, pack_refusal
from fedcore.wire.requests import hash_of_roster, unpack_cohort, unpack_plan, unpack_roster
from fedcore_clients.agent.admission import (
    Request,
    RequestRefused,
    check_model,
    event_fields,
    newest_requests,
    question_of,
    refusing,
)
from fedcore_clients.agent.egress import checked_reply
from fedcore_clients.agent.home import ClientHome
from fedcore_clients.ledger.outbox import Outbox
from fedcore_clients.ledger.rows import change_in_words
from fedcore_clients.policy.approvals import Approvals, Clock
from fedcore_clients.policy.budget import Account
from fedcore_clients.policy.daily_requests import DailyRequests
from fedcore_clients.policy.request_facts import RequestFacts
from fedcore_clients.policy.request_gate import check_request, requests_per_day
from fedcore_clients.policy.settings import Policy

_CLOCK_SKEW_SECONDS = 300.0


class Guard:
    """The client's gate in both directions, with its journal, its account and its stored replies.

    Args:
        home: Where the client keeps its files.
        clock: The present, with its time zone.
        data: Path of each data set by its name.

    Raises:
        TrustError: A key or the roster is absent or damaged.
        StorageError: A journal or the ledger is damaged, or the ledger is not the one last seen.
    """

    def __init__(self, home: ClientHome, policy: Policy, clock: Clock, *, data: Mapping[str, Path]) -> None:
        self._home, self._policy, self._clock, self._data = home, policy, clock, data
        self._identity: Identity = home.identity()
        self._coordinator: PublicIdentity = home.coordinator()
        self._roster_text = ""
        self._roster = self._known_roster()
        self._approvals = Approvals(home.approvals, clock)
        self._account = Account.opened(home, policy.privacy, clock, data=data)
        self._outbox = Outbox(home.outbox)
        self._daily = DailyRequests(home.path / "requests.json", clock)
        self._newest = newest_requests(home)
        self._charged = ""
        self.events = EventLog(home.events, clock=clock)

    def changed_rows(self) -> Iterator[str]:
        """A line for each data set whose rows changed since its last charge; it is logged, too."""
        for name, last in self._account.changed():
            self.events.append("rows-changed", data_set=name, since_entry=last.number)
            yield change_in_words(name, last)

    @property
    def name(self) -> str:
        return self._identity.name

    @property
    def num_members(self) -> int:
        """Clients on the newest roster; 1 before there is one."""
        return len(self._roster.members) if self._roster else 1

    def receive(self, sealed: RecordDict) -> Request:
        """Accept a request, by its small records only.

        Raises:
            TrustError: It is not the coordinator's, or was changed: it gets no signed answer.
            RequestRefused: It is genuine, and refused.
        """
        envelope = open_envelope(sealed, self._coordinator, destination=self.name)
        if envelope.in_reply_to:
            raise TrustError("expected a request, found a reply")
        with refusing(envelope, DataError, PlanError, code=Refusal.SCHEMA):
            return self._judged(unsealed(sealed), envelope)

    def charge(self, request: Request) -> None:
        """Compare the array with what was signed, and charge the budget; afterwards data may be opened.

        Raises:
            RequestRefused: The array differs, or the budget does not allow it.
        """
        with refusing(request.envelope, TrustError, code=Refusal.ARRAY):
            check_array(request.content, request.envelope)
            check_model(one_array(request.content), request.array_bytes)
        with refusing(request.envelope, StorageError, code=Refusal.LEDGER):
            self._account.charge(request.facts)
        self._charged = request.envelope.nonce

    def release(self, request: Request, content: RecordDict) -> RecordDict:
        """Check a reply again, and sign it.

        Raises:
            RequestRefused: The policy does not allow it.
            StorageError: An update could not be stored; it must not leave.
        """
        facts = request.facts
        with refusing(request.envelope):
            checked = checked_reply(content, facts, self._policy, client=self.name)
        if facts.kind == "train":
            self._keep(request.envelope, facts, checked)
        sealed = self._sealed(checked, request.envelope)
        self.events.append("answered", **event_fields(request.envelope.place))
        return sealed

    def refuse(self, refusal: RequestRefused) -> RecordDict:
        """The signed refusal: its code leaves, its reason is logged here."""
        place, code = refusal.envelope.place, refusal.cause.code
        self.events.append("refused", **event_fields(place), code=code, reason=str(refusal.cause)[:500])
        read_data = refusal.envelope.nonce == self._charged or code == Refusal.STALE  # where it was asked before
        return self._sealed(pack_refusal(code, read_data=read_data), refusal.envelope)

    def _judged(self, content: RecordDict, envelope: Envelope) -> Request:
        place = envelope.place
        if self._clock().timestamp() > envelope.not_after + _CLOCK_SKEW_SECONDS:
            raise Refusal.EXPIRED("the request has expired; if it is new, compare the two clocks")
        if (again := self._answered_before(content, envelope)) is not None:
            return again
        self._refuse_stale(place)
        self._learn_roster(*unpack_roster(content))
        facts = self._facts(content, place)
        self._check_request(facts)
        self._daily.note()
        self._newest[place.run, place.kind] = place.order
        self.events.append("accepted", **event_fields(place), peer=envelope.source, peer_head=envelope.chain_head)
        return Request(envelope=envelope, content=content, facts=facts, array_bytes=facts.array_bytes)

    def _check_request(self, facts: RequestFacts) -> None:
        if self._roster is None:
            raise Refusal.ROSTER("no roster has been received yet")
        check_request(
            facts,
            policy=self._policy,
            roster=self._roster,
            me=self.name,
            approvals=self._approvals,
            requests_today=self._daily.today,
        )
        if facts.data_set not in self._data:
            raise Refusal.DATA(f"no path was given for data set {facts.data_set!r}; start with --data")

    def _facts(self, content: RecordDict, place: Place) -> RequestFacts:
        array = one_array(content)
        header = header_of(content)
        if (header.get("round"), header.get("attempt")) != (place.round, place.attempt):
            raise Refusal.SCHEMA("the request's round is not the one that was signed")
        return RequestFacts(
            run=place.run,
            incarnation=place.incarnation,
            round=place.round,
            attempt=place.attempt,
            kind=cast(Literal["train", "evaluate"], place.kind),
            plan=unpack_plan(content),
            cohort=unpack_cohort(content),
            roster_version=self._roster.version if self._roster else 0,
            model_dtype=array.dtype,
            array_bytes=array_bytes(array),
        )

    def _keep(self, envelope: Envelope, facts: RequestFacts, content: RecordDict) -> None:
        """Store an update before it leaves, and record it in the ledger."""
        asked = self._account.asked(facts)
        if self._policy.release.ledger_receipts:
            add_receipt(content, self._account.ledger.receipt(asked))
        digest = self._outbox.put(facts.data_set, asked.place, question_of(envelope), content)
        self._account.ledger.seal(asked, digest)

    def _answered_before(self, content: RecordDict, envelope: Envelope) -> Request | None:
        """A request to train word for word as one that was answered; it is not charged or computed again."""
        place = envelope.place
        if place.kind != "train" or self._newest.get((place.run, place.kind)) != place.order:
            return None
        facts = self._facts(content, place)
        asked = self._account.asked(facts)
        digest = self._account.ledger.sealed(asked)
        kept = digest and self._outbox.get(facts.data_set, asked.place, question_of(envelope), digest)
        if not kept or self._daily.today >= requests_per_day(facts.plan, self._policy):
            return None
        self._daily.note()
        self.events.append("answered-again", **event_fields(place))
        answer = self._sealed(kept, envelope)
        return Request(envelope=envelope, content=content, facts=facts, array_bytes=facts.array_bytes, answer=answer)

    def _refuse_stale(self, place: Place) -> None:
        """A request is accepted only if it is newer than every accepted one of its kind in this run."""
        newest = self._newest.get((place.run, place.kind))
        incarnation = max((order[0] for (run, _), order in self._newest.items() if run == place.run), default=0)
        if (newest is not None and place.order <= newest) or place.incarnation < incarnation:
            raise Refusal.STALE("this request, or a newer one, was accepted before")

    def _learn_roster(self, text: str, digest: str) -> None:
        """Store the newest roster; refuse an older one than was seen, and ask for one that is absent."""
        known = self._roster is not None and digest == hash_of_roster(self._roster_text)
        if known and text in ("", self._roster_text):
            return
        if not text:
            raise Refusal.ROSTER("this client does not have the roster that was named; the next request brings it")
        if digest != hash_of_roster(text):
            raise Refusal.ROSTER("the roster is not the one that the request names")
        try:
            roster = Roster.read(text, self._coordinator.key)
        except TrustError as error:
            raise Refusal.ROSTER(str(error)) from error
        if self._roster is not None and roster.version <= self._roster.version:
            raise Refusal.ROSTER("the roster is older than the one seen before, or differs from it in the same version")
        member = roster.member(self.name)
        if member is None or member.identity_key != self._identity.public.key:
            raise Refusal.ROSTER("the roster does not hold this client with its own key")
        write_whole(self._home.roster, text)
        self._roster, self._roster_text = roster, text

    def _known_roster(self) -> Roster | None:
        with contextlib.suppress(FileNotFoundError):
            self._roster_text = self._home.roster.read_bytes().decode(errors="replace")
            return Roster.read(self._roster_text, self._coordinator.key)
        return None

    def _sealed(self, content: RecordDict, request: Envelope) -> RecordDict:
        return seal(
            content,
            request.place,
            identity=self._identity,
            destination=request.source,
            chain_head=self.events.head,
            in_reply_to=request.nonce,
        )[0]
