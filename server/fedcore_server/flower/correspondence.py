"""The server's side of the signed correspondence: every request sealed, every reply checked before it is read."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence

from flwr.app import RecordDict

from fedcore.errors import TrustError, UpdateRejectedError
from fedcore.storage.events import EventLog
from fedcore.trust.identity import COORDINATOR, Identity, PublicIdentity
from fedcore.trust.roster import Roster
from fedcore.wire.envelope import Envelope, Place, check_array, claimed_source, open_envelope, seal

_REQUEST_SECONDS = 600.0


class Correspondence:
    """What one incarnation of a run writes to clients and accepts from them.

    A reply is accepted once: it must name the nonce of an open request of this incarnation. Replies that are late, sent
    twice, or from before a restart are refused.

    Args:
        identity: The coordinator's key, under the name `COORDINATOR`.
        roster: Gives the newest roster, so that a removed client is refused from then on.
        incarnation: Greater than that of every earlier start of this run.
        events: The run's event log; its head is sent, and the clients' heads are kept in it.
        clock: Unix time in seconds.
    """

    def __init__(
        self,
        identity: Identity,
        roster: Callable[[], Roster],
        *,
        run: str,
        incarnation: int,
        events: EventLog,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._clock = clock
        self._identity, self._roster, self._events = identity, roster, events
        self._run, self._incarnation = run, incarnation
        self._open: set[str] = set()

    def members(self) -> Mapping[bytes, str]:
        """Names on the roster by each client's Flower key."""
        return {member.flower_key: member.name for member in self._roster().members}

    def note_connected(self, names: Sequence[str]) -> None:
        self._events.append("clients-connected", clients=list(names))

    def signed_roster(self) -> str:
        return self._roster().signed(self._identity)

    def write(
        self,
        content: RecordDict,
        *,
        to: str,
        kind: str,
        round: int,
        attempt: int = 0,
        seconds: float = _REQUEST_SECONDS,
        array_sha256: str | None = None,
    ) -> tuple[RecordDict, Envelope]:
        """Seal a request, and remember that its reply is awaited.

        Args:
            seconds: How long the request is valid.
            array_sha256: As in `seal`.
        """
        place = Place(run=self._run, incarnation=self._incarnation, kind=kind, round=round, attempt=attempt)
        sealed, envelope = seal(
            content,
            place,
            identity=self._identity,
            destination=to,
            chain_head=self._events.head,
            not_after=math.ceil(self._clock() + seconds),
            array_sha256=array_sha256,
        )
        self._open.add(envelope.nonce)
        return sealed, envelope

    def read(self, sealed: RecordDict, request: Envelope, *, sender: str) -> Envelope:
        """Check the reply to `request` before its array is fetched.

        Args:
            sender: Who was asked.

        Raises:
            UpdateRejectedError: With the code ``BAD_SIGNATURE``, ``NOT_EXPECTED`` or ``DUPLICATE``.
        """
        try:
            envelope = open_envelope(sealed, self._key_of(claimed_source(sealed)), destination=COORDINATOR)
        except TrustError as error:
            raise UpdateRejectedError(sender, "BAD_SIGNATURE", str(error)) from error
        if envelope.place != request.place or envelope.in_reply_to != request.nonce:
            raise UpdateRejectedError(sender, "NOT_EXPECTED", "the reply belongs to another request")
        if envelope.source != sender:
            raise UpdateRejectedError(sender, "NOT_EXPECTED", "the reply is another client's")
        if request.nonce not in self._open:
            raise UpdateRejectedError(sender, "DUPLICATE", "this request was answered already")
        self._open.discard(request.nonce)
        self._events.append(
            f"{envelope.place.kind}-answered",
            round=envelope.place.round,
            attempt=envelope.place.attempt,
            peer=envelope.source,
            peer_head=envelope.chain_head,
        )
        return envelope

    def check_array(self, content: RecordDict, envelope: Envelope) -> None:
        """Check the array that has come in since.

        Raises:
            UpdateRejectedError: With the code ``BAD_SIGNATURE``.
        """
        try:
            check_array(content, envelope)
        except TrustError as error:
            raise UpdateRejectedError(envelope.source, "BAD_SIGNATURE", str(error)) from error

    def _key_of(self, name: str) -> PublicIdentity:
        member = self._roster().member(name)
        if member is None:
            raise TrustError("the reply's sender is not on the roster")
        return PublicIdentity(name=member.name, key=member.identity_key)
