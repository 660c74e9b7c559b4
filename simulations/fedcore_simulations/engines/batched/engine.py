"""The ``batched`` engine: the cohort in chunks, and each layer of a chunk one tensor operation."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor

from fedcore.data.examples import Examples
from fedcore.messages import ClientUpdate, TrainRequest, UpdateBlock
from fedcore.plan import RunPlan
from fedcore.seeding import global_streams_kept
from fedcore.task import Task
from fedcore_clients.training.device import has_float64
from fedcore_clients.training.dp.made_up_rows import made_up_rows
from fedcore_clients.training.dp.rowwise import RowwiseTask
from fedcore_clients.training.local_model import Client
from fedcore_server.rounds.rounds import init_state, plan_round
from fedcore_server.rounds.state import Rejection
from fedcore_simulations.engines.batched.chunks import ChunkTraining, joined
from fedcore_simulations.engines.batched.cohort_model import CohortModel
from fedcore_simulations.engines.batched.private import why_not_private
from fedcore_simulations.engines.batched.training import ELEMENTWISE
from fedcore_simulations.engines.failures import Failure, without_failures
from fedcore_simulations.engines.loop import LoopEngine, LoopJob, written
from fedcore_simulations.engines.memory import Needs
from fedcore_simulations.engines.workers import Job, viewed

_CHUNK_BYTES, _FEWEST_CLIENTS, _MOST_CLIENTS = 8 * 2**20, 4, 64
_DEVICE_CHUNK_BYTES, _MOST_DEVICE_CLIENTS = 4 * 2**30, 1024
_PROBE_CLIENTS, _PROBE_ROUNDS = 3, 2


class BatchedEngine(LoopEngine):
    """Trains many clients at once, and evaluates as ``loop`` does.

    Each layer with parameters has the weights of a chunk of clients; all else runs on the rows of them all. Results
    equal those of ``loop`` up to rounding, and do not depend on the workers: where memory suffices, chunks depend on
    the sizes of the model and of the cohort alone.
    """

    name = "batched"

    def __init__(self, task: Task, plan: RunPlan, clients: Sequence[Client], **settings: Any) -> None:
        super().__init__(task, plan, clients, **settings)
        self._training: ChunkTraining | None = None

    def __enter__(self) -> Self:
        super().__enter__()
        if self._local is not None:
            self._training = ChunkTraining(self._local, self._clients, self._at_once)
        return self

    def refusal(self) -> str | None:
        """Why it cannot train this run exactly as ``loop`` does; the last reason is found by trying both."""
        plan = self._plan
        if not has_float64(self._device):
            return f"it is compared with loop in float64, which {self._device} does not have"
        if plan.training.optimizer not in ELEMENTWISE:
            return f"optimizer {plan.training.optimizer} does not treat each number by itself"
        with torch.random.fork_rng(devices=[]):
            model = self._task.build_model()
        if refusal := CohortModel.refusal(model) or super().refusal():
            return refusal
        if plan.privacy.unit == "record":
            rowwise = RowwiseTask.from_plan(self._task, model, plan)
            if refusal := why_not_private(model, rowwise, self._clients[0]):
                return refusal
        return _difference(self._task, plan, self._clients, self._device)

    def train(self, request: TrainRequest) -> Iterator[ClientUpdate | UpdateBlock | Rejection]:
        """Train the cohort; a block for each chunk, in its order, each to be used before the next is taken."""
        return without_failures(self._blocks(request))

    def _blocks(self, request: TrainRequest) -> Iterator[UpdateBlock | Failure]:
        chunks = chunks_of(self._places(request), self._at_once)
        if self._training is not None:
            for chunk in chunks:
                yield from self._training.train(request, chunk)
            return
        for replies, slot in self._run("train", request, chunks):
            for reply in replies:
                yield reply if isinstance(reply, Failure) else self._with_values(reply, slot)

    def _with_values(self, block: UpdateBlock, slot: Tensor) -> UpdateBlock:
        rows = len(block.clients)
        form = self._reply_form.times(rows)
        values = form.unpacked(viewed(slot[: form.num_bytes], form.dtype))
        return replace(block, values={name: vector.view(rows, -1) for name, vector in values.items()})

    def _job(self) -> Callable[..., Job]:
        return partial(_BatchedJob, at_once=self._at_once)

    def _wanted_at_once(self, needs: Needs) -> int:
        """So many that their weights stay near the processor; on a device, that it is busy."""
        if self._device.type == "cpu":
            return max(_FEWEST_CLIENTS, min(_MOST_CLIENTS, _CHUNK_BYTES // needs.vector))
        return max(1, min(_MOST_DEVICE_CLIENTS, _DEVICE_CHUNK_BYTES // needs.client))


class _BatchedJob(LoopJob):
    """Trains a chunk of clients, or evaluates one, on the shared request."""

    def __init__(
        self, task: Task, plan: RunPlan, clients: Sequence[Client], memory: Path, request: Tensor, *, at_once: int
    ) -> None:
        super().__init__(task, plan, clients, memory, request)
        self._training = ChunkTraining(self._local, clients, at_once)

    def _train(self, request: TrainRequest, asked: Any, slot: Tensor) -> Any:
        replies = joined(self._training.train(request, asked), len(asked))
        return [reply if isinstance(reply, Failure) else self._written(reply, slot) for reply in replies]

    def _written(self, block: UpdateBlock, slot: Tensor) -> UpdateBlock:
        written(slot, self._local.codec.form.times(len(block.clients)), block.values)
        return replace(block, values={})


def chunks_of(places: list[int], most: int) -> list[list[int]]:
    """Chunks of about equal size; more than two are a multiple of four, so that two or four workers end together."""
    number = max(1, -(-len(places) // most))
    size = max(1, -(-len(places) // (number if number <= 2 else -(-number // 4) * 4)))
    return [places[start : start + size] for start in range(0, len(places), size)]


def _difference(task: Task, plan: RunPlan, clients: Sequence[Client], device: torch.device) -> str | None:
    """How a few clients with few rows differ when they are trained at once, in float64; ``None`` where they do not."""
    plan = plan.updated(training={"precision": "float64"}, engine={"workers": 1}, privacy=_tried(plan))
    batch = plan.training.batch_size

    def few(client: Client, most: int) -> Examples:
        if plan.privacy.unit == "none":
            return client.training.select(slice(0, most))
        return made_up_rows(client.training, len(task.labels)).select(slice(0, most))  # so that no row decides

    some = [
        Client(name=client.name, training=few(client, most), held_out=None)
        for client, most in zip(clients[:_PROBE_CLIENTS], (2 * batch + 1, batch, batch + 1), strict=False)
    ]
    try:
        at_once, alone = (_trained(engine, task, plan, some, device) for engine in (BatchedEngine, LoopEngine))
    except Exception as error:
        text, last = str(error).strip().splitlines()[-1:] or [""], traceback.extract_tb(error.__traceback__)[-1]
        where = f"{Path(last.filename).name}, line {last.lineno}"
        return (
            f"the task cannot be run on the rows of several clients at once ({type(error).__name__} in {where}: "
            f"{text[0]})"
        )
    if any(
        not torch.allclose(one, other, rtol=1e-7, atol=1e-10, equal_nan=True)
        for one, other in zip(at_once, alone, strict=True)
    ):
        return "a client's update depends on the rows that it is trained beside"
    return None


def _tried(plan: RunPlan) -> dict[str, Any]:
    """Of the plan's privacy, batches and noise that both ways can draw alike, and that are not empty of few rows."""
    return {"noise": "test", "sampling-rate": 0.5} if plan.privacy.unit == "record" else {}


def _trained(
    engine: type[LoopEngine], task: Task, plan: RunPlan, clients: list[Client], device: torch.device
) -> list[Tensor]:
    """The replies of some rounds, which share made-up vectors where the algorithm shares any."""
    names, generator = [client.name for client in clients], torch.Generator().manual_seed(0)
    state, found = init_state(task, plan), []
    with (
        global_streams_kept(device),
        engine(task, plan, clients, num_workers=1, device=device) as trying,
    ):
        if isinstance(trying, BatchedEngine) and trying._training is not None:
            trying._training.on_trial = True
        for number in range(1, _PROBE_ROUNDS + 1):
            request = plan_round(state, plan, [client.name for client in clients])
            shared = {
                name: torch.randn(vector.shape, generator=generator, dtype=vector.dtype) / 100
                for name, vector in request.shared.items()
            }
            asked = replace(request, round=number, cohort=tuple(names), shared=shared)
            for reply in trying.train(asked):
                block = UpdateBlock.of(reply) if isinstance(reply, ClientUpdate) else reply
                if isinstance(block, UpdateBlock):
                    rows, values = range(len(block.clients)), [block.values[name] for name in sorted(block.values)]
                    found += [vectors[row].double().cpu().clone() for row in rows for vectors in values]
    return found
