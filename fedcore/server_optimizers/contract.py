"""The contract of a server optimizer."""

from __future__ import annotations

from torch import Tensor

from fedcore.parameters import State


class ServerOptimizer:
    """Turns the direction of a round into a step, with state from the rounds before.

    The mean update is a step, so it is added, where an optimizer on a loss would subtract a gradient.
    """

    def step(self, update: Tensor, state: State) -> tuple[Tensor, State]:
        """The step before the server's learning rate, and the next state.

        Args:
            update: Float64, shape ``(d,)``.
            state: What the last round left; empty before the first. Its tensors have that shape.
        """
        raise NotImplementedError


def check_decay(name: str, value: float) -> float:
    if not 0 <= value < 1:
        raise ValueError(f"{name}: expected a number from 0, below 1, found {value!r}")
    return float(value)
