"""The mechanism without its noise: are batches drawn anew, and is a record clipped as a whole?"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import combinations

import torch
from scipy import stats
from torch import Tensor

from fedcore.privacy.mechanisms import ROUNDING
from fedcore_simulations.privacy_audit.noise_probe import Probe

NEXT_TO_NONE = 1e-9
"""Noise multiplier of a bare run: too little to hide how often a canary was counted."""
_ENOUGH = 25.0
_BY_ITSELF = "each record is drawn by itself in each step"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bare:
    """A run almost without noise, in a sandbox.

    Attributes:
        counts: How often each canary was counted in each round, shape ``(clients, rounds, canaries)``; empty where
            the mechanism draws no batches.
        steps: Steps in a round.
        rate: Promised sampling rate.
        longest: The most clip norms by which one unit moved the sum. Its gradient or update is far above the clip
            norm in every tensor of the model.
        slack: Reading error of it from the weights, in clip norms.
    """

    counts: Tensor
    steps: int
    rate: float
    longest: float
    slack: float = 0.0


def probe_bare(first: Bare, second: Bare, *, p: float) -> list[Probe]:
    """Check batches and contributions in two runs.

    Args:
        p: Probability that a correct mechanism fails any of the checks.
    """
    bare = first
    whole = Probe(
        name="a contribution over all tensors together",
        passed=bare.longest <= 1.0 + ROUNDING + bare.slack,
        found=f"one moved the sum by {bare.longest:.4f} clip norms",
    )
    if bare.counts.numel() == 0:
        return [whole]
    if bare.rate == 1.0:
        return [whole, _always(bare)]
    streams = torch.cat([first.counts, second.counts]) - bare.steps * bare.rate
    variance = bare.steps * bare.rate * (1.0 - bare.rate)
    pairs = list(combinations(range(len(streams)), 2))
    together = (
        _chance(streams[one], streams[other], variance, "batches of different clients and runs", p=p / 4 / len(pairs))
        for one, other in pairs
    )
    centred = streams[0]
    return [
        whole,
        _dispersion(bare, p=p / 4.0),
        *_chance(centred[1:], centred[:-1], variance, "batches of successive rounds", p=p / 4.0),
        *_chance(centred[:, 1:], centred[:, :-1], variance, "draws of neighbouring records", p=p / 4.0),
        *(probe for each in together for probe in each if not probe.passed),
    ]


def _always(bare: Bare) -> Probe:
    missed = int((bare.counts != bare.steps).sum())
    return Probe(name="every record is in every step", passed=missed == 0, found=f"{missed} were left out")


def _dispersion(bare: Bare, *, p: float) -> Probe:
    """Variance of the canaries' numbers of steps: binomial under Poisson sampling, almost zero in shuffled epochs.

    The sum of squares of independent binomials, against a chi-squared distribution of the same mean and variance.
    """
    counts = bare.counts[0]
    steps, canaries = bare.steps * len(counts), counts.shape[1]
    variance = steps * bare.rate * (1.0 - bare.rate)
    fourth = variance * (1.0 + 3.0 * bare.rate * (1.0 - bare.rate) * (steps - 2.0))
    mean, spread = canaries * variance, canaries * (fourth - variance * variance)
    found = float((counts.sum(0) - steps * bare.rate).square().sum())
    if spread <= 0.0:  # of a coin that is tossed once
        return Probe(name=_BY_ITSELF, passed=True, found="one step shows nothing of it")
    scale, freedom = spread / (2.0 * mean), 2.0 * mean * mean / spread
    low, high = (scale * float(limit) for limit in (stats.chi2.ppf(p / 2.0, freedom), stats.chi2.isf(p / 2.0, freedom)))
    return Probe(
        name=_BY_ITSELF,
        passed=low <= found <= high,
        found=f"numbers of steps vary {found / mean:.3f} times as much as they should "
        f"({low / mean:.3f} to {high / mean:.3f} expected)",
    )


def _chance(one: Tensor, other: Tensor, variance: float, what: str, *, p: float) -> list[Probe]:
    """Whether centred counts correlate beyond chance; none where too few are drawn.

    Args:
        one: Counts less what is expected, any shape.
        other: Those with which they are compared, of the same shape.
        variance: Of each count.
    """
    if one.numel() * variance * variance < _ENOUGH:
        return []
    found = float((one * other).sum()) / (variance * math.sqrt(one.numel()))
    most = float(stats.norm.isf(p / 2.0))
    return [
        Probe(
            name=f"{what} overlap as by chance",
            passed=abs(found) <= most,
            found=f"{found:+.1f} standard deviations from chance ({most:.1f} at most expected)",
        )
    ]


def longest_of(released: Tensor, clip_norm: float) -> float:
    """Length in clip norms of the longest of some released sums, shape ``(sums, d)``."""
    return float(torch.linalg.vector_norm(released.to(torch.float64), dim=1).max()) / clip_norm
