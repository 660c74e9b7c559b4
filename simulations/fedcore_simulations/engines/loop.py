"""The ``loop`` engine: any model, any task, one client after the other in each worker. The reference."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Any, Self, TypeVar

import torch
from torch import Tensor

from fedcore.errors import EngineError, FedcoreError
from fedcore.messages import ClientReport, ClientUpdate, EvaluateRequest, TrainRequest
from fedcore.mitigation.row_weights import RowWeights
from fedcore.parameters import Parameters
from fedcore.plan import RunPlan
from fedcore.task import Task
from fedcore.transforms import load_transforms
from fedcore_clients.training.evaluation import evaluate_locally
from fedcore_clients.training.local_model import Client, LocalModel
from fedcore_clients.training.train import train_locally
from fedcore_server.rounds.rounds import init_state
from fedcore_server.rounds.state import Rejection
from fedcore_simulations.dealt_clients import DealtClients
from fedcore_simulations.engines.workers import Job, WorkerPool

_Asked = TypeVar("_Asked", TrainRequest, EvaluateRequest)
_Answer = TypeVar("_Answer", ClientUpdate, ClientReport)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Request:
    """What a worker needs of a request; the model lies in shared memory."""

    round: int
    attempt: int
    row_weights: RowWeights | None


class LoopEngine:
    """Trains with the very functions that a deployed client runs.

    Results do not depend on the number of workers: every random stream is named by round and client, each
    worker computes with one thread, and updates are handed on in the cohort's order.

    Args:
        num_workers: Processes; with 1 the work is done in this one.
        device: Where the model lives; anything but the CPU takes one worker.
    """

    name = "loop"

    def __init__(
        self, task: Task, plan: RunPlan, clients: Sequence[Client], *, num_workers: int, device: torch.device
    ) -> None:
        self._task, self._plan, self._device = task, plan, device
        self._clients = clients
        self._index = {client.name: index for index, client in enumerate(clients)}
        self.num_workers = min(num_workers, len(self._clients)) if device.type == "cpu" else 1
        self._pool: WorkerPool | None = None
        self._local: LocalModel | None = None
        self._threads = torch.get_num_threads()

    def __enter__(self) -> Self:
        """Start the workers, or prepare this process."""
        torch.set_num_threads(1)
        dtype = getattr(torch, self._plan.training.precision)
        self._clients = _on(self._device, dtype, self._clients)
        if self.num_workers == 1:
            self._local = LocalModel(self._task, self._plan, self._device, load_transforms(self._plan))
            return self
        size = init_state(self._task, self._plan).parameters.layout.size
        make_job = partial(_make_job, self._task, self._plan, self._clients)
        self._pool = WorkerPool(num_workers=self.num_workers, make_job=make_job, size=size, dtype=dtype)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop the workers."""
        if self._pool is not None:
            self._pool.close()
        self._pool = self._local = None
        torch.set_num_threads(self._threads)

    def available(self) -> Sequence[str]:
        """All clients: simulated ones are always there."""
        return list(self._index)

    def train(self, request: TrainRequest) -> Iterator[ClientUpdate | Rejection]:
        """Train the cohort; updates in its order, each to be used before the next is taken."""
        if self._local is not None:
            for name in request.cohort:
                yield _for_client(train_locally, self._local, self._clients[self._index[name]], request)
            return
        for index, result, slot in self._run("train", request):
            examples, metrics, event = result
            yield ClientUpdate(
                client=self._clients[index].name,
                round=request.round,
                difference=Parameters(slot, request.parameters.layout),
                num_examples=examples,
                metrics=metrics,
                privacy_event=event,
            )

    def evaluate(self, request: EvaluateRequest) -> Iterator[ClientReport | Rejection]:
        """Evaluate the cohort; reports in its order."""
        if self._local is not None:
            for name in request.cohort:
                yield _for_client(evaluate_locally, self._local, self._clients[self._index[name]], request)
            return
        for _, report, _ in self._run("evaluate", request):
            yield report

    def _run(self, kind: str, request: TrainRequest | EvaluateRequest) -> Iterator[tuple[int, Any, Tensor]]:
        if self._pool is None:
            raise RuntimeError("an engine works inside its with statement only")
        self._pool.model.copy_(request.parameters.buffer)
        light = _Request(
            round=request.round,
            attempt=request.attempt,
            row_weights=getattr(request, "row_weights", None),
        )
        return self._pool.run(kind, light, [self._index[name] for name in request.cohort])


def _on(device: torch.device, dtype: torch.dtype, clients: Sequence[Client]) -> Sequence[Client]:
    """The clients with their data on a device."""
    if isinstance(clients, DealtClients):
        return clients.to(dtype=dtype, device=device)
    return [client.to(dtype=dtype, device=device) for client in clients]


def _for_client(
    work: Callable[[LocalModel, Client, _Asked], _Answer], local: LocalModel, client: Client, request: _Asked
) -> _Answer:
    """Train or evaluate; what fails names the client and the round, and a bug in the task where it is."""
    try:
        return work(local, client, request)
    except FedcoreError as refusal:
        rest: tuple[Any, ...] = refusal.args[1:]  # of the same kind, and whole on its way through a pipe
        refusal.args = (f"{client.name} failed in round {request.round}: {refusal}", *rest)
        raise
    except Exception as error:
        raise EngineError(
            f"{client.name} failed in round {request.round}:\n{traceback.format_exc(limit=-4)}"
        ) from error


def _make_job(task: Task, plan: RunPlan, clients: Sequence[Client], model: Tensor) -> Job:
    """What a worker does, with a warm model of its own."""
    local = LocalModel(task, plan, torch.device("cpu"), load_transforms(plan))
    return _Job(local, clients, Parameters(model, local.parameters.layout))


class _Job:
    """Trains or evaluates one client on the shared model."""

    def __init__(self, local: LocalModel, clients: Sequence[Client], model: Parameters) -> None:
        self._local, self._clients, self._model = local, clients, model

    def __call__(self, kind: str, request: _Request, client: int, slot: Tensor) -> Any:
        if kind == "evaluate":
            asked = EvaluateRequest(round=request.round, attempt=request.attempt, cohort=(), parameters=self._model)
            return _for_client(evaluate_locally, self._local, self._clients[client], asked)
        order = TrainRequest(
            round=request.round,
            attempt=request.attempt,
            cohort=(),
            parameters=self._model,
            row_weights=request.row_weights,
        )
        update = _for_client(train_locally, self._local, self._clients[client], order)
        slot.copy_(update.difference.buffer)
        return update.num_examples, update.metrics, update.privacy_event
