"""What training takes of memory, planned before it starts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor

from fedcore.method.exchange import Exchange, vector_of
from fedcore.plan import RunPlan
from fedcore.storage.free_memory import SHARE, free_memory
from fedcore.task import Task
from fedcore.text.wording import bytes_text
from fedcore_clients.training.device import free_device_memory
from fedcore_clients.training.local_model import Client
from fedcore_server.rounds.rounds import init_state
from fedcore_simulations.dealt_clients import DealtClients, training_sizes_of
from fedcore_simulations.engines.workers import slots_of

_WORKER_BYTES = 64 * 2**20
_TRIED_ROWS = 2
_CLIENT_VECTORS, _OPTIMIZER_VECTORS, _PRIVATE_VECTORS = 8, 2, 3
"""Of a client in training: weights, also in the layers; gradients, also those of a step; the update; temporaries.

On the CPU, for the benchmarks' W1 and W4, 386 and 455 MB were planned so, and 400 and 336 MB were taken.
"""
_MODEL_VECTORS, _SERVER_VECTORS, _BOTH_PASSES = 4, 4, 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """Bytes by what they are for.

    Attributes:
        client: A client in training: its vectors, and what its batch leaves for the backward pass.
        vector: The model's vector.
        rows: Rows that are copied to the device, or to the plan's precision.
        server: The model, and the sum.
        reply: A client's reply, which workers leave in shared memory.
    """

    client: int
    vector: int
    rows: int
    server: int
    reply: int

    @property
    def model(self) -> int:
        """The model of a process that trains, without clients."""
        return _MODEL_VECTORS * self.vector

    def total(self, at_once: int, workers: int) -> int:
        training = self.rows + self.server + workers * (self.model + at_once * self.client)
        block = at_once * self.reply
        return training + (workers * _WORKER_BYTES + slots_of(block, workers) * block if workers > 1 else 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryPlan:
    """How many clients are trained at once, and what that takes.

    Attributes:
        at_once: Clients in each worker.
        free: Bytes free before the start; ``None`` if unknown.
        device: Whose memory it is.
    """

    needs: Needs
    at_once: int
    workers: int
    free: int | None
    device: str

    @classmethod
    def of(cls, needs: Needs, device: torch.device, *, at_once: int, workers: int) -> MemoryPlan:
        """The plan nearest to what is wanted: first fewer workers, which changes no bit, then fewer clients at once."""
        free = free_memory() if device.type == "cpu" else free_device_memory(device)
        most = None if free is None else int(SHARE * free)
        while most is not None and needs.total(at_once, workers) > most and at_once * workers > 1:
            at_once, workers = (at_once, workers - 1) if workers > 1 else (at_once // 2, workers)
        return cls(needs=needs, at_once=at_once, workers=workers, free=free, device=str(device))

    @property
    def num_bytes(self) -> int:
        return self.needs.total(self.at_once, self.workers)

    @property
    def refusal(self) -> str | None:
        """Why not even one client fits, with figures and what to change; ``None`` where one does."""
        if self.free is None or self.num_bytes <= SHARE * self.free:
            return None
        needs = self.needs
        return (
            f"training one client needs about {bytes_text(self.num_bytes)} of memory (client "
            f"{bytes_text(needs.client)}, model {bytes_text(needs.model)}, rows {bytes_text(needs.rows)}, server "
            f"{bytes_text(needs.server)}), and {bytes_text(self.free)} of {self.device} is free; lower "
            "training.batch-size, take a smaller model or fewer rows, or a machine with more memory"
        )

    def text(self) -> str:
        """As ``--estimate`` shows it."""
        free = "an unknown amount" if self.free is None else bytes_text(self.free)
        clients = f"{self.at_once} client{'s' if self.at_once > 1 else ''} at once"
        where = f" in each of {self.workers} workers" if self.workers > 1 else ""
        return f"{bytes_text(self.num_bytes)} planned of {free} free on {self.device}, with {clients}{where}"


def needs_of(task: Task, plan: RunPlan, clients: Sequence[Client], device: torch.device) -> Needs:
    """What a run takes, by the sizes of its model, batches and rows.

    What the backward pass needs is measured: by a forward pass over two rows.
    """
    buffer = init_state(task, plan).parameters.buffer
    exchange, vector, size = Exchange.of(plan), vector_of(buffer), buffer.numel()
    algorithm, private = exchange.algorithm, plan.privacy.unit == "record"
    plain = plan.training.optimizer == "SGD" and not plan.training.optimizer_options
    vectors = _CLIENT_VECTORS + len(algorithm.shares) + len(algorithm.keeps) + len(algorithm.sends) - 1
    vectors += 0 if plain else _OPTIMIZER_VECTORS
    batch = _BOTH_PASSES * _rows_of_a_pass(plan, clients) * bytes_of_a_row(task, plan, clients)
    return Needs(
        client=vectors * buffer.nbytes + (_PRIVATE_VECTORS * size * 8 if private else 0) + batch,
        vector=buffer.nbytes,
        rows=_copied(clients, plan, device),
        server=_SERVER_VECTORS * size * 8,
        reply=exchange.codec(vector).form.num_bytes,
    )


def _rows_of_a_pass(plan: RunPlan, clients: Sequence[Client]) -> int:
    if plan.privacy.unit != "record":
        return min(plan.training.batch_size, max(training_sizes_of(clients), default=0))
    return min(round(plan.privacy.nominal_batch or 1), plan.training.max_physical_batch)


def bytes_of_a_row(task: Task, plan: RunPlan, clients: Sequence[Client]) -> int:
    """What autograd keeps of a row between a forward and a backward pass, without the parameters.

    Of rows of zeros: no client's rows decide whether a plan is refused.
    """
    dtype: torch.dtype = getattr(torch, plan.training.precision)
    rows = clients[0].training.select(slice(0, _TRIED_ROWS)).to(dtype=dtype, device=torch.device("cpu"))
    batch = {name: torch.zeros_like(column) for name, column in rows.columns.items()}
    with torch.random.fork_rng(devices=[]):
        model = task.build_model().to(dtype).eval()
    own = {each.untyped_storage().data_ptr() for each in (*model.parameters(), *model.buffers())}
    kept: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.random.fork_rng(devices=[]), torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        try:
            losses = task.loss(model, batch)
        except Exception:
            return 0  # rows of zeros cannot be computed; then vectors and rows alone are planned
        del losses
    return sum(kept.values()) // max(1, len(rows))


def _copied(clients: Sequence[Client], plan: RunPlan, device: torch.device) -> int:
    """Bytes of the rows' columns that the run makes a copy of."""
    dtype = getattr(torch, plan.training.precision)
    parts = [clients.rows] if isinstance(clients, DealtClients) else [client.training for client in clients]
    columns = [column for part in parts for column in part.columns.values()]
    return sum(
        prod(column.shape) * (dtype.itemsize if column.is_floating_point() else column.element_size())
        for column in columns
        if device.type != "cpu" or (column.is_floating_point() and column.dtype != dtype)
    )
