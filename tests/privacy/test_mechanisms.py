"""Clipping, noise and batches, each against what it promises."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from fedcore.privacy.mechanisms import clip_factors, clipped_sum, poisson_batch, release
from fedcore.privacy.noise import SecureRandomness, SeededRandomness
from tests.builders import build_privacy


def seeded(seed: int = 0) -> SeededRandomness:
    return SeededRandomness(torch.Generator().manual_seed(seed))


def gradients(*rows: list[float]) -> list[torch.Tensor]:
    """Two parameters, of shape (2,) and (1, 2), for each record."""
    flat = torch.tensor(rows, dtype=torch.float32)
    return [flat[:, :2], flat[:, 2:].view(-1, 1, 2)]


def test_the_clipped_sum_is_the_sum_of_records_clipped_one_at_a_time():
    rows = torch.randn(20, 4, generator=torch.Generator().manual_seed(0)) * 3
    expected = torch.zeros(4, dtype=torch.float64)
    for row in rows.double():
        expected += row * min(1.0, 1.5 / float(row.norm()))
    assert torch.allclose(clipped_sum(gradients(*rows.tolist()), 1.5), expected, atol=1e-12, rtol=0)


numbers = st.floats(width=32, allow_nan=True, allow_infinity=True)


@given(st.lists(st.lists(numbers, min_size=4, max_size=4), min_size=1, max_size=6), st.floats(0.01, 100.0), st.data())
@settings(max_examples=200, deadline=None)
def test_leaving_out_any_record_moves_the_sum_by_at_most_the_clip_norm(rows, clip_norm, data):
    left_out = data.draw(st.integers(0, len(rows) - 1))
    rest = rows[:left_out] + rows[left_out + 1 :]
    with_it = clipped_sum(gradients(*rows), clip_norm)
    without = clipped_sum(gradients(*rest), clip_norm) if rest else torch.zeros(4, dtype=torch.float64)
    assert bool(torch.isfinite(with_it).all())
    assert float((with_it - without).norm()) <= clip_norm * (1 + 1e-9)


def test_one_record_with_a_gradient_that_is_not_finite_counts_as_zero():
    good = [1.0, 0.0, 0.0, 0.0]
    for bad in (math.nan, math.inf, -math.inf):
        assert torch.equal(clipped_sum(gradients(good, [bad, 0.0, 0.0, 0.0]), 1.0), clipped_sum(gradients(good), 1.0))


def test_a_gradient_too_large_for_float32_norms_is_clipped_and_not_dropped():
    huge = clipped_sum(gradients([3e38, 0.0, 0.0, 0.0]), 1.0)
    assert float(huge.norm()) == pytest.approx(1.0)


def test_short_gradients_are_left_as_they_are():
    assert torch.equal(clip_factors(torch.tensor([0.0, 0.25, 1.0], dtype=torch.float64), 1.0), torch.ones(3).double())


@pytest.mark.parametrize("randomness", [SecureRandomness(), seeded()])
def test_the_noise_has_the_plans_standard_deviation(randomness):
    """χ² bounds at a false-alarm rate of 1e-6; mean and shape by Kolmogorov–Smirnov at 1e-6."""
    privacy = build_privacy(noise_multiplier=1.7, clip_norm=0.5, nominal_batch=20.0)
    size = 200_000
    released = release(torch.zeros(size, dtype=torch.float64), privacy, randomness).numpy()
    normalised = released * privacy.nominal_batch / (1.7 * 0.5)
    low, high = stats.chi2.ppf([5e-7, 1 - 5e-7], size)
    assert low <= float((normalised**2).sum()) <= high
    assert stats.kstest(normalised, "norm").pvalue > 1e-6
    assert abs(np.corrcoef(normalised[: size // 2], normalised[size // 2 :])[0, 1]) < 5 / math.sqrt(size // 2)


def test_the_release_is_divided_by_the_public_constant_and_nothing_else():
    privacy = build_privacy(noise_multiplier=0.0, nominal_batch=8.0)
    clipped = torch.tensor([4.0, -2.0], dtype=torch.float64)
    assert torch.equal(release(clipped, privacy, seeded()), clipped / 8.0)


def test_secure_randomness_never_repeats():
    one, two = SecureRandomness(), SecureRandomness()
    assert not torch.equal(one.normal(8), one.normal(8))
    assert not torch.equal(one.normal(8), two.normal(8))


def test_secure_uniforms_are_uniform_and_strictly_inside_the_unit_interval():
    """Kolmogorov–Smirnov, false-alarm rate 1e-6."""
    drawn = SecureRandomness().uniform(200_001)
    assert 0.0 < float(drawn.min()) <= float(drawn.max()) < 1.0
    assert stats.kstest(drawn.numpy(), "uniform").pvalue > 1e-6


@pytest.mark.parametrize("size", [0, 1, 2, 7])
def test_normals_come_in_any_number(size):
    assert SecureRandomness().normal(size).shape == (size,)


@pytest.mark.parametrize("randomness", [SecureRandomness(), seeded()])
def test_every_record_is_sampled_with_the_plans_rate_independently(randomness):
    """Counts per record and per pair against the binomial; false-alarm rate about 1e-6 each."""
    privacy = build_privacy(sampling_rate=0.3)
    draws, records = 4000, 6
    chosen = torch.zeros(draws, records)
    for draw in range(draws):
        chosen[draw, poisson_batch(records, privacy, randomness)] = 1
    low, high = stats.binom.ppf([1e-7, 1 - 1e-7], draws, 0.3)
    assert bool(((chosen.sum(0) >= low) & (chosen.sum(0) <= high)).all())
    pairs = (chosen.T @ chosen)[~torch.eye(records, dtype=torch.bool)]
    low, high = stats.binom.ppf([1e-8, 1 - 1e-8], draws, 0.09)
    assert bool(((pairs >= low) & (pairs <= high)).all())


def test_a_batch_may_be_empty_and_without_sampling_holds_every_record():
    assert len(poisson_batch(3, build_privacy(sampling_rate=1e-12), seeded())) == 0
    assert poisson_batch(3, build_privacy(sampling_rate=1.0), seeded()).tolist() == [0, 1, 2]
