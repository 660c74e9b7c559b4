"""The contracts of rules and encodings."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Protocol

from torch import Tensor

from fedcore.parameters import State, Tensors

if TYPE_CHECKING:
    from fedcore.plan import RunPlan


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """Updates of one or more clients: a deployment's blocks have one row, an engine's may have a whole cohort.

    Attributes:
        vectors: By name, each of shape ``(k, d)``.
        factors: Of each row in a weighted sum; shape ``(k,)``.
        divisors: Addend of each row to the divisor of a weighted mean; shape ``(k,)``.
    """

    vectors: Tensors
    factors: Tensor
    divisors: Tensor


class Combination(Protocol):
    """The combination of one round's updates, in progress."""

    def add(self, block: Block) -> None:
        """Take updates in; their memory may be reused afterwards."""

    def finish(self) -> tuple[dict[str, Tensor], State]:
        """The combined vectors in float64, shape ``(d,)``, and the rule's next state; zeros if nothing was added."""


class Rule:
    """Combines the updates of a round.

    Attributes:
        by_examples: Whether it uses the weights by number of examples.
        weighs: Whether it uses weights at all; required by an algorithm that weighs clients.
        streams: Whether updates are dropped once added; otherwise all of a round are kept, in mapped memory.
        note: A known cost of the rule, shown before training; empty if there is none.
    """

    by_examples: ClassVar[bool] = False
    weighs: ClassVar[bool] = False
    streams: ClassVar[bool] = True
    note: ClassVar[str] = ""

    def check(self, plan: RunPlan) -> Iterable[str]:
        """What in a plan contradicts the rule, in sentences."""
        return ()

    def begin(self, sizes: Mapping[str, int], state: State) -> Combination:
        """Begin a round.

        Args:
            sizes: Number of elements of each vector by name.
            state: What the round before left; empty at first.
        """
        raise NotImplementedError

    def sensitivity(self, clip_norm: float) -> float | None:
        """Largest change of the sum when one client's update, of norm at most `clip_norm`, is blanked.

        `clip_norm` itself where the rule is the sum of the updates over their number: the server then clips, sums and
        adds noise in its place. ``None`` of every other rule, which is refused under privacy unit ``client``.
        """
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Array:
    """A declared vector: its number type and number of elements."""

    dtype: str
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """Where an update is encoded.

    Attributes:
        uniform: Draws a tensor's shape of numbers from [0, 1), seeded by client, round and encoding.
    """

    client: str
    round: int
    uniform: Callable[[Tensor], Tensor]


class Encoding:
    """A change of what is sent: a client half, and a server half that undoes it.

    It works on tensors of shape ``(..., n)``. Client halves run in the plan's order, each on the previous one's values;
    server halves run in reverse.

    Attributes:
        keeps: Vectors of the values' size that the client keeps between rounds, zero at first.
    """

    keeps: ClassVar[tuple[str, ...]] = ()

    def declare(self, values: Array) -> tuple[Array, Mapping[str, Array]]:
        """What the values become, and the arrays that travel beside them."""
        return values, {}

    def encode(self, values: Tensor, kept: Tensors, context: Context) -> tuple[Tensor, Tensors, Tensors]:
        """The encoded values, the arrays beside them, and what the client keeps."""
        raise NotImplementedError

    def decode(self, values: Tensor, beside: Tensors, declared: Array) -> Tensor:
        """The values back, of the size and number type declared.

        Raises:
            DataError: The arrays beside them are not what `encode` makes.
        """
        raise NotImplementedError

    def check(self, plan: RunPlan) -> Iterable[str]:
        """What in a plan contradicts the encoding, in sentences."""
        return ()

    def refusal(self, unit: str) -> str | None:
        """Why the guarantee of a privacy unit would not hold; ``None`` where it holds.

        Guarantee:
            Unit ``record``: an encoding sees what was released of the rows already, so that it is post-processing.
            Unit ``client``: the server clips what it decoded, so that one client moves the sum by no more.
        """
        return None
