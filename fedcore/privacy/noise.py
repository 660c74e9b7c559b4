"""Randomness behind a privacy guarantee.

The seed of a run is known to the server, so noise or batches drawn from it protect nothing: anyone who knows
the seed can subtract the noise. Guarantees use `SecureRandomness`; `SeededRandomness` exists for simulation
and tests that must repeat, and the privacy statement shows when it was used.
"""

from __future__ import annotations

import math
import secrets
from typing import Protocol

import numpy as np
import torch
from cryptography.hazmat.primitives.ciphers import Cipher, CipherContext, algorithms, modes
from torch import Tensor

_TO_UNIT = 2.0**-53
_BLOCK = 16384
"""Pairs of normals made at once: as many as keep all buffers of a block in a core's second-level cache."""
_SLACK = 15
"""Bytes that ``CipherContext.update_into`` wants beyond its input: a block of AES less one."""
_ZEROS = memoryview(bytes(8 * _BLOCK))


class Randomness(Protocol):
    """A source of uniform numbers for batches and normal numbers for noise."""

    def uniform(self, size: int) -> Tensor:
        """Independent uniform numbers in (0, 1): float64, shape ``(size,)``."""

    def normal(self, size: int, dtype: torch.dtype = torch.float64) -> Tensor:
        """Independent standard normal numbers of type `dtype`, shape ``(size,)``."""


class SecureRandomness:
    """AES-256 in counter mode under a fresh key from the operating system.

    Guarantee:
        Numbers are computationally indistinguishable from true randomness for anyone without the key, which
        lives in this object only. Normals come by Box and Muller (1958): the radius from 63 random bits, the
        angle from 64 (float64) or 32 (float32), computed in the type that is asked for. The radius is
        converted from an integer, so that its small end, which makes the tail, keeps full relative precision
        in both types. The largest normal is ``sqrt(128 ln 2)``, about 9.42: of true normals a share of less
        than ``2**-63`` lies beyond. All that is cut off adds less than ``1.1e-19`` to δ for every number
        drawn: 1e-10 for a model of a million parameters over a thousand steps.
        They are rounded continuous normals: attacks on the low bits of floating-point noise (Mironov 2012;
        arXiv 2112.05307), which float32 has fewer of, are outside the guarantee, and the statement says so.
    """

    def __init__(self) -> None:
        cipher = Cipher(algorithms.AES(secrets.token_bytes(32)), modes.CTR(bytes(16)))
        self._keystream = cipher.encryptor()
        self._blocks: dict[torch.dtype, _PairBlock] = {}

    def uniform(self, size: int) -> Tensor:
        words = np.frombuffer(self._keystream.update(bytes(8 * size)), dtype=np.uint64) >> np.uint64(11)
        return torch.from_numpy((words.astype(np.float64) + 0.5) * _TO_UNIT)

    def normal(self, size: int, dtype: torch.dtype = torch.float64) -> Tensor:
        """As the protocol, in float64 or float32."""
        if dtype not in self._blocks:
            self._blocks[dtype] = _PairBlock(dtype)
        drawn = torch.empty(size + size % 2, dtype=dtype)
        for part in torch.split(drawn, 2 * _BLOCK):
            self._blocks[dtype].fill(part, self._keystream)
        return drawn[:size]


class _PairBlock:
    """Buffers for a block of pairs of normals, kept so that no block leaves the cache or allocates memory."""

    def __init__(self, dtype: torch.dtype) -> None:
        angle_words = torch.int64 if dtype == torch.float64 else torch.int32
        self._to_angle = math.pi * 2.0 ** (1 - 8 * angle_words.itemsize)
        self._radius_bytes, self._radius_words = _key_buffer(torch.int64)
        self._angle_bytes, self._angle_words = _key_buffer(angle_words)
        self._radius = torch.empty(_BLOCK, dtype=dtype)
        self._angle = torch.empty(_BLOCK, dtype=dtype)

    def fill(self, out: Tensor, keystream: CipherContext) -> None:
        """Fill `out`, of an even length up to two blocks, with normals."""
        pairs = len(out) // 2
        radius, angle = self._radius[:pairs], self._angle[:pairs]
        radius_words, angle_words = self._radius_words[:pairs], self._angle_words[:pairs]
        keystream.update_into(_ZEROS[: 8 * pairs], self._radius_bytes)
        keystream.update_into(_ZEROS[: angle_words.itemsize * pairs], self._angle_bytes)
        radius.copy_(radius_words.bitwise_and_(2**63 - 1)).add_(0.5).mul_(2.0**-63).log_().mul_(-2.0).sqrt_()
        angle.copy_(angle_words).mul_(self._to_angle)
        torch.cos(angle, out=out[:pairs]).mul_(radius)
        torch.sin(angle, out=out[pairs:]).mul_(radius)


def _key_buffer(words: torch.dtype) -> tuple[bytearray, Tensor]:
    """Memory for a block of key stream, and a view of it as integers."""
    data = bytearray(_BLOCK * words.itemsize + _SLACK)
    return data, torch.frombuffer(data, dtype=words, count=_BLOCK)


class SeededRandomness:
    """Fast and repeatable, for simulation and tests only: it voids any guarantee."""

    def __init__(self, generator: torch.Generator) -> None:
        self._generator = generator

    def uniform(self, size: int) -> Tensor:
        """Independent uniform numbers in [0, 1): float64, shape ``(size,)``."""
        return torch.rand(size, generator=self._generator, dtype=torch.float64)

    def normal(self, size: int, dtype: torch.dtype = torch.float64) -> Tensor:
        return torch.randn(size, generator=self._generator, dtype=dtype)
