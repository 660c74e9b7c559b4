"""What an audit reads off a run: its canaries' scores, and its noise."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

NO_COUNTS = torch.zeros(0, dtype=torch.float64)


@dataclass(frozen=True, slots=True, kw_only=True)
class CanaryRun:
    """A whole run with canaries.

    Attributes:
        scores: What was released about each canary, summed over the run, in units of the clip norm; shape
            ``(canaries,)``. Where the mechanism is right a score is how often the canary was counted plus
            ``N(0, steps * σ²)``, all of them independent.
        counts: As in `Silence`, for the counts of this run.
    """

    scores: Tensor
    counts: Tensor = NO_COUNTS


@dataclass(frozen=True, slots=True, kw_only=True)
class Silence:
    """The first rounds of a run in which nobody has anything to say, so that noise alone is released.

    Attributes:
        rounds: What each round released, in units of the promised standard deviation; shape
            ``(rounds, layout.num_trained)``, standard normal where the noise is right. Where clients add the noise, the
            rounds of two of them, which were asked in turn.
        counts: Each released count less the true one, in units of the promised standard deviation; shape
            ``(rounds,)``, empty where the mechanism releases no count.
    """

    rounds: Tensor
    counts: Tensor = NO_COUNTS
