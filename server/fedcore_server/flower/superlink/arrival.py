"""Replies, as the driver receives them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from flwr.app import ConfigRecord, MetricRecord
from flwr.common.constant import ErrorCode
from flwr.proto.message_pb2 import Message as MessageProto
from flwr.supercore.inflatable.inflatable_utils import ObjectUnavailableError

from fedcore.wire.objects import ObjectError, ObjectReader, Pull, RemoteArray, RemoteRecords, read_chunks

_BY_THE_SUPERLINK = {
    ErrorCode.MESSAGE_UNAVAILABLE: ("LATE", "no reply before the deadline"),
    ErrorCode.REPLY_MESSAGE_UNAVAILABLE: ("LATE", "the reply was not whole before the deadline"),
    ErrorCode.NODE_UNAVAILABLE: ("ABSENT", "no longer connected"),
}
"""The SuperLink's answers in place of a silent client: not the client's errors."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Why a reply has no content.

    Attributes:
        code: ``ERROR`` when the client answered with an error; ``LATE`` or ``ABSENT`` when the SuperLink did in its
            place; ``MALFORMED``, ``TOO_LARGE`` or ``MISSING`` for what is wrong with its objects.
        number: Flower's number of the error, such as 5 for a client that is gone; 0 otherwise.
        reason: Our words. An error's own text is the client's, may hold data, and is not kept.
    """

    code: str
    number: int = 0
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """A reply: its small records are here, the bytes of its arrays still with the SuperLink.

    Attributes:
        reply_to_message_id: The id that `StreamingGrid.push_messages` gave.
        error: Why there are no records; None when there are.
    """

    message_id: str
    reply_to_message_id: str
    error: Failure | None = None
    small: Mapping[str, ConfigRecord | MetricRecord] = field(default_factory=dict)
    arrays: Mapping[str, Mapping[str, RemoteArray]] = field(default_factory=dict)
    pull: Pull = field(repr=False)
    forget: Callable[[], None] = field(repr=False)

    def chunks(self, array: RemoteArray, *, max_bytes: int | None = None) -> Iterator[memoryview]:
        """The bytes of one of the arrays, a chunk at a time, hashes checked.

        Raises:
            ObjectError: A chunk is malformed, too large, or missing; only this reply is lost.
        """
        return read_chunks(array, self.pull, max_bytes=max_bytes)

    def confirm(self) -> None:
        """Let the SuperLink delete the reply, when it was read or will not be."""
        self.forget()


@dataclass(slots=True)
class Reply:
    """A reply whose objects may still be on their way."""

    header: MessageProto
    reader: ObjectReader
    pull: Pull
    forget: Callable[[], None]

    def complete(self) -> Arrival | None:
        """None as long as an object is missing. A message's own object is sent last."""
        if self.header.HasField("error"):
            number = self.header.error.code
            if number in _BY_THE_SUPERLINK:
                code, reason = _BY_THE_SUPERLINK[number]
                return self._arrival(Failure(code=code, number=number, reason=reason))
            return self._arrival(Failure(code="ERROR", number=number, reason=f"the client failed (code {number})"))
        try:
            return self._arrival(None, self.reader.records(self.header.metadata.message_id))
        except ObjectUnavailableError:
            return None
        except ObjectError as error:
            return self._arrival(Failure(code=error.code, reason=str(error)))

    def _arrival(self, error: Failure | None, records: RemoteRecords | None = None) -> Arrival:
        return Arrival(
            message_id=self.header.metadata.message_id,
            reply_to_message_id=self.header.metadata.reply_to_message_id,
            error=error,
            small=records.small if records else {},
            arrays=records.arrays if records else {},
            pull=self.pull,
            forget=self.forget,
        )
