"""The ``loop`` engine: any model, any task, one client after the other in each worker. The reference."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Any, Self

import torch
from torch import Tensor

from fedcore.messages import ClientReport, ClientUpdate, EvaluateRequest, TrainRequest, UpdateBlock
from fedcore.method.exchange import Exchange, vector_of
from fedcore.parameters import Layout, Parameters
from fedcore.plan import RunPlan
from fedcore.segments import MODEL, Form
from fedcore.task import Task
from fedcore_clients.training.device import device_errors
from fedcore_clients.training.evaluation import evaluate_locally
from fedcore_clients.training.local_model import Client, LocalModel
from fedcore_clients.training.train import train_locally
from fedcore_server.rounds.rounds import init_state
from fedcore_server.rounds.state import Rejection
from fedcore_simulations.dealt_clients import DealtClients, names_of
from fedcore_simulations.engines.failures import Failure, for_client, without_failures
from fedcore_simulations.engines.memory import MemoryPlan, Needs, needs_of
from fedcore_simulations.engines.workers import Job, WorkerPool, viewed


class LoopEngine:
    """Trains with the very functions that a deployed client runs.

    Results do not depend on the number of workers: every random stream is named by round and client, each
    worker computes with one thread, and updates are handed on in the cohort's order.

    Args:
        num_workers: Processes; with 1 the work is done in this one.
        device: Where the model lives; anything but the CPU takes one worker.
        memory: Directory of what clients keep between rounds; a temporary one where it is not given.
    """

    name = "loop"

    def __init__(
        self,
        task: Task,
        plan: RunPlan,
        clients: Sequence[Client],
        *,
        num_workers: int,
        device: torch.device,
        memory: Path | None = None,
    ) -> None:
        self._task, self._plan, self._device, self._memory = task, plan, device, memory
        self._clients = clients
        self._index = {name: index for index, name in enumerate(names_of(clients))}
        self.num_workers = min(num_workers, len(self._clients)) if device.type == "cpu" else 1
        self._pool: WorkerPool | None = None
        self._local: LocalModel | None = None
        self._threads = torch.get_num_threads()
        self._temporary: TemporaryDirectory[str] | None = None
        self._at_once = 1

    def __enter__(self) -> Self:
        """Start the workers, or prepare this process."""
        memory = self.memory_plan()
        self._at_once, self.num_workers = memory.at_once, memory.workers
        torch.set_num_threads(1)
        dtype = getattr(torch, self._plan.training.precision)
        with device_errors(self._device, advice="take fewer rows, or use another device"):
            self._clients = on_device(self._device, dtype, self._clients)
        if self._memory is None:
            self._temporary = TemporaryDirectory(prefix="fedcore-memory-")
            self._memory = Path(self._temporary.name)
        if self.num_workers == 1:
            self._local = LocalModel(self._task, self._plan, self._device, memory=self._memory)
            return self
        exchange, vector = Exchange.of(self._plan), vector_of(init_state(self._task, self._plan).parameters.buffer)
        self._request_form, self._reply_form = exchange.request_form(vector), exchange.codec(vector).form
        self._pool = WorkerPool(
            num_workers=self.num_workers,
            make_job=partial(self._job(), self._task, self._plan, self._clients, self._memory),
            request_bytes=self._request_form.num_bytes,
            reply_bytes=self._at_once * self._reply_form.num_bytes,
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop the workers."""
        if self._pool is not None:
            self._pool.close()
        self._pool = self._local = None
        if self._temporary is not None:
            self._temporary.cleanup()
        torch.set_num_threads(self._threads)

    def refusal(self) -> str | None:
        """It takes every run that fits in memory: the others are compared with it."""
        return self.memory_plan().refusal

    def memory_plan(self) -> MemoryPlan:
        """What the run will take; before it is started."""
        needs = needs_of(self._task, self._plan, self._clients, self._device)
        federation, most = self._plan.federation, len(self._clients)
        if federation.cohort_size is not None and federation.cohort_sampling == "fixed":
            most = min(most, federation.cohort_size)
        wanted = min(most, self._wanted_at_once(needs))
        return MemoryPlan.of(needs, self._device, at_once=wanted, workers=self.num_workers)

    def _wanted_at_once(self, needs: Needs) -> int:
        """Clients that a worker should train at once, whatever the machine: it decides the bits of sums."""
        return 1

    def available(self) -> Sequence[str]:
        """All clients: simulated ones are always there."""
        return list(self._index)

    def train(self, request: TrainRequest) -> Iterator[ClientUpdate | UpdateBlock | Rejection]:
        """Train the cohort; updates in its order, each to be used before the next is taken."""
        return without_failures(self._updates(request))

    def _updates(self, request: TrainRequest) -> Iterator[ClientUpdate | Failure]:
        if self._local is not None:
            for name in request.cohort:
                yield for_client(train_locally, self._local, self._clients[self._index[name]], request)
            return
        for reply, slot in self._run("train", request, self._places(request)):
            values = self._reply_form.unpacked(viewed(slot, self._reply_form.dtype))
            yield reply if isinstance(reply, Failure) else replace(reply, values=values)

    def evaluate(self, request: EvaluateRequest) -> Iterator[ClientReport | Rejection]:
        """Evaluate the cohort; reports in its order."""
        return without_failures(self._reports(request))

    def _reports(self, request: EvaluateRequest) -> Iterator[ClientReport | Failure]:
        if self._local is not None:
            for name in request.cohort:
                yield for_client(evaluate_locally, self._local, self._clients[self._index[name]], request)
            return
        for report, _ in self._run("evaluate", request, self._places(request)):
            yield report

    def _places(self, request: TrainRequest | EvaluateRequest) -> list[int]:
        return [self._index[name] for name in request.cohort]

    def _job(self) -> Callable[..., Job]:
        """Called once in each worker."""
        return LoopJob

    def _run(
        self, kind: str, request: TrainRequest | EvaluateRequest, asked: Sequence[Any]
    ) -> Iterator[tuple[Any, Tensor]]:
        """What the job makes of each thing asked, and the slot that it has written."""
        if self._pool is None:
            raise RuntimeError("an engine works inside its with statement only")
        shared = request.shared if isinstance(request, TrainRequest) else {}
        vectors = {MODEL: request.parameters.buffer, **shared}
        views = self._request_form.unpacked(viewed(self._pool.request, self._request_form.dtype))
        for name, vector in vectors.items():
            views[name].copy_(vector)
        return self._pool.run(kind, _light(request), asked)


def _light(request: TrainRequest | EvaluateRequest) -> TrainRequest | EvaluateRequest:
    """The request without its vectors, which are in shared memory, and without its cohort."""
    nothing = Parameters(torch.empty(0), Layout((), (), 0))
    if isinstance(request, TrainRequest):
        return replace(request, parameters=nothing, shared={}, cohort=())
    return replace(request, parameters=nothing, cohort=())


def on_device(device: torch.device, dtype: torch.dtype, clients: Sequence[Client]) -> Sequence[Client]:
    """The clients with their data on a device."""
    if isinstance(clients, DealtClients):
        return clients.to(dtype=dtype, device=device)
    return [client.to(dtype=dtype, device=device) for client in clients]


class LoopJob:
    """Trains or evaluates one client on the shared request, with a warm model of its worker's own."""

    def __init__(self, task: Task, plan: RunPlan, clients: Sequence[Client], memory: Path, request: Tensor) -> None:
        local = LocalModel(task, plan, torch.device("cpu"), memory=memory)
        self._local, self._clients = local, clients
        vectors = local.request_form.unpacked(viewed(request, local.request_form.dtype))
        self._model = Parameters(vectors.pop(MODEL), local.parameters.layout)
        self._shared = vectors

    def __call__(self, kind: str, request: TrainRequest | EvaluateRequest, asked: Any, slot: Tensor) -> Any:
        if isinstance(request, EvaluateRequest):
            order = replace(request, parameters=self._model)
            return for_client(evaluate_locally, self._local, self._clients[asked], order)
        return self._train(replace(request, parameters=self._model, shared=self._shared), asked, slot)

    def _train(self, request: TrainRequest, asked: Any, slot: Tensor) -> Any:
        update = for_client(train_locally, self._local, self._clients[asked], request)
        if isinstance(update, Failure):
            return update
        written(slot, self._local.codec.form, update.values)
        return replace(update, values={})


def written(slot: Tensor, form: Form, values: Mapping[str, Tensor]) -> None:
    """Copy the segments of a reply into shared memory."""
    views = form.unpacked(viewed(slot[: form.num_bytes], form.dtype))
    for name, vector in values.items():
        views[name].copy_(vector.flatten())
