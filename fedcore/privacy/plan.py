"""A run's privacy promise, as one frozen value from which everything that must agree is derived.

Sampler, clipping, noise, accounting event and statement all read the same `PrivacyPlan`; none has a
parameter of its own. Deriving them apart is how guarantees are lost in silence: a loader that shuffles
under an accountant that assumes Poisson sampling, or a divisor that depends on the data.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from fedcore.errors import PrivacyError

if TYPE_CHECKING:
    from fedcore.plan import RunPlan


class Unit(StrEnum):
    """What one privacy unit is."""

    RECORD = "record"
    CLIENT = "client"


class Relation(StrEnum):
    """Which data sets count as neighbours."""

    ZERO_OUT = "zero-out"
    """One record's contribution is blanked; the number of records is public."""

    ADD_REMOVE = "add-remove"
    """One record more or less; the number of records is secret."""

    REPLACE_ONE = "replace-one"
    """One record is another; the number of records is public. The clipped sum moves by twice the clip norm."""

    @property
    def moved(self) -> float:
        """Largest change of a clipped sum between neighbours, in clip norms."""
        return 2.0 if self is Relation.REPLACE_ONE else 1.0


class NoiseKind(StrEnum):
    """The source of randomness behind a guarantee."""

    SECURE = "secure"
    TEST = "test"


class NoisePrecision(StrEnum):
    """The number type in which noise is drawn; it is added in the wider type of noise and sum."""

    FLOAT64 = "float64"
    FLOAT32 = "float32"


@dataclass(frozen=True, slots=True, kw_only=True)
class PrivacyEvent:
    """One use of the data by the Poisson-subsampled Gaussian mechanism, as data.

    Events are what is stored and composed; ε is computed from them, so that a better accountant improves
    old records too. The meaning of an event never changes: a new meaning is a new class (as in
    ``dp_accounting``).

    Attributes:
        sampling_rate: Probability of each record to be in a step's batch; 1 is no sampling.
        noise_multiplier: Standard deviation of the noise over the clip norm, which is the largest norm of one record's
            contribution, and the sensitivity under zero-out and add-remove. It describes the mechanism; the accountant
            adds the relation for which ε is computed.
    """

    sampling_rate: float
    noise_multiplier: float
    steps: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PrivacyPlan:
    """Record-level DP-SGD inside every client.

    Guarantee:
        Each step releases the sum of per-record gradients, each clipped to Euclidean norm `clip_norm`, plus
        a normal vector of standard deviation ``noise_multiplier * clip_norm`` in every coordinate, divided
        by the public constant `nominal_batch`. A record is in a step's batch with probability
        `sampling_rate`, independently and in secret. Blanking, adding or removing a record moves the sum by
        at most `clip_norm`, replacing one by at most twice that (`sensitivity`), so that a step is the
        Poisson-subsampled Gaussian mechanism of Abadi et al. 2016 (arXiv 1607.00133), and all of a client's
        steps compose to `total_event`. Unit: one record of one client. Assumes that the client's own code is
        honest, that `noise` is ``secure``, and that the gradient of a record depends on no other record;
        `fedcore.privacy.isolation.Isolation` says how that is known.

    Attributes:
        noise_multiplier: Standard deviation of the noise over the clip norm, whatever the relation.
        nominal_batch: Public divisor; never the size of a batch that was drawn.
        rounds: Rounds of the whole run. Every client is charged for all of them: asking a sample of the clients
            amplifies nothing, since the server sees whom it asked.
        max_records_per_person: Declared cap on the records of one person at one client, for the ε of a person.
    """

    unit: Unit
    relation: Relation
    sampling_rate: float
    noise_multiplier: float
    clip_norm: float
    nominal_batch: float
    steps_per_round: int
    rounds: int
    delta: float
    noise: NoiseKind
    max_records_per_person: int | None = None
    noise_precision: NoisePrecision = NoisePrecision.FLOAT64

    @classmethod
    def from_run_plan(cls, plan: RunPlan) -> PrivacyPlan | None:
        """The resolved plan's promise to each record; ``None`` without one.

        Raises:
            PrivacyError: The plan still has a target ε or no divisor: it is not resolved.
        """
        section = plan.privacy
        if section.unit != "record":
            return None
        if section.noise_multiplier is None or section.nominal_batch is None:
            raise PrivacyError("the plan is not resolved: noise-multiplier and nominal-batch must be numbers")
        return cls(
            unit=Unit(section.unit),
            relation=Relation(section.relation),
            sampling_rate=section.sampling_rate,
            noise_multiplier=section.noise_multiplier,
            clip_norm=section.clip_norm,
            nominal_batch=section.nominal_batch,
            steps_per_round=section.steps_per_round,
            rounds=plan.federation.rounds,
            delta=section.delta,
            noise=NoiseKind(section.noise),
            max_records_per_person=section.max_records_per_person,
            noise_precision=NoisePrecision(section.noise_precision),
        )

    @property
    def sensitivity(self) -> float:
        """Largest Euclidean change of the clipped sum between neighbours."""
        return self.relation.moved * self.clip_norm

    @property
    def noise_std(self) -> float:
        """Standard deviation of the noise in every coordinate of the clipped sum."""
        return self.noise_multiplier * self.clip_norm

    def event(self, rounds: int) -> PrivacyEvent:
        """Privacy cost of a client after `rounds` rounds."""
        return PrivacyEvent(
            sampling_rate=self.sampling_rate,
            noise_multiplier=self.noise_multiplier,
            steps=rounds * self.steps_per_round,
        )

    @property
    def total_event(self) -> PrivacyEvent:
        return self.event(self.rounds)
