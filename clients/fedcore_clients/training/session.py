"""One client's local training, as its algorithm sees it."""

from __future__ import annotations

import torch

from fedcore.algorithms.contract import Algorithm, LocalWork
from fedcore.messages import TrainRequest
from fedcore.parameters import Tensors
from fedcore_clients.training.local_model import LocalModel

_RECEIVED = "received"


class Session:
    """Steps of the optimizer with the algorithm's adjustment, and what the algorithm makes of them at the end.

    Args:
        kept: What the client keeps between rounds, on the CPU.
    """

    def __init__(
        self, local: LocalModel, optimizer: torch.optim.Optimizer, request: TrainRequest, kept: Tensors
    ) -> None:
        self._local, self._optimizer, self._algorithm = local, optimizer, local.exchange.algorithm
        self._received, self._shared, self._kept = request.parameters.buffer, dict(request.shared), dict(kept)
        self._steps = 0
        trained = slice(0, local.parameters.layout.num_trained)
        self._weights = local.parameters.buffer[trained]
        # What no step reads need not be copied to a device.
        adjusts = type(self._algorithm).adjust is not Algorithm.adjust
        kept = {name: self._kept[name] for name in self._algorithm.keeps}
        vectors = {_RECEIVED: self._received, **self._shared, **kept} if adjusts else {}
        self._vectors = {name: vector[trained].to(local.device) for name, vector in vectors.items()}

    def step(self) -> None:
        self._steps += 1
        if self._vectors:
            vectors, algorithm = self._vectors, self._algorithm
            shared = {name: vectors[name] for name in algorithm.shares}
            kept = {name: vectors[name] for name in algorithm.keeps}
            algorithm.adjust(self._local.gradient, self._weights, vectors[_RECEIVED], shared, kept)
        self._optimizer.step()

    def finish(self) -> tuple[Tensors, Tensors]:
        """What is sent, and what is kept; on the CPU."""
        plan = self._local.plan
        private = plan.privacy.learning_rate if self._local.privacy else None
        work = LocalWork(steps=max(1, self._steps), learning_rate=private or plan.training.learning_rate)
        trained = self._local.parameters.buffer.cpu()
        return self._algorithm.finish(trained, self._received, self._shared, self._kept, work)
