"""The ``ray`` engine: the clients of a cohort in the processes of a Ray cluster, on one machine or on many."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import TYPE_CHECKING, Self

import torch

from fedcore.errors import EngineError
from fedcore.messages import ClientReport, ClientUpdate, EvaluateRequest, TrainRequest
from fedcore.method.exchange import Exchange, vector_of
from fedcore.plan import RunPlan
from fedcore.storage.files import place_whole
from fedcore.task import Task
from fedcore_clients.training.local_model import Client
from fedcore_clients.training.memory import ClientMemory
from fedcore_server.rounds.rounds import init_state
from fedcore_server.rounds.state import Rejection
from fedcore_simulations.engines.failures import Failure, without_failures
from fedcore_simulations.engines.loop import on_device
from fedcore_simulations.engines.ray.cluster import (
    alive_machines,
    connected,
    fetched,
    quieten,
    read_address,
    share,
    why_not,
)

if TYPE_CHECKING:
    from flwr.app import RecordDict

    from fedcore_simulations.engines.ray.asking import Asker
    from fedcore_simulations.engines.ray.client_app import Shipment

_HELD_BYTES = 256 * 2**20
_MOST_NODES = 64
_LOOK_SECONDS = 2.0


class RayEngine:
    """Trains with the functions of a deployed client, in actors of Flower's simulation engine.

    Results do not depend on the number of actors or machines: every random stream is named by round and client, each
    process computes with one thread, and updates are handed on in the cohort's order. Ray restarts an actor that was
    killed, and its client is trained again, to the same update.

    Args:
        address: Of a running cluster, as ``host:port`` or ``auto``; an actor for each of its CPUs. Without one, Ray is
            started on this machine for this run alone.
        num_workers: Actors, where Ray is started for this run.
        memory: Directory of what clients keep between rounds, on this machine; a temporary one where it is not given.
    """

    name = "ray"

    def __init__(
        self,
        task: Task,
        plan: RunPlan,
        clients: Sequence[Client],
        address: str = "",
        *,
        num_workers: int,
        device: torch.device,
        memory: Path | None = None,
    ) -> None:
        self._task, self._plan, self._device, self._memory = task, plan, device, memory
        self._clients, self._address = clients, read_address(address)
        self._names = [client.name for client in clients]
        self.num_workers = min(num_workers, len(self._names))
        self._open = ExitStack()
        self._asker: Asker | None = None

    def refusal(self) -> str | None:
        if self._device.type != "cpu":
            return f"it trains on CPUs, and the device is {self._device}; set training.device to 'cpu'"
        if self._address and self._plan.engine.workers:
            return "a cluster has a worker for each of its CPUs; leave engine.workers out, or the address"
        return why_not(self._address)

    def __enter__(self) -> Self:
        """Connect to the cluster, and ship task, plan and rows to it.

        Raises:
            EngineError: The cluster cannot be reached.
        """
        with ExitStack() as stack:
            threads = torch.get_num_threads()
            stack.callback(torch.set_num_threads, threads)
            torch.set_num_threads(1)
            self._keep_memory(stack)
            self._asker = self._start(stack)
            self._open = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop the actors, and a cluster that was started for this run."""
        self._asker = None
        self._open.__exit__(kind, error, trace)

    def available(self) -> Sequence[str]:
        """All clients: simulated ones are always there."""
        return list(self._names)

    def train(self, request: TrainRequest) -> Iterator[ClientUpdate | Rejection]:
        """Train the cohort; updates in its order."""
        return without_failures(self._updates(request))

    def _updates(self, request: TrainRequest) -> Iterator[ClientUpdate | Failure]:
        from fedcore.wire.replies import unpack_update
        from fedcore_simulations.engines.ray.parcels import failure_in, opened

        for content in self._answers("train", request):
            parcel, rest = opened(content)
            if parcel.kept:
                place_whole(self._kept.file_of(parcel.client), partial(_write, parcel.kept))
            yield failure_in(rest) or unpack_update(rest, self._reply_form, client=parcel.client)

    def evaluate(self, request: EvaluateRequest) -> Iterator[ClientReport | Rejection]:
        """Evaluate the cohort; reports in its order."""
        return without_failures(self._reports(request))

    def _reports(self, request: EvaluateRequest) -> Iterator[ClientReport | Failure]:
        from fedcore.wire.replies import unpack_report
        from fedcore_simulations.engines.ray.parcels import failure_in, opened

        for content in self._answers("evaluate", request):
            parcel, rest = opened(content)
            yield failure_in(rest) or unpack_report(rest, client=parcel.client)

    def _answers(self, kind: str, request: TrainRequest | EvaluateRequest) -> Iterator[RecordDict]:
        if self._asker is None:
            raise EngineError("an engine works inside its with statement only")
        return self._asker.ask(kind, self._contents(request))

    def _contents(self, request: TrainRequest | EvaluateRequest) -> Iterator[RecordDict]:
        from fedcore.wire.requests import pack_request
        from fedcore_simulations.engines.ray.parcels import Parcel, bytes_of, with_own_bytes

        content = with_own_bytes(pack_request(request, self._plan))
        for name in request.cohort:
            kept = bytes_of(self._kept.file_of(name)) if isinstance(request, TrainRequest) else b""
            yield Parcel(client=name, kept=kept).around(content)

    def _keep_memory(self, stack: ExitStack) -> None:
        """Set the forms of a reply and of what clients keep, which stays on this machine."""
        exchange, vector = Exchange.of(self._plan), vector_of(init_state(self._task, self._plan).parameters.buffer)
        self._reply_form = exchange.codec(vector).form
        if self._memory is None:
            self._memory = Path(stack.enter_context(TemporaryDirectory(prefix="fedcore-memory-")))
        self._memory.mkdir(parents=True, exist_ok=True)
        self._kept = ClientMemory(self._memory, exchange.memory(vector), plan_sha256=self._plan.sha256)

    def _start(self, stack: ExitStack) -> Asker:
        """Start Ray and Flower's simulation; the stack ends them."""
        quieten(self._address)
        from fedcore_simulations.engines.ray.asking import Asker
        from fedcore_simulations.engines.ray.client_app import build_client_app
        from fedcore_simulations.engines.ray.simulation import FlowerSimulation

        self.num_workers = stack.enter_context(connected(self._address, workers=self.num_workers))
        app = build_client_app(uuid.uuid4().hex, partial(fetched, share(self._shipment())))
        simulation = stack.enter_context(FlowerSimulation(app, num_nodes=self._num_nodes()))
        return Asker(simulation.grid, simulation.nodes, _Watch(simulation.check))

    def _shipment(self) -> Shipment:
        from fedcore_simulations.engines.ray.client_app import Shipment, versions

        dtype = getattr(torch, self._plan.training.precision)
        clients = on_device(self._device, dtype, self._clients)
        return Shipment(task=self._task, plan=self._plan, clients=clients, versions=versions())

    def _num_nodes(self) -> int:
        """Enough to keep the actors busy, and so few that the replies they hold fit into memory."""
        fitting = min(_MOST_NODES, _HELD_BYTES // max(self._reply_form.num_bytes, 1))
        return min(max(2 * self.num_workers, fitting), len(self._names))


class _Watch:
    """Looks, now and then, whether the simulation is alive, and whether machines were lost.

    A client that waits for an actor on a lost machine waits until that machine is back. So all that is open is asked
    again when one is lost, and as long as it is missing after twice the time each.
    """

    def __init__(self, check: Callable[[], None]) -> None:
        self._check, self._most, self._looked = check, alive_machines(), time.monotonic()
        self._pause = _LOOK_SECONDS

    def __call__(self) -> bool:
        self._check()
        if time.monotonic() - self._looked < self._pause:
            return False
        alive, self._looked = alive_machines(), time.monotonic()
        self._most = max(self._most, alive)
        missing = alive < self._most
        self._pause = 2 * self._pause if missing else _LOOK_SECONDS
        return missing


def _write(content: bytes, path: Path) -> None:
    path.write_bytes(content)
