"""The tests that every partitioner must pass; subclass `PartitionerContract` in a test module of your own.

::

    class TestMine(PartitionerContract):
        def make_partitioner(self):
            return Mine(alpha=2)
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from fedcore.data.examples import Attribute, Examples
from fedcore_simulations.partition.contract import Owner, Partitioner, Rows

_CLIENTS, _ROWS = 4, 600


def example_rows() -> Rows:
    """Rows of five classes with one attribute, ``ward``, every fifth of them held out."""
    wards = Attribute.from_values([("a", "b")[row % 7 // 4] for row in range(_ROWS)], vocabulary=("a", "b"))
    columns = {"inputs": torch.zeros(_ROWS, 1), "targets": torch.arange(_ROWS) % 5}
    examples = Examples(columns=columns, attributes={"ward": wards})
    return Rows(examples=examples, held_out=np.arange(_ROWS) % 5 == 2, clients=_CLIENTS, seed=0)


class PartitionerContract:
    """Set `make_partitioner`."""

    def make_partitioner(self) -> Partitioner:
        """A new partitioner."""
        raise NotImplementedError

    def test_every_row_has_one_client(self) -> None:
        owner = self._dealt(seed=1)
        assert owner.shape == (_ROWS,)
        assert owner.dtype == np.int64
        assert set(owner.tolist()) <= set(range(self._rows().clients))

    def test_one_generator_gives_one_split(self) -> None:
        assert np.array_equal(self._dealt(seed=1), self._dealt(seed=1))

    def test_it_changes_no_rows(self) -> None:
        rows = self._rows()
        self.make_partitioner().deal(rows, np.random.default_rng(0))
        untouched = example_rows()
        assert torch.equal(rows.examples.columns["targets"], untouched.examples.columns["targets"])
        assert np.array_equal(rows.held_out, untouched.held_out)

    def test_it_says_what_helps_when_a_client_has_no_training_row(self) -> None:
        assert self.make_partitioner().remedy

    def _dealt(self, *, seed: int) -> Owner:
        return self.make_partitioner().deal(self._rows(), np.random.default_rng(seed))

    def _rows(self) -> Rows:
        rows = example_rows()
        names = self.make_partitioner().names(rows.examples)
        return rows if names is None else replace(rows, clients=len(names))
