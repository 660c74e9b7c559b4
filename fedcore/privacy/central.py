"""Client-level differential privacy: a trusted server clips each update and adds noise to their sum."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fedcore.errors import PrivacyError
from fedcore.privacy.plan import NoiseKind, PrivacyEvent, Relation, Unit
from fedcore.privacy.planning import USELESS, noise_over_a_run
from fedcore.text.wording import counted

if TYPE_CHECKING:
    from fedcore.plan import RunPlan

_CLIP_LEARNING_RATE = 0.2
_COUNT_NOISE_SHARE = 20.0
_LITTLE_NOISE = 0.3


@dataclass(frozen=True, slots=True, kw_only=True)
class CentralPrivacy:
    """What a run promises to each client as a whole, as one frozen value.

    Guarantee:
        Each round releases the sum of the counted clients' updates, each clipped to Euclidean norm `clip_norm`,
        plus a normal vector of standard deviation ``noise_multiplier * clip_norm``, divided by the public constant
        `cohort` (DP-FedAvg: McMahan et al. 2018, arXiv 1710.06963). Blanking, adding or removing a client moves the
        sum by at most the clip norm, so that a round is the Gaussian mechanism, Poisson-subsampled where
        `sampling_rate` is below 1. Unit: one client with all of its rows. Holds against anyone who sees models and
        journal, not against the server, which sees every update; assumes that the server is honest.

        With `quantile` the clip norm follows that quantile of the updates' norms (Andrew et al. 2021, arXiv
        1905.03871): a noisy count of the updates within it is released too, and both together cost what
        `noise_multiplier` says (their theorem 1).

    Attributes:
        clip_norm: Of an update; with `quantile` that of the first round.
        cohort: Public divisor: the clients asked in a round, or their expected number.
        sampling_rate: Probability that a client is asked; 1 unless the plan declares that only the trusted server
            learns who was. Otherwise sampling amplifies nothing.
        quantile: Share of updates that should be within the clip norm; ``None`` keeps it fixed.
    """

    relation: Relation
    noise_multiplier: float
    clip_norm: float
    cohort: float
    sampling_rate: float
    rounds: int
    delta: float
    noise: NoiseKind
    quantile: float | None

    @classmethod
    def from_run_plan(cls, plan: RunPlan) -> CentralPrivacy | None:
        """The resolved plan's promise to its clients; ``None`` without one.

        Raises:
            PrivacyError: The plan still has a target ε, or adaptive clipping cannot have so much noise.
        """
        section, federation = plan.privacy, plan.federation
        if section.unit != "client":
            return None
        if section.noise_multiplier is None:
            raise PrivacyError("the plan is not resolved: noise-multiplier must be a number")
        promise = cls(
            relation=Relation(section.relation),
            noise_multiplier=section.noise_multiplier,
            clip_norm=section.clip_norm,
            cohort=float(federation.cohort_size or federation.clients),
            sampling_rate=client_sampling_rate(plan),
            rounds=federation.rounds,
            delta=section.delta,
            noise=NoiseKind(section.noise),
            quantile=section.clip_quantile,
        )
        promise._check_count_noise()
        return promise

    @property
    def unit(self) -> Unit:
        return Unit.CLIENT

    @property
    def sensitivity(self) -> float:
        """Largest Euclidean change of the clipped sum between neighbours in the first round."""
        return self.relation.moved * self.clip_norm

    def event(self, rounds: int) -> PrivacyEvent:
        """Privacy cost for every client after `rounds` rounds, asked or not."""
        return PrivacyEvent(sampling_rate=self.sampling_rate, noise_multiplier=self.noise_multiplier, steps=rounds)

    @property
    def total_event(self) -> PrivacyEvent:
        return self.event(self.rounds)

    @property
    def count_noise_std(self) -> float:
        """Standard deviation of the noise on the count of updates within the clip norm."""
        return self.cohort / _COUNT_NOISE_SHARE

    @property
    def update_noise_multiplier(self) -> float:
        """Noise on the sum over the clip norm: more than promised if a count is released, too.

        ``(z⁻² - (2 σ_b)⁻²)^(-1/2)`` (Andrew et al. 2021, theorem 1): a client moves the centred count by ½.
        """
        if self.quantile is None or self.noise_multiplier == 0.0:
            return self.noise_multiplier
        return 1.0 / math.sqrt(self.noise_multiplier**-2 - (2.0 * self.count_noise_std) ** -2)

    def next_clip_norm(self, clip_norm: float, noisy_count: float) -> float:
        """The clip norm of the next round: smaller if more than a share `quantile` of updates was within it.

        Args:
            noisy_count: Sum over the counted updates of ``1{norm <= clip_norm} - ½``, plus noise.
        """
        if self.quantile is None:
            return clip_norm
        share_within = 0.5 + noisy_count / self.cohort
        return clip_norm * math.exp(-_CLIP_LEARNING_RATE * (share_within - self.quantile))

    def noisy_count(self, clip_norm: float, next_clip_norm: float) -> float:
        """The count that led to `next_clip_norm`: its inverse, 0 if the clip norm is fixed."""
        if self.quantile is None:
            return 0.0
        share_within = self.quantile - math.log(next_clip_norm / clip_norm) / _CLIP_LEARNING_RATE
        return (share_within - 0.5) * self.cohort

    def drowned(self, num_parameters: int) -> str | None:
        """Warning that the noise is too large for learning; ``None`` if it is not."""
        in_a_step = self.update_noise_multiplier / self.cohort
        ratio = max(in_a_step, noise_over_a_run(in_a_step, parameters=num_parameters, steps=self.rounds))
        if ratio <= USELESS:
            return None
        needed = math.ceil(self.cohort * ratio / _LITTLE_NOISE)
        return (
            f"the noise is {ratio:.1f} times what all {self.cohort:g} clients together could move the model by in "
            f"{counted(self.rounds, 'round')}, and about {needed:,} clients would be needed"
        )

    def _check_count_noise(self) -> None:
        if self.quantile is not None and self.noise_multiplier >= 2.0 * self.count_noise_std:
            raise PrivacyError(
                f"privacy.clip-quantile needs a noise multiplier below a tenth of the {self.cohort:g} clients asked, "
                f"and it is {self.noise_multiplier:g}: take a fixed clip-norm, more clients, or a larger epsilon"
            )


def client_sampling_rate(plan: RunPlan) -> float:
    """Probability that a client is asked, as far as that protects it."""
    federation = plan.federation
    if plan.privacy.participation == "visible" or federation.cohort_size is None:
        return 1.0
    return federation.cohort_size / federation.clients
