"""Is the noise there, in every layer, as large as promised, and new each time?"""

from __future__ import annotations

import math
from dataclasses import dataclass

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
    """Check two releases of noise alone.

    Args:
        first: In units of the promised standard deviation, shape ``(layout.num_trained,)``.
        second: Another release, by the same code.
        p: Probability that correct noise fails any of the checks.
    """
    tensors = [(name, part) for name, part in _trained(first, layout)]
    share = p / 2.0 / len(tensors)
    return [*(_scale(name, part, p=share) for name, part in tensors), _fresh(first, second, p=p / 2.0)]


def _trained(values: Tensor, layout: Layout) -> list[tuple[str, Tensor]]:
    parts, start = [], 0
    for name, shape in zip(layout.names, layout.shapes, strict=True):
        end = start + math.prod(shape)
        if end <= layout.num_trained:
            parts.append((name, values[start:end]))
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
    """Correlation of the two releases; about ``N(0, 1/d)`` where they are independent."""
    norm = float(first.norm() * second.norm())
    correlation = float(first @ second) / norm if norm > 0.0 else 1.0
    most = float(stats.norm.isf(p / 2.0)) / math.sqrt(len(first))
    return Probe(
        name="noise is new each time",
        passed=abs(correlation) <= most,
        found=f"two releases correlate by {correlation:.3f} (at most {most:.3f} expected)",
    )
