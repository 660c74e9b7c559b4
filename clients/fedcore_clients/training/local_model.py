"""The one model of a process, which every client that the process trains uses in turn."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from fedcore.data.examples import Examples
from fedcore.errors import DeviceError
from fedcore.method.exchange import Exchange, vector_of
from fedcore.parameters import Parameters
from fedcore.plan import RunPlan
from fedcore.privacy.plan import PrivacyPlan
from fedcore.seeding import derive_seed
from fedcore.storage.large_vectors import slices
from fedcore.task import Task
from fedcore_clients.training.binding import Binding
from fedcore_clients.training.device import has_float64
from fedcore_clients.training.dp.per_example import PerExampleGradients
from fedcore_clients.training.dp.rows_at_once import RowsAtOnce
from fedcore_clients.training.dp.rowwise import RowwiseTask
from fedcore_clients.training.memory import ClientMemory

_ROWS_EVALUATED_AT_ONCE = 2048


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """A data owner: its name and its rows.

    Attributes:
        training: Rows to learn from.
        held_out: Rows to evaluate on, never trained on; may be none.
    """

    name: str
    training: Examples
    held_out: Examples | None

    def to(self, *, dtype: torch.dtype, device: torch.device) -> Client:
        held_out = None if self.held_out is None else self.held_out.to(dtype=dtype, device=device)
        return Client(name=self.name, training=self.training.to(dtype=dtype, device=device), held_out=held_out)


class LocalModel:
    """A model whose tensors are views of one buffer, and what is needed to train it again and again.

    Attributes:
        gradient: The buffer that the trainable parameters' gradients are views of.
        binding: Checks that they all still are views.
        evaluated_at_once: Rows that are evaluated at once.
        rowwise: How losses and predictions of records are isolated.
        per_example: Per-record gradients, where the plan promises record-level privacy.
        exchange: The algorithm and the encodings.
        request_form: Segments of a request to train.
        codec: Makes replies.
        memory: What clients keep between rounds.

    Args:
        memory: Directory of what clients keep between rounds; ``None`` where nothing is kept.

    Raises:
        DeviceError: The plan trains in float64, which the device does not have.
    """

    def __init__(self, task: Task, plan: RunPlan, device: torch.device, *, memory: Path | None = None) -> None:
        self.task = task
        self.plan = plan
        self.device = device
        self.evaluated_at_once = RowsAtOnce(_ROWS_EVALUATED_AT_ONCE, device)
        self.dtype: torch.dtype = getattr(torch, plan.training.precision)
        if self.dtype == torch.float64 and not has_float64(device):
            raise DeviceError(
                f"device {str(device)!r} has no float64; set training.precision to 'float32', or use 'cpu'"
            )
        with torch.random.fork_rng(devices=[]):
            # Frozen parameters are not sent: every process must build the same ones.
            torch.default_generator.manual_seed(derive_seed(plan.federation.seed, "model"))
            self.model = task.build_model()
        self.binding = Binding(self.model, self.dtype, device)
        self.parameters, self.gradient = self.binding.parameters, self.binding.gradient
        self.trained = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        self._own_buffers = self._other_buffers()
        self._fresh_buffers = [buffer.clone() for buffer in self._own_buffers]
        self.exchange = Exchange.of(plan)
        vector = vector_of(self.parameters.buffer)
        self.request_form, self.codec = self.exchange.request_form(vector), self.exchange.codec(vector)
        self.memory = ClientMemory(memory, self.exchange.memory(vector), plan_sha256=plan.sha256)
        self.privacy = PrivacyPlan.from_run_plan(plan)
        self.rowwise = RowwiseTask.from_plan(task, self.model, plan)
        self.per_example = (
            PerExampleGradients(
                task,
                self.model,
                max_physical_batch=plan.training.max_physical_batch,
                rowwise=self.rowwise,
            )
            if self.privacy
            else None
        )

    def load(self, parameters: Parameters) -> None:
        """Copy received parameters into the model, and reset other buffers that the previous client changed.

        Raises:
            LayoutError: They are another model's.
        """
        self.binding.restore()
        received = Parameters(parameters.buffer, self.parameters.layout)
        for mine, given in slices(self.parameters.buffer, received.buffer):
            mine.copy_(given)
        self._forget()

    def restore(self, before: Tensor) -> None:
        """Undo what a forward pass did to parameters and buffers, which would otherwise be released without noise.

        Undone and not refused, since a row could have caused it, and a refusal would reveal that row.
        """
        self.binding.restore()
        self.parameters.buffer.copy_(before)
        self._forget()

    def _forget(self) -> None:
        for buffer, fresh in zip(self._own_buffers, self._fresh_buffers, strict=True):
            buffer.copy_(fresh)

    def _other_buffers(self) -> list[Tensor]:
        """Buffers that are not sent: counters, and all that are not persistent."""
        travelling = set(self.parameters.layout.names)
        return [buffer for name, buffer in self.model.named_buffers() if name not in travelling]
