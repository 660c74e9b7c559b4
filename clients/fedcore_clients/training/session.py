"""One client's local training, as its algorithm sees it."""

from __future__ import annotations

import torch

from fedcore.algorithms.contract import Algorithm, LocalWork
from fedcore.errors import TaskError
from fedcore.messages import TrainRequest
from fedcore.method.returned import algorithm_of, check_vectors, pair_returned
from fedcore.parameters import Tensors
from fedcore.schedules.learning_rate import learning_rate
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
        self._steps, self._round = 0, request.round
        trained = slice(0, local.parameters.layout.num_trained)
        self._weights = local.parameters.buffer[trained]
        # What no step reads need not be copied to a device.
        adjusts = type(self._algorithm).adjust is not Algorithm.adjust
        kept = {name: self._kept[name] for name in self._algorithm.keeps}
        vectors = {_RECEIVED: self._received, **self._shared, **kept} if adjusts else {}
        self._vectors = {name: vector[trained].to(local.device) for name, vector in vectors.items()}

    def step(self) -> None:
        """One step of the optimizer.

        Raises:
            TaskError: `adjust` returns something.
        """
        self._steps += 1
        if self._vectors:
            vectors, algorithm = self._vectors, self._algorithm
            shared = {name: vectors[name] for name in algorithm.shares}
            kept = {name: vectors[name] for name in algorithm.keeps}
            found: object = algorithm.adjust(  # type: ignore[func-returns-value]
                self._local.gradient, self._weights, vectors[_RECEIVED], shared, kept
            )
            if found is not None:
                raise TaskError(
                    f"adjust of {algorithm_of(self._local.plan)} must change the gradient in place, such as with "
                    f"gradient.add_(…), and return nothing; it returned an object of type {type(found).__name__}"
                )
        self._optimizer.step()

    def finish(self) -> tuple[Tensors, Tensors]:
        """What is sent, and what is kept; on the CPU.

        Raises:
            TaskError: They are not the vectors that the algorithm declares.
        """
        plan = self._local.plan
        work = LocalWork(
            steps=max(1, self._steps),
            learning_rate=learning_rate(plan, self._round),
            trained=self._local.parameters.layout.num_trained,
        )
        trained = self._local.parameters.buffer.cpu()
        found = self._algorithm.finish(trained, self._received, self._shared, self._kept, work)
        part, size = f"finish of {algorithm_of(self._local.plan)}", len(trained)
        sent, kept = pair_returned(found, part, "what is sent and what is kept")
        sizes, keeps = self._algorithm.sizes_sent(size), dict.fromkeys(self._algorithm.keeps, size)
        check_vectors(sent, sizes, f"{part} must send what sends and numbers declare", only=True)
        check_vectors(kept, keeps, f"{part} must keep what keeps declares", only=True)
        return sent, kept
