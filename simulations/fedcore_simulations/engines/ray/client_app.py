"""The ``ClientApp`` that trains any of the simulated clients, in the processes of a Ray cluster."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from flwr.app import Context, Message, RecordDict
from flwr.clientapp import ClientApp

import fedcore
from fedcore.errors import EngineError, FedcoreError
from fedcore.method.exchange import vector_of
from fedcore.plan import RunPlan
from fedcore.segments import MODEL, Form, Segment
from fedcore.task import Task
from fedcore.wire.replies import pack_report, pack_update
from fedcore.wire.requests import unpack_evaluate_request, unpack_train_request
from fedcore_clients.training.evaluation import evaluate_locally
from fedcore_clients.training.local_model import Client, LocalModel
from fedcore_clients.training.train import train_locally
from fedcore_simulations.engines.failures import Failure, for_client
from fedcore_simulations.engines.ray.parcels import Parcel, bytes_of, failure, opened, packed_failure, with_own_bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Shipment:
    """What every process needs of a run, once.

    Attributes:
        versions: Of the packages that decide a result, by name.
    """

    task: Task
    plan: RunPlan
    clients: Sequence[Client]
    versions: dict[str, str]


def versions() -> dict[str, str]:
    """The versions of the packages that decide a result."""
    return {"fedcore": fedcore.__version__, "torch": str(torch.__version__)}


class Trainer:
    """Trains and evaluates clients with one warm model, from records to records.

    Raises:
        EngineError: The shipment comes from other versions.
    """

    def __init__(self, shipment: Shipment) -> None:
        if shipment.versions != (found := versions()):
            raise EngineError(
                f"expected the same versions on every machine of the cluster, found {shipment.versions} where the run "
                f"was started and {found} on another"
            )
        torch.set_num_threads(1)  # with several, the order of a sum, and so its bits, would depend on the machine
        self._local = LocalModel(shipment.task, shipment.plan, torch.device("cpu"))
        self._clients = shipment.clients
        self._places = {client.name: place for place, client in enumerate(shipment.clients)}

    def train(self, content: RecordDict) -> RecordDict:
        parcel, content = opened(content)
        local, client = self._local, self._clients[self._places[parcel.client]]
        request = unpack_train_request(content, local.parameters.layout, local.request_form)
        with TemporaryDirectory(prefix="fedcore-memory-") as directory:
            local.memory = local.memory.at(Path(directory))
            file = local.memory.file_of(parcel.client)
            if parcel.kept:
                file.write_bytes(parcel.kept)
            update = for_client(train_locally, local, client, request)
            kept = bytes_of(file)
        if isinstance(update, Failure):
            return Parcel(client=parcel.client).around(packed_failure(update))
        return Parcel(client=parcel.client, kept=kept).around(with_own_bytes(pack_update(update, local.codec.form)))

    def evaluate(self, content: RecordDict) -> RecordDict:
        parcel, content = opened(content)
        local, client = self._local, self._clients[self._places[parcel.client]]
        vector = vector_of(local.parameters.buffer)
        form = Form.of([Segment(MODEL, vector.dtype, vector.size)])
        request = unpack_evaluate_request(content, local.parameters.layout, form)
        report = for_client(evaluate_locally, local, client, request)
        content = packed_failure(report) if isinstance(report, Failure) else pack_report(report)
        return Parcel(client=parcel.client).around(content)


_trainers: dict[str, Trainer] = {}


def build_client_app(run: str, fetch: Callable[[], Shipment]) -> ClientApp:
    """An app that is small, for it is sent with every message.

    Args:
        run: Names the run: a process keeps what it needs for the last one.
        fetch: Called once in each process.
    """
    app = ClientApp()
    app.train()(partial(_answer, run, fetch))
    app.evaluate()(partial(_answer, run, fetch))
    return app


def _answer(run: str, fetch: Callable[[], Shipment], message: Message, context: Context) -> Message:
    try:
        trainer = _trainer_of(run, fetch)
        work = trainer.train if message.metadata.message_type == "train" else trainer.evaluate
        return Message(work(message.content), reply_to=message)
    except FedcoreError as error:
        return Message(failure(error), reply_to=message)


def _trainer_of(run: str, fetch: Callable[[], Shipment]) -> Trainer:
    if run not in _trainers:
        _trainers.clear()
        _trainers[run] = Trainer(_unpacked(fetch))
    return _trainers[run]


def _unpacked(fetch: Callable[[], Shipment]) -> Shipment:
    try:
        return fetch()
    except Exception as error:
        raise EngineError(
            f"a machine of the cluster cannot read task, plan and rows: {error}; install the task's module, and the "
            "same versions of fedcore and torch, on each"
        ) from error
