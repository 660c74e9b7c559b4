"""How updates become one: streaming, so that no server holds all of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor

from fedcore.errors import LayoutError
from fedcore.messages import ClientUpdate
from fedcore.parameters import Layout, Parameters
from fedcore.storage.large_vectors import slices

_SMALLEST_LOSS = 1e-12


@dataclass(frozen=True, slots=True, kw_only=True)
class Accumulator:
    """A running sum.

    Attributes:
        total: Weighted sum of the differences, float64; shape ``(layout.size,)``.
        weight: Sum of the weights.
        centred_within: Sum over the updates of 1 where the norm is within the clip norm, less ½; where one clips.
    """

    total: Tensor
    weight: float
    layout: Layout
    centred_within: float = 0.0


class Aggregator(Protocol):
    """Turns a stream of updates into one."""

    def start(self, like: Parameters) -> Accumulator:
        """An empty sum for updates of the layout of `like`."""

    def accumulate(self, so_far: Accumulator, update: ClientUpdate) -> Accumulator:
        """Add one update. The buffer of `so_far` may be reused."""

    def finish(self, so_far: Accumulator) -> Parameters:
        """The aggregate update."""

    def sensitivity(self, clip_norm: float) -> float | None:
        """Largest change of the *sum* when one client's update, of norm at most `clip_norm`, is left out.

        ``None`` where there is no bound: noise cannot be scaled to such an aggregate.
        """


class WeightedMean:
    """FedAvg: updates weighted by the clients' numbers of training rows.

    McMahan et al. 2017, arXiv 1602.05629, algorithm 1.
    """

    def start(self, like: Parameters) -> Accumulator:
        """Zeros."""
        return _empty(like)

    def accumulate(self, so_far: Accumulator, update: ClientUpdate) -> Accumulator:
        """Add ``num_examples * difference``."""
        if update.num_examples is None:
            raise LayoutError("an update without num_examples cannot be weighted by it; use weighting = 'uniform'")
        return _add(so_far, update, float(update.num_examples))

    def finish(self, so_far: Accumulator) -> Parameters:
        """Divide by the number of rows counted."""
        return _divide(so_far, so_far.weight)

    def sensitivity(self, clip_norm: float) -> float | None:
        """None: a weight is whatever the client says it is."""
        return None


class UniformMean:
    """Every counted client weighs the same."""

    def start(self, like: Parameters) -> Accumulator:
        """Zeros."""
        return _empty(like)

    def accumulate(self, so_far: Accumulator, update: ClientUpdate) -> Accumulator:
        """Add the difference."""
        return _add(so_far, update, 1.0)

    def finish(self, so_far: Accumulator) -> Parameters:
        """Divide by the number of clients counted."""
        return _divide(so_far, so_far.weight)

    def sensitivity(self, clip_norm: float) -> float | None:
        """One client moves the sum by at most its clipped norm."""
        return clip_norm


class ShareMean:
    """Updates weighted by shares that the server has chosen (FairFed, agnostic federated learning).

    Args:
        shares: Of each client, non-negative; one without a share counts as much as the mean of the others.
    """

    def __init__(self, shares: Mapping[str, float]) -> None:
        self._shares = shares
        self._otherwise = sum(shares.values()) / len(shares) if shares else 1.0

    def start(self, like: Parameters) -> Accumulator:
        """Zeros."""
        return _empty(like)

    def accumulate(self, so_far: Accumulator, update: ClientUpdate) -> Accumulator:
        """Add ``share * difference``."""
        return _add(so_far, update, self._shares.get(update.client, self._otherwise))

    def finish(self, so_far: Accumulator) -> Parameters:
        """Divide by the shares counted."""
        return _divide(so_far, so_far.weight)

    def sensitivity(self, clip_norm: float) -> float | None:
        """None: the shares follow what clients report."""
        return None


class FairMean:
    """q-FedAvg: the update of a client counts by the q-th power of its loss.

    With ``F`` the loss, ``d`` the difference and ``L`` the reciprocal of the clients' learning rate, the update is
    ``sum F^q L d / sum (q F^(q-1) L² ‖d‖² + L F^q)``. Li et al. 2020, "Fair resource allocation in federated learning",
    arXiv 1905.10497, algorithm 2. With q = 0 it is the uniform mean.

    Args:
        losses: Mean loss of each client, positive; one without a loss is taken to have the mean of the others.
    """

    def __init__(self, losses: Mapping[str, float], *, power: float, learning_rate: float) -> None:
        self._losses, self._power, self._smoothness = losses, power, 1.0 / learning_rate
        self._otherwise = sum(losses.values()) / len(losses) if losses else 1.0

    def start(self, like: Parameters) -> Accumulator:
        """Zeros."""
        return _empty(like)

    def accumulate(self, so_far: Accumulator, update: ClientUpdate) -> Accumulator:
        """Add ``F^q L d``, and to the weight what it is divided by."""
        loss = max(self._losses.get(update.client, self._otherwise), _SMALLEST_LOSS)
        weight = self._smoothness * loss**self._power
        added = _add(so_far, update, weight)
        bent = self._power * loss ** (self._power - 1.0) * (self._smoothness * update.difference.norm()) ** 2
        return replace(added, weight=added.weight + bent)

    def finish(self, so_far: Accumulator) -> Parameters:
        """Divide."""
        return _divide(so_far, so_far.weight)

    def sensitivity(self, clip_norm: float) -> float | None:
        """None: the weights follow what clients report."""
        return None


def _empty(like: Parameters) -> Accumulator:
    total = torch.zeros(like.layout.size, dtype=torch.float64)
    return Accumulator(total=total, weight=0.0, layout=like.layout)


def _add(so_far: Accumulator, update: ClientUpdate, weight: float) -> Accumulator:
    for total, difference in slices(so_far.total, update.difference.buffer):
        total.add_(difference, alpha=weight)
    return Accumulator(total=so_far.total, weight=so_far.weight + weight, layout=so_far.layout)


def _divide(so_far: Accumulator, by: float) -> Parameters:
    """The quotient, in the memory of the sum; zero where nothing was counted."""
    for (total,) in slices(so_far.total):
        total.mul_(0.0) if by <= 0 else total.div_(by)
    return Parameters(so_far.total, so_far.layout)
