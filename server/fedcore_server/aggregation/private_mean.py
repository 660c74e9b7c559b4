"""The mean of updates that no single client can move by much, with noise that hides by how much."""

from __future__ import annotations

from dataclasses import replace

import torch

from fedcore.messages import ClientUpdate
from fedcore.parameters import Parameters
from fedcore.plan import RunPlan
from fedcore.privacy.central import CentralPrivacy
from fedcore.privacy.noise import Randomness, SecureRandomness, SeededRandomness
from fedcore.privacy.plan import NoiseKind
from fedcore.seeding import torch_generator
from fedcore.storage.large_vectors import slices
from fedcore_server.aggregation.means import Accumulator


class PrivateMean:
    """Clipped sum plus noise over a public number of clients; see `CentralPrivacy` for the guarantee.

    Args:
        clip_norm: Of this round.
        randomness: Of this round's noise alone.
    """

    def __init__(self, privacy: CentralPrivacy, clip_norm: float, randomness: Randomness) -> None:
        self._privacy, self._clip_norm, self._randomness = privacy, clip_norm, randomness

    def start(self, like: Parameters) -> Accumulator:
        """Zeros."""
        total = torch.zeros(like.layout.size, dtype=torch.float64)
        return Accumulator(total=total, weight=0.0, layout=like.layout)

    def accumulate(self, so_far: Accumulator, update: ClientUpdate) -> Accumulator:
        """Add one update, scaled down to the clip norm where it is longer; all clients weigh the same."""
        norm = update.difference.norm()
        factor = min(1.0, self._clip_norm / norm) if norm > 0.0 else 1.0
        for total, difference in slices(so_far.total, update.difference.buffer):
            total.add_(difference.to(torch.float64), alpha=factor)
        within = 0.0 if norm == 0.0 else 0.5 if norm <= self._clip_norm else -0.5  # a blanked client counts for nothing
        return replace(so_far, weight=so_far.weight + 1.0, centred_within=so_far.centred_within + within)

    def finish(self, so_far: Accumulator) -> Parameters:
        """Add the noise, and divide by the plan's number of clients: never by how many came."""
        std = self._privacy.update_noise_multiplier * self._clip_norm
        for (total,) in slices(so_far.total):
            total.add_(self._randomness.normal(len(total)), alpha=std).div_(self._privacy.cohort)
        return Parameters(so_far.total, so_far.layout)

    def next_clip_norm(self, so_far: Accumulator) -> float:
        """The clip norm of the next round, from a noisy count of the updates that were within this one."""
        if self._privacy.quantile is None:
            return self._clip_norm
        noise = self._privacy.count_noise_std * float(self._randomness.normal(1))
        return self._privacy.next_clip_norm(self._clip_norm, so_far.centred_within + noise)

    def sensitivity(self, clip_norm: float) -> float | None:
        """One client moves the sum by at most its clipped norm."""
        return clip_norm


def server_randomness(plan: RunPlan, privacy: CentralPrivacy, *stream: str | int) -> Randomness:
    """Secure randomness, or that of the seed where the plan asks for noise that only tests may have."""
    if privacy.noise is NoiseKind.TEST:
        return SeededRandomness(torch_generator(plan.federation.seed, "server noise", *stream))
    return SecureRandomness()
