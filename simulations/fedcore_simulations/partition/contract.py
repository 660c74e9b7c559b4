"""What every partitioner is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from fedcore.errors import PlanError

if TYPE_CHECKING:
    from fedcore.data.examples import Examples

Owner = NDArray[np.int64]
"""For each row the position of its client; shape ``(rows,)``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """The rows that are dealt out, and to how many clients.

    Attributes:
        held_out: Which rows are not trained on; shape ``(rows,)``.
        seed: Of the run, for a stream besides the one of this draw.
    """

    examples: Examples
    held_out: NDArray[np.bool_]
    clients: int
    seed: int

    def __len__(self) -> int:
        return len(self.examples)

    @property
    def classes(self) -> NDArray[np.int64]:
        """Class of each row; shape ``(rows,)``.

        Raises:
            PlanError: The task has none.
        """
        targets = self.examples.columns.get("targets")
        if targets is None or targets.is_floating_point() or targets.ndim != 1:
            raise PlanError("federation.partition: it needs classes, and this task has none; use iid or by:COLUMN")
        return targets.numpy().astype(np.int64)


class Partitioner(Protocol):
    """Deals rows out; ``fedcore_simulations.partition.testing`` holds the tests that it must pass.

    Attributes:
        remedy: What helps when a client is left without a training row, in words that follow "use".
    """

    remedy: str

    def names(self, examples: Examples) -> tuple[str, ...] | None:
        """Names of the clients where the data decides who they are; ``None`` where the plan says how many.

        Raises:
            PlanError: The data lacks what the partitioner needs.
        """

    def deal(self, rows: Rows, generator: np.random.Generator) -> Owner:
        """The client of each row; drawn again when it leaves a client without a training row.

        Raises:
            PlanError: The data lacks what the partitioner needs.
            DataError: No draw could serve every client.
        """
