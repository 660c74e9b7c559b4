"""What robust rules share: all updates of a round, the number of attackers, and mixing of nearest neighbours.

Mixing: Allouah et al. 2023, "Fixing by mixing", arXiv 2302.01772, algorithm 2. Each update is replaced by the mean of
the ``n - f`` nearest ones, itself included, before the rule.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor

from fedcore.aggregation.contract import Block, Rule
from fedcore.parameters import State
from fedcore.storage.large_vectors import let_go_of, put_aside, scratch

if TYPE_CHECKING:
    from fedcore.plan import RunPlan

_SLICE_NUMBERS = 2**21
"""Numbers that are combined at once, of all updates together."""


class Updates:
    """All updates of one vector, kept in mapped memory and read in slices.

    Args:
        size: Elements of the vector.
        mixing: Weights of the updates in those that the rule gets, shape ``(k, n)``; ``None``: the updates themselves.
    """

    def __init__(self, size: int, rows: list[Tensor], mixing: Tensor | None = None) -> None:
        self._size, self._rows, self._mixing = size, rows, mixing

    def __len__(self) -> int:
        return len(self._rows)

    def combined(self, combine: Callable[[Tensor], Tensor]) -> Tensor:
        """The vector of what `combine` makes of each slice of shape ``(n, s)``; float64."""
        vector = scratch(self._size, torch.float64)
        for where, part in self.slices():
            vector[where] = combine(part)
            let_go_of(vector)
        return vector

    def squared_distances(self) -> Tensor:
        """Between all pairs; shape ``(n, n)``. From differences: products would cancel where updates are alike."""
        total = torch.zeros(len(self), len(self), dtype=torch.float64)
        for _, part in self.slices():
            total += torch.cdist(part, part, compute_mode="donot_use_mm_for_euclid_dist").square_()
        return total

    def mixed(self, attackers: int) -> Updates:
        """Each update with its nearest neighbours."""
        near = len(self) - attackers
        nearest = self.squared_distances().argsort(dim=1, stable=True)[:, :near]
        mixing = torch.zeros(len(self), len(self), dtype=torch.float64).scatter_(1, nearest, 1.0 / near)
        return Updates(self._size, self._rows, mixing)

    def slices(self) -> Iterator[tuple[slice, Tensor]]:
        step = max(1, _SLICE_NUMBERS // len(self))
        for where in (slice(start, start + step) for start in range(0, self._size, step)):
            part = torch.stack([row[where] for row in self._rows]).to(torch.float64)
            yield where, part if self._mixing is None else self._mixing @ part
            let_go_of(*self._rows)


class Robust(Rule):
    """A rule that tolerates some hostile clients; no sum, so that all updates of a round are kept.

    Each vector that an algorithm sends is combined by itself. Subclasses define `combine`.

    Args:
        f: Hostile clients in a round that the rule must tolerate.
        nnm: Whether updates are mixed with their nearest neighbours first, which helps where clients' data differ.

    Attributes:
        more: How many more than ``2 f`` updates the rule needs.
        remembers: Whether `combine` is given what it made in the round before.
    """

    streams = False
    note = (
        "a robust rule cannot distinguish clients with unusual data from hostile ones: where data are skewed it may "
        "cost more accuracy than an attack; compare with aggregation.rule=uniform"
    )
    more: ClassVar[int] = 1
    remembers: ClassVar[bool] = False

    def __init__(self, f: int, nnm: bool = False) -> None:
        if isinstance(f, bool) or not isinstance(f, int) or f < 1:
            raise ValueError(f"f: expected the number of hostile clients to tolerate, 1 or more, found {f!r}")
        self.f, self.nnm = f, checked(nnm)

    @property
    def least(self) -> int:
        """The fewest updates that can be combined."""
        return 2 * self.f + self.more

    def attackers(self, updates: int) -> int:
        """Hostile clients assumed among so many."""
        return self.f

    def check(self, plan: RunPlan) -> Iterator[str]:
        asked, quorum = plan.federation.cohort_size or plan.federation.clients, plan.federation.quorum
        if asked < self.least:
            yield (
                f"against {self.f} hostile clients it needs {self.least} updates, and a round asks {asked} clients; "
                "ask more, or lower f"
            )
        elif quorum < self.least:
            yield (
                f"against {self.f} hostile clients it needs {self.least} updates, and federation.quorum is {quorum}; "
                f"set it to {self.least} or more"
            )

    def begin(self, sizes: Mapping[str, int], state: State) -> _Kept:
        return _Kept(sizes, self, state)

    def combine(self, updates: Updates, before: Tensor | None) -> Tensor:
        """The combined vector, float64.

        Args:
            before: What was made in the round before, where the rule remembers and there was one.
        """
        raise NotImplementedError


def checked(nnm: bool) -> bool:
    if not isinstance(nnm, bool):
        raise TypeError(f"nnm: expected true or false, found {nnm!r}")
    return nnm


class _Kept:
    """The updates of a round. Fewer than the rule needs are below the quorum, and what is made of them is not used."""

    def __init__(self, sizes: Mapping[str, int], rule: Robust, state: State) -> None:
        self._sizes, self._rule, self._state = sizes, rule, state
        self._rows: dict[str, list[Tensor]] = {name: [] for name in sizes}

    def add(self, block: Block) -> None:
        for name, rows in self._rows.items():
            rows += [put_aside(row) for row in block.vectors[name]]

    def finish(self) -> tuple[dict[str, Tensor], State]:
        vectors = {name: self._combined(name, rows) for name, rows in self._rows.items()}
        return vectors, {name: put_aside(each) for name, each in vectors.items()} if self._rule.remembers else {}

    def _combined(self, name: str, rows: list[Tensor]) -> Tensor:
        size, rule = self._sizes[name], self._rule
        if len(rows) < rule.least:
            return scratch(size, torch.float64)
        updates = Updates(size, rows)
        return rule.combine(updates.mixed(rule.attackers(len(rows))) if rule.nnm else updates, self._state.get(name))
