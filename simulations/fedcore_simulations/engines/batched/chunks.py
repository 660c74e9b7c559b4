"""Chunks of a cohort that fit in memory."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from functools import partial

import torch

from fedcore.errors import EngineError
from fedcore.messages import TrainRequest, UpdateBlock
from fedcore_clients.training.device import lacks_memory
from fedcore_clients.training.local_model import Client, LocalModel
from fedcore_simulations.engines.batched.training import CohortTraining
from fedcore_simulations.engines.failures import Failure

_log = logging.getLogger("fedcore.simulation")


class ChunkTraining:
    """Trains chunks of clients, with fewer at once for good when memory runs out.

    Args:
        size: Clients at once, at most.

    Attributes:
        on_trial: Whether what fails is raised.
    """

    def __init__(self, local: LocalModel, clients: Sequence[Client], size: int) -> None:
        self._device, self._size, self.on_trial = local.device, size, False
        self._make = partial(CohortTraining, local, clients)
        self._training: CohortTraining | None = None

    def train(self, request: TrainRequest, clients: Sequence[int]) -> Iterator[UpdateBlock | Failure]:
        """Blocks in the clients' order, each to be used before the next is taken, and failures.

        Raises:
            EngineError: Not even one client fits.
        """
        rest = list(clients)
        while rest:
            some = rest[: self._size]
            found = self._tried(request, some)
            if found is None:
                self._halve(len(some))
            else:
                yield from found
                del rest[: len(some)]

    def _tried(self, request: TrainRequest, clients: Sequence[int]) -> list[UpdateBlock | Failure] | None:
        """What comes of them, or ``None`` where memory did not suffice. What failed is freed on return."""
        try:
            if self._training is None:
                self._training = self._make(self._size)
            self._training.on_trial = self.on_trial
            return self._training.train(request, clients)
        except Exception as error:
            if not lacks_memory(error):
                raise
            return None

    def _halve(self, tried: int) -> None:
        if tried <= 1:
            raise EngineError(
                f"{self._device} ran out of memory with a single client in training; lower training.batch-size or "
                "engine.workers, take a smaller model, or a machine with more memory"
            )
        self._size, self._training = tried // 2, None
        if self._device.type != "cpu":
            torch.get_device_module(self._device).empty_cache()
        _log.warning(
            "%s ran out of memory with %d clients at once; continuing with %d", self._device, tried, self._size
        )


def joined(replies: Iterator[UpdateBlock | Failure], asked: int) -> list[UpdateBlock | Failure]:
    """One block, as a worker's slot holds; where memory ran out, of several, each copied before the next is made."""
    blocks, failures = list[UpdateBlock](), list[UpdateBlock | Failure]()
    for reply in replies:
        if isinstance(reply, Failure):
            failures.append(reply)
        else:
            whole = all(len(rows) == asked for rows in reply.values.values())
            blocks.append(reply if whole else UpdateBlock.joined([reply]))
    return [UpdateBlock.joined(blocks) if len(blocks) > 1 else blocks[0], *failures] if blocks else failures
