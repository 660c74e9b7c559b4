"""What an audit reads from a run: its canaries' scores, and its noise."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

NO_COUNTS = torch.zeros(0, dtype=torch.float64)


@dataclass(frozen=True, slots=True, kw_only=True)
class CanaryRun:
    """A whole run with canaries.

    Attributes:
        scores: Release about each canary, summed over the run, in units of the clip norm; shape ``(canaries,)``. In
            a correct mechanism a score is how often the canary was counted plus ``N(0, steps * σ²)``, all independent.
        counts: As in `Silence`, for the counts of this run.
    """

    scores: Tensor
    counts: Tensor = NO_COUNTS


@dataclass(frozen=True, slots=True, kw_only=True)
class Silence:
    """The first rounds of a run without any signal, so that only noise is released.

    Attributes:
        rounds: Release of each round, in units of the promised standard deviation; shape ``(rounds,
            layout.num_trained)``, standard normal where the noise is correct. Where clients add the noise, the rounds
            of two of them, asked in turn.
        counts: Each released count minus the true one, in units of the promised standard deviation; shape
            ``(rounds,)``, empty where the mechanism releases no count.
    """

    rounds: Tensor
    counts: Tensor = NO_COUNTS
