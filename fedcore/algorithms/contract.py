"""The contract of an algorithm: a client half and a server half, written on flat tensors.

The client half works on tensors of shape ``(..., d)``: ``(d,)`` for one client, ``(k, d)`` for a cohort at once. So it
must use element-wise operations, and reduce over the last dimension only.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import torch
from torch import Tensor

from fedcore.parameters import State, Tensors
from fedcore.storage.large_vectors import difference

if TYPE_CHECKING:
    from fedcore.algorithms.row_weights import RowWeights
    from fedcore.audit.tables.values import AuditTable
    from fedcore.plan import RunPlan


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalWork:
    """A client's work in a round.

    Attributes:
        steps: Optimizer steps; for a cohort of shape ``(k, 1)``.
        trained: How many numbers at the front of a vector are trained; what follows are the model's buffers, such as
            running statistics. ``None``: all.
    """

    steps: int | Tensor
    learning_rate: float
    trained: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Cohort:
    """The clients whose updates are in the mean.

    Attributes:
        counted: Clients counted; under unit ``client`` the public number in their place.
        trained: As in `LocalWork`.
    """

    counted: float
    clients: int
    trained: int | None = None

    @property
    def share(self) -> float:
        """``|S| / N``."""
        return self.counted / self.clients


@dataclass(frozen=True, slots=True, kw_only=True)
class Contribution:
    """A client's update when it is weighed.

    Attributes:
        num_examples: Training rows, capped by the plan; ``None`` if secret.
        staleness: Steps of the server since the client received its model; 0 in rounds.
    """

    client: str
    round: int
    num_examples: int | None
    norm: float
    staleness: int = 0


class Evaluated(Protocol):
    """The evaluation that an algorithm may learn from.

    Attributes:
        metrics: Means over all held-out rows.
        clients: Each client's means, with its number of rows under ``n``.
    """

    @property
    def metrics(self) -> Mapping[str, float]: ...
    @property
    def clients(self) -> Mapping[str, Mapping[str, float]]: ...
    @property
    def tables(self) -> Mapping[str, AuditTable]: ...
    @property
    def client_tables(self) -> Mapping[str, Mapping[str, AuditTable]]: ...


class Algorithm:
    """Federated averaging; a subclass changes what differs from it.

    Attributes:
        shares: Vectors of the model's size that are sent to clients with the model; part of the state.
        keeps: Vectors of the model's size that a client keeps between rounds, zero at first. They never leave it.
        sends: Vectors of the model's size in a reply; ``update`` is one of them.
        numbers: Single numbers in a reply, tensors of shape ``(..., 1)``, combined by the same rule. No encoding
            changes them.
        learns: Whether evaluations change the state; the untrained model is then evaluated before round 1.
        buffer: Updates after which the server steps, whenever they come: the run is asynchronous. ``None``: in rounds.
        from_present: Whether an update is the way from the server's present model to the client's, and not from the
            older one that the client received.
    """

    shares: ClassVar[tuple[str, ...]] = ()
    keeps: ClassVar[tuple[str, ...]] = ()
    sends: ClassVar[tuple[str, ...]] = ("update",)
    numbers: ClassVar[tuple[str, ...]] = ()
    learns: ClassVar[bool] = False
    weighs_rows: ClassVar[bool] = False
    weighs_clients: ClassVar[bool] = False
    from_present: ClassVar[bool] = False
    buffer: int | None = None

    def check(self, plan: RunPlan) -> Iterable[str]:
        """What in a plan contradicts the algorithm, in sentences."""
        return ()

    def check_tables(self, tables: Mapping[str, AuditTable], plan: RunPlan) -> Iterable[str]:
        """What the algorithm cannot use in the (still empty) tables that clients will fill, in sentences."""
        return ()

    def refusal(self, unit: str) -> str | None:
        """Why the guarantee of a privacy unit would not hold; ``None`` where it holds.

        Guarantee:
            Unit ``record``: the client half sees gradients after noise was added, and weights made of them, so that
            whatever it sends or keeps is post-processing. Unit ``client``: the server clips and noises one vector of
            each client, ``update``; all clients weigh the same; evaluations, which have no noise then, change nothing.
        """
        if unit != "client":
            return None
        if self.learns:
            return "it follows evaluations, which the noise does not cover"
        if (sent := (*self.sends, *self.numbers)) != ("update",):
            return f"it sends {', '.join(sent)}, and the noise covers the update alone"
        return "it weighs clients, and under unit client all weigh the same" if self.weighs_clients else None

    def sizes_sent(self, size: int) -> dict[str, int]:
        """Number of elements of all that a reply holds, for a model of `size` elements."""
        return dict.fromkeys(self.sends, size) | dict.fromkeys(self.numbers, 1)

    def adjust(self, gradient: Tensor, weights: Tensor, received: Tensor, shared: Tensors, kept: Tensors) -> None:
        """Change the gradient of a step in place, before the client's optimizer uses it.

        All tensors have the shape ``(..., t)``, with the trainable parameters only.
        """

    def finish(
        self, trained: Tensor, received: Tensor, shared: Tensors, kept: Tensors, work: LocalWork
    ) -> tuple[Tensors, Tensors]:
        """What is sent and what is kept, after the last step; tensors of shape ``(..., d)``, numbers ``(..., 1)``."""
        return {"update": difference(trained, received)}, {}

    def start(self, size: int) -> State:
        """The state before the first round."""
        return {name: torch.zeros(size, dtype=torch.float64) for name in self.shares}

    def learn(self, state: State, evaluation: Evaluated, plan: RunPlan) -> State:
        return state

    def row_weights(self, state: State) -> RowWeights | None:
        """Weights of the rows' losses in the next round; ``None`` if all rows weigh the same."""
        return None

    def weigh(self, contribution: Contribution, state: State, plan: RunPlan) -> tuple[float, float]:
        """The factor of a client's update in the sum, and what it adds to the divisor."""
        weight = float(contribution.num_examples or 0)
        return weight, weight

    def step(self, mean: Tensors, state: State, cohort: Cohort) -> tuple[Tensor, State]:
        """The direction in which the server optimizer moves the model, and the next state.

        Args:
            mean: What the rule made of each vector and number sent; float64, shapes ``(d,)`` and ``(1,)``.
        """
        return mean["update"], state

    def report(self, state: State) -> dict[str, Any]:
        """What ``rounds.jsonl`` records of the state each round; nothing of single rows or small groups."""
        return {}
