"""The ``compiled`` engine: perceptrons, a client's whole local training in one call of machine code."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from types import TracebackType
from typing import Self

import torch

from fedcore.algorithms.contract import Algorithm
from fedcore.messages import ClientUpdate, TrainRequest, UpdateBlock
from fedcore.method.method import Method
from fedcore.plugins import name_of
from fedcore.task_families import Classification
from fedcore_clients.training.local_model import LocalModel
from fedcore_server.rounds.state import Rejection
from fedcore_simulations.dealt_clients import training_sizes_of
from fedcore_simulations.engines.batched.engine import chunks_of
from fedcore_simulations.engines.batched.population import Population
from fedcore_simulations.engines.batched.training import is_plain
from fedcore_simulations.engines.compiled.perceptron import Perceptron
from fedcore_simulations.engines.failures import without_failures
from fedcore_simulations.engines.loop import LoopEngine
from fedcore_simulations.engines.memory import Needs

_CHUNK_BYTES, _ORDER_BYTES = 8 * 2**20, 64 * 2**20
"""Of the weights of a chunk of clients, and of the orders of their rows, which are as long as the longest."""
_MISSING = 'numba is not installed: pip install "fedcore[fast]"'


class CompiledEngine(LoopEngine):
    """Trains in threads of this process, and evaluates as ``loop`` does.

    Results equal those of ``loop`` up to rounding, and do not depend on the workers: chunks depend on the sizes of the
    model and of the clients alone. The kernel is compiled at its first use on a machine, which takes some seconds, and
    kept.
    """

    name = "compiled"

    def refusal(self) -> str | None:
        plan = self._plan
        if self._device.type != "cpu":
            return f"it runs on the CPU, and the device is {self._device}"
        if plan.privacy.unit == "record":
            return "it has no record-level privacy"
        if not is_plain(plan.training):
            return "its steps are plain SGD, without options"
        algorithm = Method.of(plan).algorithm
        if type(algorithm).adjust is not Algorithm.adjust or algorithm.weighs_rows:
            return f"algorithm {name_of(plan.algorithm.reference)!r} changes local steps"
        return self._of_task() or super().refusal() or (None if importlib.util.find_spec("numba") else _MISSING)

    def _of_task(self) -> str | None:
        if not isinstance(self._task, Classification):
            return "its loss is the cross-entropy of the family Classification"
        with torch.random.fork_rng(devices=[]):
            network = Perceptron.of(self._task.build_model())
        if isinstance(network, str):
            return network
        columns = Population.of(self._clients).rows.columns
        inputs, targets = columns["inputs"], columns["targets"]
        if inputs[:1].numel() != network.sizes[0] or not inputs.is_floating_point():
            return "the inputs are not the numbers that the first layer takes"
        if not 0 <= int(targets.min()) <= int(targets.max()) < network.sizes[-1]:
            return "a target is none of the classes"
        return None

    def __enter__(self) -> Self:
        from fedcore_simulations.engines.compiled.training import CompiledTraining

        super().__enter__()  # starts its processes before there is any thread
        local = self._local or LocalModel(self._task, self._plan, self._device, memory=self._memory)
        self._stack = ExitStack()
        threads = self._stack.enter_context(ThreadPoolExecutor(max(1, self.num_workers - 1)))
        self._training = CompiledTraining(
            local, self._clients, self._at_once, threads=threads, num_threads=self.num_workers
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()
        super().__exit__(kind, error, trace)

    def _wanted_at_once(self, needs: Needs) -> int:
        longest = max(training_sizes_of(self._clients), default=0) * self._plan.training.local_epochs
        return max(1, min(_CHUNK_BYTES // needs.vector, _ORDER_BYTES // max(1, 8 * longest)))

    def train(self, request: TrainRequest) -> Iterator[ClientUpdate | UpdateBlock | Rejection]:
        """Train the cohort; a block for each chunk, in its order, each to be used before the next is taken."""
        chunks = chunks_of(self._places(request), self._at_once)
        return without_failures(reply for chunk in chunks for reply in self._training.train(request, chunk))
