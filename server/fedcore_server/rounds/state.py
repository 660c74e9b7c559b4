"""What a federation server knows between two rounds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor

from fedcore.messages import LedgerReceipt
from fedcore.mitigation.steering import Steering
from fedcore.parameters import Parameters


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """The model of a round that is released, whatever comes after it, unless that is better.

    Attributes:
        merit: What the choice goes by, more being better: the accuracy, or the negative loss.
    """

    round: int
    merit: float
    parameters: Parameters


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerState:
    """The federation after `round` rounds; a new value after each, never changed in place.

    Attributes:
        round: Rounds committed so far.
        attempt: Attempts at the next round that have failed.
        asked: How often a cohort was asked to train, failed attempts included: what privacy is charged for,
            since a client that trained has released its update whether or not the round was committed. An attempt
            in which nobody opened its data, for none was asked or all refused before, is not counted.
        evaluated: How often clients were asked to evaluate; held-out rows are charged for it where that is private.
        parameters: The current model.
        moments: Buffers of the server optimizer by name, each of the model's shape.
        average: Moving average of the rounds' models, where the plan asks for one.
        clip_norm: Of the next round's updates, where it follows them.
        steering: What mitigates gaps in the next rounds, from the evaluations so far.
        choice: The best round so far, where the plan chooses one and any was within its limits.
        usual_norms: Norms of the updates received in each of the newest rounds and failed attempts, by client, of which
            each is in one; none where the plan gives a limit.
        first_loss: Of the first evaluation, or of a model that knows nothing where that is less; once the run paused
            for its loss, the one at which it did.
        settled: Whether no request is in work: the run paused by itself.
    """

    round: int
    parameters: Parameters
    attempt: int = 0
    asked: int = 0
    evaluated: int = 0
    moments: Mapping[str, Tensor] = field(default_factory=dict)
    average: Parameters | None = None
    clip_norm: float | None = None
    steering: Steering | None = None
    choice: Choice | None = None
    usual_norms: tuple[Mapping[str, float], ...] = ()
    first_loss: float | None = None
    settled: bool = False

    @property
    def candidate(self) -> Parameters:
        """The model that is evaluated after the round: the average where there is one."""
        return self.parameters if self.average is None else self.average

    @property
    def released(self) -> Parameters:
        """The model that is released if no round follows: that of the chosen round, or else the candidate."""
        return self.candidate if self.choice is None else self.choice.parameters

    @property
    def released_round(self) -> int:
        """The round of that model."""
        return self.round if self.choice is None else self.choice.round


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejection:
    """A reply that was not counted, and why.

    Attributes:
        code: One word, such as ``NONFINITE``.
        read_data: Whether the client may have opened its data, and so have released something: all but a client that
            was not asked, or that refused before.
    """

    client: str
    code: str
    reason: str
    read_data: bool = True

    @property
    def refusal(self) -> str:
        """The client's own code, where its policy refused; empty where something else went wrong."""
        return self.reason.rpartition(": ")[2] if self.code == "REFUSED" else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundReport:
    """What happened in a round.

    Attributes:
        asked: The cohort.
        counted: Clients whose updates are in the new model.
        rejected: Clients whose replies were not counted.
        committed: Whether there was a quorum, so that the model moved on.
        training: Means of the training metrics over the counted clients' rows.
        update_norm: Euclidean norm of the mean update.
        num_examples: Public training rows of each counted client that tells them.
        clip_norm: To which the updates were clipped, under client-level privacy.
        receipts: Where the ledgers of counted clients stand, of those that tell.
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
