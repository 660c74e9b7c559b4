"""Is the noise present in every layer, as large as promised, and new each time? Is a record drawn anew, too?"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from scipy import special, stats
from torch import Tensor

from fedcore.parameters import Layout
from fedcore.privacy.plan import PrivacyEvent

_NEGLIGIBLE = 1e-18
_ENOUGH_FOR_TAILS = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """One check and its result.

    Attributes:
        passed: Whether the result agrees with the promise.
        found: In words.
    """

    name: str
    passed: bool
    found: str


def probe_noise(first: Tensor, second: Tensor, layout: Layout, *, p: float) -> list[Probe]:
    """Check the releases of two runs in rounds with nothing but noise.

    Args:
        first: In units of the promised standard deviation, shape ``(rounds, layout.num_trained)``; rounds of
            several clients below each other.
        second: Of another run, by the same code.
        p: Probability that correct noise fails any of the checks.
    """
    tensors = _trained(first, layout)
    share = p / 5.0
    scales = (_scale(f"noise in {name}", part.flatten(), p=share / len(tensors)) for name, part in tensors)
    every = _every_number(torch.cat([first, second]), p=share)
    return [*scales, _fresh(first, second, p=share), _patternless(first, p=share), every, _normal(first, p=share)]


def probe_count(errors: Tensor, *, p: float) -> Probe:
    """Check the noise on the count of updates within the clip norm; a count that is itself wrong shows as well.

    Args:
        errors: Released less true counts, in units of the promised standard deviation; shape ``(rounds,)``.
        p: Probability that correct noise fails.
    """
    return _scale("noise in the count of updates within the clip norm", errors, p=p)


def probe_spread(scores: Tensor, coins: Tensor, event: PrivacyEvent, *, p: float) -> Probe:
    """Check that the scores vary over a run as those of records drawn anew in each step, behind fresh noise.

    Means do not distinguish a batch drawn once from one drawn in every step, nor noise that fades after the first
    rounds from noise that stays. Each score is brought to a standard normal by its own distribution.

    Args:
        scores: As in `CanaryRun`, shape ``(canaries,)``.
        coins: Which canaries were in the data, shape ``(canaries,)``.
        event: Sampling rate, noise on the sum and steps of the run.
        p: Probability that a correct mechanism fails.
    """
    std = event.noise_multiplier * math.sqrt(event.steps)
    counts = stats.binom(event.steps, event.sampling_rate)
    support = np.arange(counts.ppf(_NEGLIGIBLE), counts.isf(_NEGLIGIBLE) + 1.0)
    distances = (scores[coins].numpy()[:, None] - support) / std
    below, above = (special.ndtr(side) @ counts.pmf(support) for side in (distances, -distances))
    inside = np.where(below < above, special.ndtri(below), -special.ndtri(above))
    normal = torch.cat([torch.from_numpy(inside), scores[~coins] / std])
    return _scale("spread of the canaries' scores", normal, p=p)


def _trained(values: Tensor, layout: Layout) -> list[tuple[str, Tensor]]:
    parts, start = [], 0
    for name, shape in zip(layout.names, layout.shapes, strict=True):
        end = start + math.prod(shape)
        if end <= layout.num_trained:
            parts.append((name, values[:, start:end]))
        start = end
    return parts


def _scale(name: str, values: Tensor, *, p: float) -> Probe:
    """Sum of squares against the chi-squared distribution, in both directions."""
    size, total = len(values), float(values.square().sum())
    low, high = float(stats.chi2.ppf(p / 2.0, size)), float(stats.chi2.isf(p / 2.0, size))
    least, most = math.sqrt(low / size), math.sqrt(high / size)
    return Probe(
        name=name,
        passed=low <= total <= high,
        found=f"{math.sqrt(total / size):.3f} times what is promised ({least:.3f} to {most:.3f} expected)",
    )


def _every_number(releases: Tensor, *, p: float) -> Probe:
    """Sums of squares of each released number over all releases: a single one without noise shows."""
    count, size = releases.shape
    sums = releases.to(torch.float64).square().sum(0)
    low, high = (float(limit) for limit in (stats.chi2.ppf(p / 2 / size, count), stats.chi2.isf(p / 2 / size, count)))
    least, most = float(sums.min()), float(sums.max())
    return Probe(
        name="every number has noise",
        passed=low <= least and most <= high,
        found=f"squares over {count} releases add up to {least:.3g} to {most:.3g} ({low:.3g} to {high:.3g} expected)",
    )


def _normal(releases: Tensor, *, p: float) -> Probe:
    """Whether tails are normal (Anscombe and Glynn 1983), as the accountant assumes."""
    values = releases.to(torch.float64).flatten().numpy()
    chance = float(stats.kurtosistest(values).pvalue) if len(values) >= _ENOUGH_FOR_TAILS and values.std() > 0 else 1.0
    return Probe(
        name="noise is normal",
        passed=chance >= p,
        found=f"its tails are as likely as {chance:.1e} among normal numbers ({p:.1e} at least expected)",
    )


def _patternless(releases: Tensor, *, p: float) -> Probe:
    """Correlations of each release with itself shifted, at all distances; about ``N(0, 2/d)`` each at most.

    Noise drawn in pairs of opposite signs, or repeated within a release, is found this way.
    """
    size = releases.shape[1]
    spectrum = torch.fft.rfft(releases.to(torch.float64), dim=1)
    moved = torch.fft.irfft(spectrum.abs().square(), n=size, dim=1)
    correlations = (moved[:, 1 : size // 2 + 1] / moved[:, :1]).nan_to_num(nan=1.0).abs()
    if not correlations.numel():
        return Probe(name="noise has no pattern", passed=True, found="one number has none")
    most = float(stats.norm.isf(p / 2.0 / correlations.numel())) * math.sqrt(2.0 / size)
    return Probe(
        name="noise has no pattern",
        passed=float(correlations.max()) <= most,
        found=f"numbers of a release correlate by {float(correlations.max()):.3f} (at most {most:.3f} expected)",
    )


def _fresh(first: Tensor, second: Tensor, *, p: float) -> Probe:
    """Correlations of all pairs of releases; about ``N(0, 1/d)`` each where they are independent."""
    products = torch.cat([torch.cat([one @ other.T for other in (first, second)], dim=1) for one in (first, second)])
    count, size = len(products), first.shape[1]
    norms = products.diagonal().sqrt()
    correlations = products / torch.outer(norms, norms)
    pairs = correlations[tuple(torch.triu_indices(count, count, offset=1))].nan_to_num(nan=1.0).abs()
    most = float(stats.norm.isf(p / 2.0 / len(pairs))) / math.sqrt(size)
    return Probe(
        name="noise is new in each round, client and run",
        passed=float(pairs.max()) <= most,
        found=f"of {count} releases two correlate by {float(pairs.max()):.3f} (at most {most:.3f} expected)",
    )
