"""Makes passes over different batches comparable: the same random numbers, and only finite values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map

from fedcore.errors import PrivacyError
from fedcore.seeding import derive_seed

_WATCHED = 0x5EED_0F_70_12_C4


class AlikeForEveryRow(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Gives every row of a batch, and a row alone, the same random numbers.

    A record may draw numbers of its own (dropout, noise in a forward pass): that is not a coupling. But which numbers a
    row gets depends on its place in the batch, so that its gradient in a batch and alone would differ. Here the k-th
    draw of a pass is made for each row by itself, from the k-th seed. A draw that is not one for each row, such as a
    permutation of the batch, is unchanged: its effects are couplings. So are those of a draw from the task's own
    generator, whose seed others may know: one more record would change what the records after it draw.
    """

    def __init__(self, rows: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._rows, self._draws = rows, 0
        self._before = torch.default_generator.get_state()

    def __enter__(self) -> Self:
        self._before = torch.default_generator.get_state()
        torch.default_generator.manual_seed(_WATCHED)
        super().__enter__()  # type: ignore[no-untyped-call]
        return self

    def __exit__(self, *raised: Any) -> None:
        """Restore torch's generator; raises `PrivacyError` if it was seeded meanwhile."""
        super().__exit__(*raised)  # type: ignore[no-untyped-call]
        seeded = torch.default_generator.initial_seed() != _WATCHED
        torch.default_generator.set_state(self._before)
        if seeded and raised[0] is None:
            raise PrivacyError(
                "loss or model seed torch's generator, so that what a record draws at random depends on its place in "
                "the batch alone; a record more would change what the records after it draw. Leave the seed to fedcore"
            )

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Draw for each row where `func` draws."""
        given = dict(kwargs or {})
        if torch.Tag.nondeterministic_seeded not in func.tags or given.get("generator") is not None:
            return func(*args, **given)
        self._draws += 1
        generator = torch.default_generator
        state = generator.get_state()
        try:
            if not any(map(self._is_by_row, args)):
                generator.manual_seed(derive_seed(0, "draw", self._draws))
                return func(*args, **given)
            drawn = []
            for row in range(self._rows):
                generator.manual_seed(derive_seed(0, "draw", self._draws))
                drawn.append(func(*(self._of_row(each, row) for each in args), **given))
        finally:
            generator.set_state(state)
        return args[0] if func._schema.name.endswith("_") else tree_map(lambda *parts: torch.cat(parts), *drawn)

    def _is_by_row(self, argument: Any) -> bool:
        """Whether it is a tensor of the rows, or the shape of one."""
        if isinstance(argument, Tensor):
            return argument.ndim > 0 and len(argument) == self._rows
        return isinstance(argument, list | tuple) and len(argument) > 0 and argument[0] == self._rows

    def _of_row(self, argument: Any, row: int) -> Any:
        if not self._is_by_row(argument):
            return argument
        return argument[row : row + 1] if isinstance(argument, Tensor) else [1, *argument[1:]]


def finite_or_zero(rows: Tensor) -> Tensor:
    """The rows, zero where a row has a number that is not finite; shape ``(n, d)``."""
    return torch.where(rows.isfinite().all(1, keepdim=True), rows, torch.zeros_like(rows))
