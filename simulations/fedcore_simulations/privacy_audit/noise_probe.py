"""Is the noise there, in every layer, as large as promised, and new each time?"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from scipy import stats
from torch import Tensor

from fedcore.parameters import Layout


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """One check and what it found.

    Attributes:
        passed: Whether what was seen is what the promise leads one to expect.
        found: In words.
    """

    name: str
    passed: bool
    found: str


def probe_noise(first: Tensor, second: Tensor, layout: Layout, *, p: float) -> list[Probe]:
    """Check what the rounds of two runs release where there is nothing but noise.

    Args:
        first: In units of the promised standard deviation, shape ``(rounds, layout.num_trained)``.
        second: Of another run, by the same code.
        p: Probability that correct noise fails any of the checks.
    """
    tensors = _trained(first, layout)
    share = p / 2.0 / len(tensors)
    scales = (_scale(name, part.flatten(), p=share) for name, part in tensors)
    return [*scales, _fresh(first, second, p=p / 2.0)]


def probe_count(errors: Tensor, *, p: float) -> Probe:
    """Check the noise on the count of updates within the clip norm; a count that is itself wrong shows as well.

    Args:
        errors: Released less true counts, in units of the promised standard deviation; shape ``(rounds,)``.
        p: Probability that correct noise fails.
    """
    return _scale("the count of updates within the clip norm", errors, p=p)


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
        name=f"noise in {name}",
        passed=low <= total <= high,
        found=f"{math.sqrt(total / size):.3f} times what is promised ({least:.3f} to {most:.3f} expected)",
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
        name="noise is new in each round and run",
        passed=float(pairs.max()) <= most,
        found=f"of {count} releases two correlate by {float(pairs.max()):.3f} (at most {most:.3f} expected)",
    )
