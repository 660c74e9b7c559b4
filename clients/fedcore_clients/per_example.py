"""Gradients of every record by itself, by Opacus' hooks on the user's own module.

Only the hooks are used. `PrivacyEngine.make_private` derives sampling rate, divisor and number of steps
from the data set, which voids the guarantee that it reports; here all three are the plan's.
"""

from __future__ import annotations

import logging
import warnings

import torch
from torch import Tensor, nn

from fedcore.errors import PrivacyError
from fedcore.examples import Batch
from fedcore.privacy.mechanisms import clipped_sum
from fedcore.task import Task


class PerExampleGradients:
    """Computes clipped sums of per-record gradients of one model.

    Args:
        model: Gets Opacus' hooks; its names and its state dictionary stay as they are.
        max_physical_batch: Rows whose gradients are held at once.
    """

    def __init__(self, task: Task, model: nn.Module, *, max_physical_batch: int) -> None:
        self._task = task
        self._model = model
        self._trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
        self._max_physical_batch = max_physical_batch
        self._hooks = _attach_hooks(model)

    def clipped_sum(self, batch: Batch, clip_norm: float) -> Tensor:
        """Sum of the clipped gradients of the rows of `batch`.

        Args:
            batch: Any number of rows, none included.

        Returns:
            float64, flat over the trainable parameters; zeros for an empty batch.
        """
        size = len(next(iter(batch.values())))
        total = torch.zeros(
            sum(parameter.numel() for parameter in self._trained),
            dtype=torch.float64,
            device=self._sum_device(),
        )
        for start in range(0, size, self._max_physical_batch):
            rows = slice(start, start + self._max_physical_batch)
            gradients = self.gradients({name: column[rows] for name, column in batch.items()})
            total += clipped_sum(gradients, clip_norm)
        return total

    def gradients(self, batch: Batch) -> list[Tensor]:
        """Per-record gradients, one tensor of shape ``(n, *parameter shape)`` for each trainable parameter."""
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Full backward hook is firing")
            self._task.loss(self._model, batch).sum().backward()  # type: ignore[no-untyped-call]
        size = len(next(iter(batch.values())))
        return [self._take(parameter, size) for parameter in self._trained]

    def _take(self, parameter: nn.Parameter, size: int) -> Tensor:
        """Take a parameter's per-record gradients from it."""
        gradient = getattr(parameter, "grad_sample", None)
        parameter.grad_sample = None  # type: ignore[attr-defined]
        if gradient is None:
            return torch.zeros((size, *parameter.shape), dtype=parameter.dtype, device=self._sum_device())
        if isinstance(gradient, list):
            gradient = torch.stack(gradient).sum(0)
        if gradient.shape != (size, *parameter.shape):
            raise PrivacyError(
                f"a parameter of shape {tuple(parameter.shape)} has per-record gradients of shape "
                f"{tuple(gradient.shape)} for {size} records; its layer mixes records"
            )
        return gradient.detach().to(self._sum_device())

    def _sum_device(self) -> torch.device:
        """The parameters' device; the CPU for MPS, which has no float64."""
        device = self._trained[0].device
        return torch.device("cpu") if device.type == "mps" else device


def _attach_hooks(model: nn.Module) -> object:
    """Hook per-record gradients into a model that the linter has passed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from opacus.grad_sample import GradSampleHooks

    logging.getLogger("opacus").setLevel(logging.ERROR)
    # Not strict: Opacus refuses every buffer, constant ones too; fedcore.privacy.linter refuses the harmful ones.
    return GradSampleHooks(model, batch_first=True, loss_reduction="sum", strict=False)
