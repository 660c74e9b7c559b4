"""What a federation server knows between two rounds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from fedcore.messages import LedgerReceipt
from fedcore.parameters import Parameters

Part = Mapping[str, Any]
"""Tensors and plain JSON values by name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerState:
    """The federation after `round` rounds; a new value after each, never changed in place.

    Attributes:
        round: Rounds committed so far.
        attempt: Attempts at the next round that have failed.
        asked: How often a cohort was asked to train, failed attempts included: what privacy is charged for, since a
            client that trained has released its update whether or not the round was committed. An attempt in which no
            client opened its data is not counted.
        evaluated: How often clients were asked to evaluate; held-out rows are charged for it where evaluation is
            private.
        parts: State of each part of a round, by its name: ``algorithm``, ``aggregation``, ``optimizer``, ``average``,
            ``choice``, ``clock``, ``flight``, ``gate``, ``loss``, ``retried``, ``stop``. A checkpoint stores them
            without knowing their meaning.
        settled: Whether no request is in progress: the run paused by itself.
    """

    round: int
    parameters: Parameters
    attempt: int = 0
    asked: int = 0
    evaluated: int = 0
    parts: Mapping[str, Part] = field(default_factory=dict)
    settled: bool = False

    def part(self, name: str) -> Part:
        """State of a part; empty at first."""
        return self.parts.get(name, {})

    def with_parts(self, **parts: Part) -> ServerState:
        """The state with some parts replaced; an empty part is left out."""
        kept = {name: part for name, part in {**self.parts, **parts}.items() if part}
        return replace(self, parts=kept)

    @property
    def candidate(self) -> Parameters:
        """The model that is evaluated after the round: the average, where the plan averages."""
        return self._model_in("average") or self.parameters

    @property
    def released(self) -> Parameters:
        """The model that is released if no round follows: that of the chosen round, or else the candidate."""
        return self._model_in("choice") or self.candidate

    @property
    def released_round(self) -> int:
        return int(self.part("choice").get("round", self.round))

    def _model_in(self, name: str) -> Parameters | None:
        part = self.part(name)
        return Parameters(part["parameters"], self.parameters.layout) if part else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejection:
    """Why a reply was not counted.

    Attributes:
        code: One word, such as ``NONFINITE``.
        read_data: Whether the client may have opened its data, and so have released something: false only for a client
            that was not asked, or refused before.
    """

    client: str
    code: str
    reason: str
    read_data: bool = True

    @property
    def refusal(self) -> str:
        """The client's own code, where its policy refused; else empty."""
        return self.reason.rpartition(": ")[2] if self.code == "REFUSED" else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """A round in simulated time; all in seconds since the run began.

    Attributes:
        begin: When the server was done with the round before.
        spans: For each client with which it was done in this round: when it was asked, and when its reply came or the
            server stopped waiting.
    """

    begin: float
    end: float
    spans: Mapping[str, tuple[float, float]]

    def to_json(self) -> dict[str, Any]:
        return {
            "simulated_seconds": self.end - self.begin,
            "simulated_clock": self.end,
            "simulated_spans": {client: list(span) for client, span in self.spans.items()},
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundReport:
    """Result of a round.

    Attributes:
        asked: The cohort.
        counted: Clients whose updates are in the new model.
        rejected: Clients whose replies were not counted.
        committed: Whether there was a quorum and the model changed.
        training: Means of the training metrics over the counted clients' rows.
        update_norm: Euclidean norm of the mean update.
        num_examples: Public training rows of each counted client that reports them.
        clip_norm: Clip norm of the updates, under client-level privacy.
        bytes_sent: Of the arrays sent to the cohort; headers and encryption are not counted.
        bytes_received: Of the arrays of counted updates.
        receipts: Ledger receipts of the counted clients that send them.
        timing: ``None`` where the run has no simulated time.
    """

    round: int
    attempt: int
    asked: tuple[str, ...]
    counted: tuple[str, ...]
    rejected: tuple[Rejection, ...]
    committed: bool
    training: Mapping[str, float]
    update_norm: float
    num_examples: Mapping[str, int] = field(default_factory=dict)
    clip_norm: float | None = None
    receipts: Mapping[str, LedgerReceipt] = field(default_factory=dict)
    bytes_sent: int = 0
    bytes_received: int = 0
    timing: Timing | None = None
