"""Rules that test the mechanism as installed."""

from __future__ import annotations

import random
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from fedcore.privacy import mechanisms, noise
from fedcore.privacy.linter.finding import Rule, Subject
from fedcore.privacy.plan import PrivacyPlan

_DRAWS, _MOST_ROWS, _COORDINATES = 500, 4000, 20_000
_EXPECTED_ROWS = 16.0
_WIDE, _CLOSE = 0.5, 0.04  # about eight standard errors each: a false alarm in 1e14 runs


def _for_records(subject: Subject) -> PrivacyPlan | None:
    """The promise to records, whose mechanism is measured here; the server's is for clients."""
    return subject.privacy if isinstance(subject.privacy, PrivacyPlan) else None


def _sampler(subject: Subject) -> Iterator[str]:
    """Compare sizes of batches with a binomial's mean and variance."""
    privacy = _for_records(subject)
    if privacy is None or privacy.sampling_rate >= 1.0 or privacy.unit != "record":
        return
    rate = privacy.sampling_rate
    spread = rate * (1.0 - rate)
    rows = min(_MOST_ROWS, max(2, round(_EXPECTED_ROWS / spread)))
    if rows * spread < 1.0:
        return
    randomness = noise.SecureRandomness()
    sizes = np.array([len(mechanisms.poisson_batch(rows, privacy, randomness)) for _ in range(_DRAWS)], dtype=float)
    error = 8.0 * (rows * spread / _DRAWS) ** 0.5
    if abs(sizes.mean() - rows * rate) > error:
        yield f"poisson_batch: {sizes.mean():.1f} of {rows} rows on average, expected {rows * rate:.1f}"
    elif not 1.0 - _WIDE < sizes.var() / (rows * spread) < 1.0 + _WIDE:
        yield f"poisson_batch: sizes of batches have variance {sizes.var():.2g}, expected {rows * spread:.2g}"


def _noise_scale(subject: Subject) -> Iterator[str]:
    privacy = _for_records(subject)
    if privacy is None or privacy.noise_std == 0.0 or privacy.unit != "record":
        return
    released = mechanisms.release(
        torch.zeros(_COORDINATES, dtype=torch.float64), privacy, noise.SecureRandomness()
    ).double()
    expected = privacy.noise_std / privacy.nominal_batch
    halves = [float(half.std()) for half in released.chunk(4)]
    if any(abs(half / expected - 1.0) > 2 * _CLOSE for half in halves):
        yield f"release: noise of {float(released.std()):.4g} on a release, expected {expected:.4g} in every part of it"


def _low_precision_noise(subject: Subject) -> Iterator[str]:
    privacy = _for_records(subject)
    if privacy is None or privacy.unit != "record":
        return
    released = mechanisms.release(torch.zeros(8, dtype=torch.float64), privacy, noise.SecureRandomness())
    if released.dtype.itemsize < torch.float32.itemsize:
        yield f"release: {released.dtype}"
    if torch.get_default_dtype().itemsize < torch.float32.itemsize:
        yield f"torch's default type is {torch.get_default_dtype()}"
    if torch.is_autocast_enabled("cpu") or torch.is_autocast_enabled("cuda"):
        yield "autocast is on"


def _seeded_noise(subject: Subject) -> Iterator[str]:
    """Draw twice after setting every seed that a run sets."""
    if _for_records(subject) is None:
        return
    first, second = (_after_seeding() for _ in range(2))
    if torch.equal(first, second):
        yield "SecureRandomness: the same noise after the same seed"


def _after_seeding() -> Tensor:
    numpy_state, python_state = np.random.get_state(), random.getstate()
    try:
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(0)
            np.random.seed(0)
            random.seed(0)
            return noise.SecureRandomness().normal(64)
    finally:
        np.random.set_state(numpy_state)
        random.setstate(python_state)


def _clipping(subject: Subject) -> Iterator[str]:
    """Leave out each of some difficult records, and measure how far the sum moves."""
    privacy = _for_records(subject)
    if privacy is None or privacy.unit != "record":
        return
    clip = privacy.clip_norm
    lengths = [0.0, 0.5 * clip, 3.0 * clip, 1e6 * clip, float("nan"), float("inf")]
    records = torch.stack([torch.full((4,), length / 2.0, dtype=torch.float64) for length in lengths])
    whole = mechanisms.clipped_sum([records], clip)
    for left_out, length in enumerate(lengths):
        kept = [row for row in range(len(lengths)) if row != left_out]
        moved = float((whole - mechanisms.clipped_sum([records[kept]], clip)).norm())
        if not moved <= clip * (1.0 + 1e-6):
            yield f"clipped_sum: a record of norm {length:g} moves the sum by {moved:g}, clip norm {clip:g}"


MEASURED_RULES = (
    Rule(
        id="wrong-sampler",
        severity="refuse",
        why="ε is computed for batches in which each record is by itself with the plan's rate; shuffled batches or "
        "batches of a fixed size leak more (arXiv 2403.17673)",
        fix="draw batches with poisson_batch as fedcore ships it",
        find=_sampler,
    ),
    Rule(
        id="noise-scale",
        severity="refuse",
        why="the noise that is added is not the noise that is accounted for",
        fix="release sums with release as fedcore ships it",
        find=_noise_scale,
    ),
    Rule(
        id="low-precision-noise",
        severity="refuse",
        why="noise in half precision has so few values that its low bits give the sum away",
        fix="compute clipping, sum and noise in float64, and switch autocast off around training",
        find=_low_precision_noise,
    ),
    Rule(
        id="seeded-noise",
        severity="refuse",
        why="noise that follows from the run's seed can be removed by anyone who knows the seed, such as the server",
        fix="draw it from SecureRandomness as fedcore ships it",
        find=_seeded_noise,
    ),
    Rule(
        id="clipping",
        severity="refuse",
        why="one record moves the sum by more than the clip norm, or makes it NaN, which the noise does not cover",
        fix="sum with clipped_sum as fedcore ships it",
        find=_clipping,
    ),
)
