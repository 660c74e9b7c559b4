"""FedAsync: the server mixes every client's model into its own as it comes, stale ones less.

Xie et al. 2019, "Asynchronous federated optimization", arXiv 1903.03934, algorithm 1: ``x <- (1 - a) x + a x_new`` with
``a = alpha s(t)``; clients descend their loss plus ``rho / 2 ||x - x_received||²``. ``t`` counts the server's steps
since the client received its model: 0, where s = 1, if there was none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

from fedcore.algorithms.asynchronous.contract import Asynchronous, polynomial
from fedcore.algorithms.contract import Contribution
from fedcore.parameters import State, Tensors

if TYPE_CHECKING:
    from fedcore.plan import RunPlan

_FUNCTIONS = ("polynomial", "hinge", "constant")


class FedAsync(Asynchronous):
    """Asynchronous mixing of models.

    Args:
        alpha: Weight of a client's model that is not stale, in (0, 1].
        staleness: ``polynomial``: s = (1 + t)^-a; ``hinge``: s = 1 until t = b, then 1 / (a (t - b) + 1);
            ``constant``: s = 1.
        a: By default 0.5 in the polynomial and 10 in the hinge.
        b: Steps of the server that the hinge forgives.
        rho: Weight of the proximal term.
    """

    from_present = True

    def __init__(
        self, alpha: float = 0.6, staleness: str = "polynomial", a: float | None = None, b: int = 4, rho: float = 0.005
    ) -> None:
        super().__init__(buffer=1)
        if not 0 < alpha <= 1:
            raise ValueError(f"alpha: expected a number above 0 and up to 1, found {alpha!r}")
        if staleness not in _FUNCTIONS:
            raise ValueError(f"staleness: expected one of {', '.join(_FUNCTIONS)}, found {staleness!r}")
        self.alpha, self.staleness, self.b, self.rho = float(alpha), staleness, b, float(rho)
        self.a = (10.0 if staleness == "hinge" else 0.5) if a is None else float(a)
        if not (0 <= self.a < float("inf") and self.b >= 0 and 0 <= self.rho < float("inf")):
            raise ValueError(f"a, b and rho: expected numbers from 0, found {a!r}, {b!r} and {rho!r}")

    def adjust(self, gradient: Tensor, weights: Tensor, received: Tensor, shared: Tensors, kept: Tensors) -> None:
        gradient.add_(weights - received, alpha=self.rho)

    def weigh(self, contribution: Contribution, state: State, plan: RunPlan) -> tuple[float, float]:
        return self.alpha * self._scale(contribution.staleness), 1.0

    def _scale(self, staleness: int) -> float:
        if self.staleness == "polynomial":
            return polynomial(staleness, self.a)
        over = staleness - self.b
        return 1.0 if self.staleness == "constant" or over <= 0 else 1.0 / (self.a * over + 1.0)
