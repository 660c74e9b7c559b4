"""The mean of updates that no single client can move by much, with noise that hides by how much."""

from __future__ import annotations

import torch
from torch import Tensor

from fedcore.aggregation.contract import Block, Rule
from fedcore.errors import PrivacyError
from fedcore.parameters import State
from fedcore.plan import RunPlan
from fedcore.privacy.central import CentralPrivacy
from fedcore.privacy.noise import Randomness, SecureRandomness, SeededRandomness
from fedcore.privacy.plan import NoiseKind
from fedcore.seeding import torch_generator
from fedcore.storage.large_vectors import cached_slices, norm, slices


class PrivateMean:
    """Clipped sum plus noise over a public number of clients; see `CentralPrivacy` for the guarantee.

    Args:
        rule: Says how much one clipped client moves the sum.
        size: Elements of an update.
        state: ``clip_norm``, where it follows the updates' norms.
        randomness: Of this round's noise alone.

    Attributes:
        total: The clipped sum so far, float64.
        centred_within: Sum over the updates of 1 where the norm is within the clip norm, less ½.

    Raises:
        PrivacyError: The rule is not a sum of the updates themselves.
    """

    def __init__(self, privacy: CentralPrivacy, rule: Rule, size: int, state: State, randomness: Randomness) -> None:
        self._privacy, self._randomness = privacy, randomness
        self._clip_norm = clip_norm_of(privacy, state)
        sensitivity = rule.sensitivity(self._clip_norm)
        if sensitivity != self._clip_norm:
            raise PrivacyError("the rule is not a sum of the updates themselves, to which the noise is scaled")
        self._std = privacy.update_noise_multiplier * sensitivity
        self.total = torch.zeros(size, dtype=torch.float64)
        self.centred_within = 0.0

    def add(self, block: Block) -> None:
        """Each update is scaled down to the clip norm where it is longer; all clients weigh the same."""
        for row in block.vectors["update"]:
            length = norm(row)
            factor = min(1.0, self._clip_norm / length) if length > 0.0 else 1.0
            for total, values in cached_slices(self.total, row):
                total.add_(values, alpha=factor)
            if length > 0.0:  # a blanked client counts for nothing
                self.centred_within += 0.5 if length <= self._clip_norm else -0.5

    def finish(self) -> tuple[dict[str, Tensor], State]:
        """Add the noise, and divide by the plan's number of clients, never by how many replied."""
        for (total,) in slices(self.total):
            total.add_(self._randomness.normal(len(total)), alpha=self._std).div_(self._privacy.cohort)
        return {"update": self.total}, {"clip_norm": self._next_clip_norm()}

    def _next_clip_norm(self) -> float:
        """From a noisy count of the updates within this round's clip norm."""
        if self._privacy.quantile is None:
            return self._clip_norm
        noise = self._privacy.count_noise_std * float(self._randomness.normal(1))
        return self._privacy.next_clip_norm(self._clip_norm, self.centred_within + noise)


def clip_norm_of(privacy: CentralPrivacy, state: State) -> float:
    return float(state.get("clip_norm", privacy.clip_norm))


def server_randomness(plan: RunPlan, privacy: CentralPrivacy, *stream: str | int) -> Randomness:
    """Secure, or from the seed where the plan asks for noise that only tests may have."""
    if privacy.noise is NoiseKind.TEST:
        return SeededRandomness(torch_generator(plan.federation.seed, "server noise", *stream))
    return SecureRandomness()
