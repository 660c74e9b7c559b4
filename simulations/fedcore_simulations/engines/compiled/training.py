"""Local training of many clients by the kernel."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Executor
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from fedcore.data.shuffles import shuffled
from fedcore.errors import PlanError
from fedcore.messages import TrainRequest
from fedcore.schedules.learning_rate import learning_rate
from fedcore.seeding import derive_seeds
from fedcore_clients.training.local_model import Client, LocalModel
from fedcore_simulations.engines.batched.training import CohortTraining, Vectors
from fedcore_simulations.engines.compiled import kernel
from fedcore_simulations.engines.compiled.perceptron import Perceptron


class CompiledTraining(CohortTraining):
    """As `CohortTraining`, with the kernel in the place of tensor operations.

    Each client is trained by itself, so that its result depends neither on the others nor on the threads.

    Args:
        threads: What the kernel's calls run on.
        num_threads: How many calls a chunk is split into.
    """

    def __init__(
        self, local: LocalModel, clients: Sequence[Client], size: int, *, threads: Executor, num_threads: int
    ) -> None:
        self._threads, self._num_threads = threads, num_threads
        super().__init__(local, clients, size)

    def _prepare(self, size: int) -> None:
        local, columns = self._local, self._population.rows.columns
        network = Perceptron.of(local.model)
        if isinstance(network, str):
            raise PlanError(f"engine 'compiled' cannot run this plan: {network}")
        self._network = (
            np.array(network.sizes, np.int64),
            np.array([getattr(kernel, name) for name in network.activations], np.int64),
        )
        self._weights = torch.empty(size, local.parameters.layout.size, dtype=local.dtype)
        self._inputs = columns["inputs"].flatten(1).contiguous().numpy()
        self._targets = columns["targets"].numpy()

    def _ordered(self, clients: Sequence[int]) -> Sequence[int]:
        return clients

    def _run(self, request: TrainRequest, order: Sequence[int], kept: Vectors) -> Tensor:
        plan, population = self._local.plan, self._population
        names = [population.names[client] for client in order]
        rows = [population.sizes[client] for client in order]
        sizes = np.array(rows, np.int64)
        starts = np.array([population.starts[client] for client in order], np.int64)
        seeds = derive_seeds(plan.federation.seed, "order", request.round, request.attempt, names=names)
        orders = shuffled(seeds, rows, epochs=plan.training.local_epochs)
        weights, losses = self._weights.numpy(), np.empty(len(order))
        received = request.parameters.buffer.numpy()
        rate = received.dtype.type(learning_rate(plan, request.round))
        batch_size = min(plan.training.batch_size, max(1, *rows))  # what the kernel has room for

        def train(part: slice) -> None:
            of_rows, of_clients = (self._inputs, self._targets), (starts[part], sizes[part], orders[part])
            left = weights[: len(order)][part], losses[part]
            kernel.train(received, *self._network, *of_rows, *of_clients, batch_size, rate, *left)

        first, *others = _parts(sizes, self._num_threads)
        at_work = [self._threads.submit(train, part) for part in others]
        train(first)
        for each in at_work:
            each.result()
        return torch.from_numpy(losses)


def _parts(sizes: np.ndarray, number: int) -> list[slice]:
    """At most so many parts of about equally many rows."""
    ends = np.searchsorted(sizes.cumsum(), np.arange(1, number) * (sizes.sum() / number)) + 1
    edges = [0, *np.minimum(ends, len(sizes)).tolist(), len(sizes)]
    return [slice(start, end) for start, end in pairwise(edges) if start < end]
