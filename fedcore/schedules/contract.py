"""The contract of a learning-rate schedule."""

from __future__ import annotations


class Schedule:
    """A factor of the planned learning rate for each round; no state, so that every host computes the same.

    Attributes:
        needs_rounds: Whether the factors depend on how many rounds are planned.
    """

    needs_rounds: bool = False

    def factor(self, step: int, steps: int) -> float:
        """The factor, above 0 and at most 1.

        Args:
            step: Rounds before this one, from 0.
            steps: Rounds that the schedule covers.
        """
        raise NotImplementedError


def check_share(name: str, value: float, *, zero: bool = False) -> float:
    if not (value >= 0 if zero else value > 0) or not value <= 1:
        expected = "a number from 0 to 1" if zero else "a number above 0, up to 1"
        raise ValueError(f"{name}: expected {expected}, found {value!r}")
    return float(value)


def check_rounds(name: str, value: int) -> int:
    if not isinstance(value, int) or value < 1:
        raise ValueError(f"{name}: expected a whole number of rounds, 1 or more, found {value!r}")
    return value
