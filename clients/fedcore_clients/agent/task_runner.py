"""Runs a client's requests with the same functions as a simulation, from records to records."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from flwr.app import RecordDict
from torch import nn

from fedcore.errors import DataError, LayoutError, PrivacyError
from fedcore.method.exchange import vector_of
from fedcore.plan import RunPlan
from fedcore.privacy.isolation import Level
from fedcore.privacy.linter import Subject, lint, lint_rows, refuse
from fedcore.segments import MODEL, Form, Segment
from fedcore.task import Task
from fedcore.wire.records import check_declared_array
from fedcore.wire.replies import pack_report, pack_update
from fedcore.wire.requests import unpack_evaluate_request, unpack_train_request
from fedcore_clients.policy.request_gate import check_memory
from fedcore_clients.training.device_choice import choose_device
from fedcore_clients.training.dp.full_precision import probe_precision
from fedcore_clients.training.dp.made_up_rows import made_up_rows
from fedcore_clients.training.dp.probe import CannotProbeError, probe_isolation
from fedcore_clients.training.evaluation import evaluate_locally
from fedcore_clients.training.local_model import Client, LocalModel
from fedcore_clients.training.train import train_locally

_log = logging.getLogger("fedcore.client")

OF_THE_CODE = (ImportError, NameError, AttributeError, NotImplementedError)
"""Errors that no value of a row causes."""


class TaskRunner:
    """Keeps model and data in memory between the requests of one plan.

    Code is never sent, and nothing is imported because a message names it: the task is the one installed here, and the
    client's policy has allowed every other name in the plan.

    Args:
        load: Opens the client's data, split into training and held-out rows, for a plan.
        allow_test_noise: Whether a plan may draw noise from its seed, which the server knows; for tests only.
        device: Where to train, whatever the plan says; the plan's own choice when absent.
        memory: Directory of what the client keeps between rounds; ``None`` refuses plans that need it.
    """

    def __init__(
        self,
        task: Task,
        load: Callable[[RunPlan], Client],
        *,
        allow_test_noise: bool = False,
        device: str | None = None,
        memory: Path | None = None,
    ) -> None:
        self._allow_test_noise, self._device, self._memory = allow_test_noise, device, memory
        self._task, self._load = task, load
        self._local: LocalModel | None = None
        self._client: Client | None = None

    def check_layout(self, plan: RunPlan, content: RecordDict, *, kind: str) -> LocalModel:
        """The model for a plan, where the one in the request fits it; no data is opened.

        Raises:
            LayoutError: The request declares another model.
        """
        local = self._for_plan(plan)
        try:
            check_declared_array(content, _form(local, kind))
        except DataError as error:
            raise LayoutError(f"the model received is not the one of the task installed here: {error}") from error
        return local

    def train(self, plan: RunPlan, content: RecordDict) -> RecordDict:
        local = self.check_layout(plan, content, kind="train")
        request = unpack_train_request(content, local.parameters.layout, local.request_form)
        return pack_update(train_locally(local, self._opened(local), request), local.codec.form)

    def evaluate(self, plan: RunPlan, content: RecordDict) -> RecordDict:
        local = self.check_layout(plan, content, kind="evaluate")
        request = unpack_evaluate_request(content, local.parameters.layout, _form(local, "evaluate"))
        return pack_report(evaluate_locally(local, self._opened(local), request))

    def _opened(self, local: LocalModel) -> Client:
        if self._client is None:
            client = self._load(local.plan)
            if local.privacy is not None:
                self.check_rows(client, local)
            self._client = client.to(dtype=local.dtype, device=local.device)
        return self._client

    def check_rows(self, client: Client, local: LocalModel) -> None:
        """Refuse what the linter and the probes find, before any training.

        They use made-up rows, since a refusal that depends on the client's own would reveal them. Only a task that
        made-up rows cannot exercise, and whose records nothing but evidence isolates, is tried on the client's rows.
        """
        model, rows = self._task.build_model(), made_up_rows(client.training, len(self._task.labels))
        try:
            probe_isolation(self._task, model, rows, local.plan)
        except CannotProbeError as error:
            if isinstance(error.__cause__, OF_THE_CODE):
                raise
            self._probe_own(client, model, local)
        probe_precision(self._task, model, rows, dtype=local.dtype, device=local.device)
        refuse(lint_rows(Subject(plan=local.plan, task=self._task, model=model, training=rows)))

    def _probe_own(self, client: Client, model: nn.Module, local: LocalModel) -> None:
        """Refuse records that influence each other; rows that the task cannot take are no reason."""
        by_evidence = local.rowwise.isolation(
            client.training.to(dtype=local.dtype, device=local.device).batch(slice(0, 1))
        )
        if by_evidence.level is Level.PROBED and len(client.training):
            with suppress(CannotProbeError):
                probe_isolation(self._task, model, client.training, local.plan)

    def _for_plan(self, plan: RunPlan) -> LocalModel:
        if self._local is None or self._local.plan.sha256 != plan.sha256:
            self._local, self._client = self._made(plan), None
        return self._local

    def _made(self, plan: RunPlan) -> LocalModel:
        if plan.privacy.noise == "test" and not self._allow_test_noise:
            raise PrivacyError("the plan draws its noise from the seed, which protects nothing; refused here")
        choice = choose_device(self._device or plan.training.device, plan, self._task.build_model)
        if choice.note:
            _log.warning(choice.note)
        local = LocalModel(self._task, plan, choice.device, memory=self._memory)
        check_memory(local.exchange, allowed=self._memory is not None)
        if problems := list(local.exchange.refusals(plan)):
            raise PrivacyError("; ".join(problems))
        refuse(lint(Subject(plan=plan, task=self._task, model=local.model, exchange=local.exchange)))
        return local


def _form(local: LocalModel, kind: str) -> Form:
    """The segments of a request: the model, and to train what the algorithm shares."""
    if kind == "train":
        return local.request_form
    vector = vector_of(local.parameters.buffer)
    return Form.of([Segment(MODEL, vector.dtype, vector.size)])
