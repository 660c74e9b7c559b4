"""Cryptographic normals: against a slow reference, and against what normals are."""

import math

import pytest
import torch
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from scipy import stats

from fedcore.errors import PlanError
from fedcore.privacy import noise
from fedcore.privacy.mechanisms import release
from fedcore.privacy.noise import SecureRandomness, SeededRandomness
from fedcore.privacy.plan import NoisePrecision, PrivacyPlan
from fedcore.privacy.statement.build import Release, privacy_statement
from tests.builders import build_privacy, build_private_plan

_BOTH = pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
_LARGEST = math.sqrt(128 * math.log(2))


def slow_normals(key: bytes, pairs: int, angle_bytes: int) -> list[float]:
    """One block by Box and Muller, a number at a time."""
    stream = Cipher(algorithms.AES(key), modes.CTR(bytes(16))).encryptor()
    radii = stream.update(bytes(8 * pairs))
    angles = stream.update(bytes(angle_bytes * pairs))
    cosines, sines = [], []
    for pair in range(pairs):
        word = int.from_bytes(radii[8 * pair : 8 * pair + 8], "little") % 2**63
        turn = int.from_bytes(angles[angle_bytes * pair : angle_bytes * (pair + 1)], "little", signed=True)
        radius = math.sqrt(-2.0 * math.log((word + 0.5) / 2**63))
        angle = math.pi * turn / 2 ** (8 * angle_bytes - 1)
        cosines.append(radius * math.cos(angle))
        sines.append(radius * math.sin(angle))
    return cosines + sines


@pytest.mark.parametrize(("dtype", "angle_bytes", "tolerance"), [(torch.float64, 8, 1e-14), (torch.float32, 4, 5e-6)])
def test_normals_are_those_of_a_slow_reference_under_the_same_key(monkeypatch, dtype, angle_bytes, tolerance):
    key = bytes(range(32))
    monkeypatch.setattr(noise.secrets, "token_bytes", lambda size: key)
    expected = torch.tensor(slow_normals(key, 500, angle_bytes), dtype=torch.float64)
    drawn = SecureRandomness().normal(1000, dtype)
    assert drawn.dtype == dtype
    assert float((drawn.double() - expected).abs().max()) < tolerance


@_BOTH
def test_normals_have_the_moments_and_the_shape_of_normals(dtype):
    """Kolmogorov–Smirnov at 1e-6; mean, variance, skewness and kurtosis within 5 standard errors each."""
    size = 400_000
    drawn = SecureRandomness().normal(size, dtype).double()
    assert stats.kstest(drawn.numpy(), "norm").pvalue > 1e-6
    for power, mean, variance in ((1, 0, 1), (2, 1, 2), (3, 0, 15), (4, 3, 96)):
        assert abs(float(drawn.pow(power).mean()) - mean) < 5 * math.sqrt(variance / size)


@_BOTH
@pytest.mark.parametrize("beyond", [3.0, 4.0, 4.5])
def test_the_tails_hold_as_many_as_they_should(dtype, beyond):
    """Binomial bounds at a false-alarm rate of 1e-6."""
    size = 2_000_000
    found = int((SecureRandomness().normal(size, dtype).abs() > beyond).sum())
    low, high = stats.binom.ppf([5e-7, 1 - 5e-7], size, 2 * stats.norm.sf(beyond))
    assert low <= found <= high


@_BOTH
def test_the_two_normals_of_a_pair_and_those_of_neighbours_are_independent(dtype):
    """Correlations of values, sizes and signs within 5 standard errors, and of a pair's radius and angle."""
    pairs = noise._BLOCK
    drawn = torch.cat([SecureRandomness().normal(2 * pairs, dtype).double().view(2, pairs) for _ in range(8)], 1)
    one, two = drawn
    for left, right in ((one, two), (one[1:], two[:-1]), (one[1:], one[:-1])):
        for change in (lambda x: x, torch.square, torch.abs, torch.sign):
            together = torch.corrcoef(torch.stack([change(left), change(right)]))[0, 1]
            assert abs(float(together)) < 5 / math.sqrt(len(left))
    together = torch.corrcoef(torch.stack([one.square() + two.square(), torch.atan2(two, one)]))[0, 1]
    assert abs(float(together)) < 5 / math.sqrt(len(one))


class FixedStream:
    """A key stream of one byte over and over."""

    def __init__(self, byte: int) -> None:
        self.byte = byte

    def update_into(self, data, buffer) -> None:
        buffer[: len(data)] = bytes([self.byte]) * len(data)


@_BOTH
def test_the_extremes_of_the_key_stream_give_the_largest_normal_and_zero(dtype):
    block = noise._PairBlock(dtype)
    largest, zero = torch.empty(2, dtype=dtype), torch.empty(2, dtype=dtype)
    block.fill(largest, FixedStream(0x00))
    block.fill(zero, FixedStream(0xFF))
    assert float(largest.norm()) == pytest.approx(_LARGEST, rel=1e-6)
    assert float(zero.norm()) < 1e-3


@_BOTH
@pytest.mark.parametrize("size", [0, 1, 2, 3, 2 * noise._BLOCK - 1, 2 * noise._BLOCK, 2 * noise._BLOCK + 1])
def test_normals_come_in_any_number_and_never_repeat(dtype, size):
    randomness = SecureRandomness()
    one, two = randomness.normal(size, dtype), randomness.normal(size, dtype)
    assert one.shape == (size,)
    assert one.dtype == dtype
    assert size < 2 or len(torch.unique(torch.cat([one, two]))) > 1.99 * size


@pytest.mark.parametrize("precision", NoisePrecision)
@pytest.mark.parametrize("randomness", [SecureRandomness(), SeededRandomness(torch.Generator().manual_seed(0))])
def test_a_release_has_the_plans_noise_in_either_precision(randomness, precision):
    """χ² bounds and Kolmogorov–Smirnov, each at 1e-6; over several slices."""
    privacy = build_privacy(noise_multiplier=1.7, clip_norm=0.5, nominal_batch=20.0, noise_precision=precision)
    size = 200_001
    clipped = torch.linspace(-1, 1, size, dtype=torch.float64)
    written = torch.empty(size)
    released = release(clipped, privacy, randomness, out=written)
    assert released is written
    noise_only = (released.double() * 20.0 - clipped) / (1.7 * 0.5)
    low, high = stats.chi2.ppf([5e-7, 1 - 5e-7], size)
    assert low <= float(noise_only.square().sum()) <= high
    assert stats.kstest(noise_only.numpy(), "norm").pvalue > 1e-6


def test_noise_is_float64_unless_the_plan_says_otherwise():
    plans = [build_private_plan(), build_private_plan(privacy={"noise_precision": "float32"})]
    found = [PrivacyPlan.from_run_plan(plan).noise_precision for plan in plans]
    assert found == [NoisePrecision.FLOAT64, NoisePrecision.FLOAT32]
    with pytest.raises(PlanError, match="noise-precision"):
        build_private_plan(privacy={"noise_precision": "float16"})


@pytest.mark.parametrize("precision", NoisePrecision)
def test_the_statement_names_the_precision_of_the_noise(precision):
    statement = privacy_statement(
        build_privacy(noise_precision=precision),
        Release(
            rounds=1,
            asked=1,
            client_sizes=[10],
            preprocessing="none",
            verification="none",
            model_sha256="",
            versions={},
        ),
    )
    assert f"noise drawn in {precision.value}" in statement["numerics"]
