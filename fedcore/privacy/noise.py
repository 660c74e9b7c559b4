"""Randomness that a privacy guarantee rests on.

The seed of a run is known to the server, so noise or batches drawn from it protect nothing: whoever knows
the seed subtracts the noise. Guarantees use `SecureRandomness`; `SeededRandomness` exists for simulation
and tests that must repeat, and the privacy statement says when it was used.
"""

from __future__ import annotations

import math
import secrets
from typing import Protocol

import numpy as np
import torch
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from torch import Tensor

_TO_UNIT = 2.0**-53


class Randomness(Protocol):
    """A source of uniform numbers for batches and normal numbers for noise."""

    def uniform(self, size: int) -> Tensor:
        """Independent uniform numbers in (0, 1): float64, shape ``(size,)``."""

    def normal(self, size: int) -> Tensor:
        """Independent standard normal numbers: float64, shape ``(size,)``."""


class SecureRandomness:
    """AES-256 in counter mode under a fresh key from the operating system.

    Guarantee:
        Numbers are computationally indistinguishable from true randomness for anyone without the key, which
        lives in this object only. Normals come by Box and Muller (1958) from 53-bit uniforms in float64.
        They are rounded continuous normals: attacks on the low bits of floating-point noise (Mironov 2012;
        arXiv 2112.05307) are outside the guarantee, and the statement says so.
    """

    def __init__(self) -> None:
        cipher = Cipher(algorithms.AES(secrets.token_bytes(32)), modes.CTR(bytes(16)))
        self._keystream = cipher.encryptor()

    def uniform(self, size: int) -> Tensor:
        """Independent uniform numbers in (0, 1): float64, shape ``(size,)``."""
        words = np.frombuffer(self._keystream.update(bytes(8 * size)), dtype=np.uint64) >> np.uint64(11)
        return torch.from_numpy((words.astype(np.float64) + 0.5) * _TO_UNIT)

    def normal(self, size: int) -> Tensor:
        """Independent standard normal numbers: float64, shape ``(size,)``."""
        half = (size + 1) // 2
        radius = self.uniform(half).log_().mul_(-2.0).sqrt_()
        angle = self.uniform(half).mul_(2.0 * math.pi)
        return torch.cat([radius * angle.cos(), radius * angle.sin()])[:size]


class SeededRandomness:
    """Fast and repeatable, for simulation and tests only: it voids any guarantee."""

    def __init__(self, generator: torch.Generator) -> None:
        self._generator = generator

    def uniform(self, size: int) -> Tensor:
        """Independent uniform numbers in [0, 1): float64, shape ``(size,)``."""
        return torch.rand(size, generator=self._generator, dtype=torch.float64)

    def normal(self, size: int) -> Tensor:
        """Independent standard normal numbers: float64, shape ``(size,)``."""
        return torch.randn(size, generator=self._generator, dtype=torch.float64)
