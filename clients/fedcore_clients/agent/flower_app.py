"""A client as a Flower ``ClientApp``: messages in, the same functions as in a simulation, messages out."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from contextlib import suppress

from flwr.app import Context, Message, RecordDict
from flwr.clientapp import ClientApp
from torch import nn

from fedcore.errors import DataError, LayoutError, PrivacyError, TaskError
from fedcore.plan import RunPlan
from fedcore.privacy.isolation import Level
from fedcore.privacy.linter import Subject, lint, lint_rows, refuse
from fedcore.task import Task
from fedcore.transforms import UpdateTransform
from fedcore.wire.records import check_declared_array
from fedcore.wire.replies import pack_report, pack_update
from fedcore.wire.requests import unpack_evaluate_request, unpack_plan, unpack_train_request
from fedcore_clients.training.device_choice import choose_device
from fedcore_clients.training.dp.full_precision import probe_precision
from fedcore_clients.training.dp.made_up_rows import made_up_rows
from fedcore_clients.training.dp.probe import CannotProbeError, probe_isolation
from fedcore_clients.training.evaluation import evaluate_locally
from fedcore_clients.training.local_model import Client, LocalModel
from fedcore_clients.training.train import train_locally

_log = logging.getLogger("fedcore.client")

_OF_THE_CODE = (ImportError, NameError, AttributeError, NotImplementedError)
"""Errors that no value of a row causes."""

LoadClient = Callable[[Context, RunPlan], Client]


def build_client_app(
    task: Task,
    *,
    load: LoadClient,
    transforms: Mapping[str, UpdateTransform] | None = None,
    allow_test_noise: bool = False,
    device: str | None = None,
) -> ClientApp:
    """A ClientApp that trains and evaluates `task` on one client's data.

    Code never travels, and nothing is imported because a message names it: the task is the one that is
    installed here, and so are the transforms.

    Args:
        load: Opens the client's data, split into training and held-out rows, for a plan.
        transforms: The update transforms that a plan may name here; a plan that names another is refused.
        allow_test_noise: Whether a plan may draw noise from its seed, which the server knows; for tests only.
        device: Where to train, whatever the plan says; the plan's own choice when absent.
    """
    app = ClientApp()
    desk = _Desk(task, load, transforms or {}, allow_test_noise=allow_test_noise, device=device)

    @app.query("layout")
    def layout(message: Message, context: Context) -> Message:
        desk.check_layout(message)
        return Message(RecordDict(), reply_to=message)

    @app.train()
    def train(message: Message, context: Context) -> Message:
        local = desk.check_layout(message)
        request = unpack_train_request(message.content, local.parameters.layout)
        return Message(pack_update(train_locally(local, desk.client(local, context), request)), reply_to=message)

    @app.evaluate()
    def evaluate(message: Message, context: Context) -> Message:
        local = desk.check_layout(message)
        request = unpack_evaluate_request(message.content, local.parameters.layout)
        return Message(pack_report(evaluate_locally(local, desk.client(local, context), request)), reply_to=message)

    return app


class _Desk:
    """Keeps model and data warm between messages of one plan."""

    def __init__(
        self,
        task: Task,
        load: LoadClient,
        transforms: Mapping[str, UpdateTransform],
        *,
        allow_test_noise: bool,
        device: str | None,
    ) -> None:
        self._allow_test_noise, self._device = allow_test_noise, device
        self._task = task
        self._load = load
        self._transforms = transforms
        self._local: LocalModel | None = None
        self._clients: dict[int, Client] = {}

    def check_layout(self, message: Message) -> LocalModel:
        """The model for the plan of `message`, where the one in the message fits it; no data is opened.

        Raises:
            LayoutError: The message declares another model.
        """
        plan = unpack_plan(message.content)
        if self._local is None or self._local.plan.sha256 != plan.sha256:
            self._local, self._clients = self._model(plan), {}
        try:
            check_declared_array(message.content, self._local.parameters.layout)
        except DataError as error:
            raise LayoutError(f"the model received is not the one of the task installed here: {error}") from error
        return self._local

    def client(self, local: LocalModel, context: Context) -> Client:
        """The client's data for the plan of `local`."""
        if context.node_id not in self._clients:
            client = self._load(context, local.plan)
            if local.privacy is not None:
                self._check_rows(client, local)
            self._clients[context.node_id] = client.to(dtype=local.dtype, device=local.device)
        return self._clients[context.node_id]

    def _check_rows(self, client: Client, local: LocalModel) -> None:
        """Refuse what the linter and the probes find, before any training.

        They are given made-up rows, since a refusal that depends on the client's own would tell of them. Only a task
        that cannot be tried so, and whose records nothing but evidence keeps apart, is tried on the client's rows.
        """
        model, rows = self._task.build_model(), made_up_rows(client.training, len(self._task.labels))
        try:
            probe_isolation(self._task, model, rows, local.plan)
        except CannotProbeError as error:
            if isinstance(error.__cause__, _OF_THE_CODE):
                raise
            self._probe_own(client, model, local)
        probe_precision(self._task, model, rows, dtype=local.dtype, device=local.device)
        refuse(lint_rows(Subject(plan=local.plan, task=self._task, model=model, training=rows)))

    def _probe_own(self, client: Client, model: nn.Module, local: LocalModel) -> None:
        """Refuse records that bear on each other; rows that the task cannot take are no reason."""
        by_evidence = local.rowwise.isolation(
            client.training.to(dtype=local.dtype, device=local.device).batch(slice(0, 1))
        )
        if by_evidence.level is Level.PROBED and len(client.training):
            with suppress(CannotProbeError):
                probe_isolation(self._task, model, client.training, local.plan)

    def _model(self, plan: RunPlan) -> LocalModel:
        if plan.privacy.noise == "test" and not self._allow_test_noise:
            raise PrivacyError("the plan draws its noise from the seed, which protects nothing; refused here")
        unknown = [name for name in plan.federation.transforms if name not in self._transforms]
        if unknown:
            raise TaskError(f"the plan names transforms that are not installed for use here: {', '.join(unknown)}")
        chosen = [self._transforms[name] for name in plan.federation.transforms]
        choice = choose_device(self._device or plan.training.device, plan, self._task.build_model)
        if choice.note:
            _log.warning(choice.note)
        local = LocalModel(self._task, plan, choice.device, chosen)
        refuse(lint(Subject(plan=plan, task=self._task, model=local.model, transforms=tuple(chosen))))
        return local
