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
_OF_POWERS = {
    (0, 0): "rows", (1, 0): "target", (2, 0): "target_2", (3, 0): "target_3", (4, 0): "target_4", (0, 1): "error",
    (0, 2): "error_2", (0, 3): "error_3", (0, 4): "error_4", (1, 1): "error_target", (2, 1): "error_target_2",
    (1, 2): "error_2_target", (2, 2): "error_2_target_2",
}  # fmt: skip
"""By the powers of the target and of the error."""
_OF_SIZES = {0: "rows", 1: "absolute_error", 2: "error_2", 3: "absolute_error_3", 4: "error_4", 6: "error_6"}
"""By the power of the error's size."""
_FACTORS = (
    ((0, 0), (1, 0), (2, 0), (0, 2)),  # 1, t, t^2 and e^2
    ((0, 0), (1, 0), (2, 0), (0, 1)),  # 1, t, t^2 and e
    ((0, 0), (1, 0), (0, 1), (0, 2)),  # 1, t, e and e^2
)
_PRODUCTS = (
    *([[_OF_POWERS[a + c, b + d] for c, d in of] for a, b in of] for of in _FACTORS),
    *([[_OF_SIZES[a + b] for b in of] for a in of] for of in ((0, 1, 2), (0, 1, 3))),
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
