"""Sums over rows whose target is a number, and which sums are possible."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

SUMS = (
    "target", "target_2", "target_3", "target_4", "error", "absolute_error", "error_2", "error_3", "absolute_error_3",
    "error_4", "error_6", "error_target", "error_target_2", "error_2_target", "error_2_target_2",
)  # fmt: skip
"""Summed over rows: products of powers of the target, from 0 to 1 over its range, and of the error."""
_SLACK = 1e-9  # of a row, for sums of floats
_FALLING = (
    ("rows", "target", "target_2", "target_3", "target_4"),
    ("rows", "absolute_error", "error_2", "absolute_error_3", "error_4", "error_6"),
    ("error_2", "error_2_target", "error_2_target_2"),
)
_SIGNED = {
    "error": "absolute_error", "error_3": "absolute_error_3", "error_target": "absolute_error",
    "error_target_2": "absolute_error",
}  # fmt: skip
_PRODUCTS = (
    (  # of 1, t, t^2 and e^2
        ("rows", "target", "target_2", "error_2"),
        ("target", "target_2", "target_3", "error_2_target"),
        ("target_2", "target_3", "target_4", "error_2_target_2"),
        ("error_2", "error_2_target", "error_2_target_2", "error_4"),
    ),
    (  # of 1, t, t^2 and e
        ("rows", "target", "target_2", "error"),
        ("target", "target_2", "target_3", "error_target"),
        ("target_2", "target_3", "target_4", "error_target_2"),
        ("error", "error_target", "error_target_2", "error_2"),
    ),
    (  # of 1, t, e and e^2
        ("rows", "target", "error", "error_2"),
        ("target", "target_2", "error_target", "error_2_target"),
        ("error", "error_target", "error_2", "error_3"),
        ("error_2", "error_2_target", "error_3", "error_4"),
    ),
    (  # of 1, |e| and e^2
        ("rows", "absolute_error", "error_2"),
        ("absolute_error", "error_2", "absolute_error_3"),
        ("error_2", "absolute_error_3", "error_4"),
    ),
    (  # of 1, |e| and |e|^3
        ("rows", "absolute_error", "absolute_error_3"),
        ("absolute_error", "error_2", "error_4"),
        ("absolute_error_3", "error_4", "error_6"),
    ),
)


def summands(t: NDArray[np.float64], e: NDArray[np.float64]) -> list[NDArray[np.float64]]:
    t2, e2, e3 = t * t, e * e, e**3
    return [t, t2, t2 * t, t2 * t2, e, np.abs(e), e2, e3, np.abs(e3), e2 * e2, e3 * e3, e * t, e * t2, e2 * t, e2 * t2]


def possible(n: int, sums: NDArray[np.float64]) -> bool:
    """Whether the sums can be those of n rows.

    For numbers in [0, 1] higher powers are smaller, and sums of products form a positive semidefinite matrix
    (Cauchy and Schwarz for each pair).
    """
    of = {"rows": float(n), **dict(zip(SUMS, sums.tolist(), strict=True))}
    if not n:
        return not sums.any()
    slack = _SLACK * n
    falls = all(
        of[lower] <= of[higher] + slack and of[lower] >= -slack
        for chain in _FALLING
        for higher, lower in pairwise(chain)
    )
    bounded = all(abs(of[signed]) <= of[most] + slack for signed, most in _SIGNED.items())
    products = (np.array([[of[name] for name in row] for row in matrix]) for matrix in _PRODUCTS)
    return falls and bounded and all(float(np.linalg.eigvalsh(one).min()) >= -slack for one in products)
