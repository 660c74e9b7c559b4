"""Whether a model is worth a device: the CPU is faster with a small one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from fedcore.plan import RunPlan
from fedcore_clients.training.device import resolve_device

WORTHWHILE = 5e6
"""Operations of a step per available core, below which the CPU is used."""

_PER_WEIGHT = 6
_POSITIONS = 64
_REPEATED = (
    nn.modules.conv._ConvNd,
    nn.RNNBase,
    nn.Embedding,
    nn.MultiheadAttention,
    nn.TransformerEncoderLayer,
    nn.TransformerDecoderLayer,
)


@dataclass(frozen=True, slots=True)
class DeviceChoice:
    """A device, and why it is not the one that was found first; empty where it is."""

    device: torch.device
    note: str = ""


def choose_device(name: str, plan: RunPlan, build_model: Callable[[], nn.Module], *, workers: int = 1) -> DeviceChoice:
    """The device that `name` means; where that is ``auto`` and the model is small, the CPU.

    An estimate. A device needs about 0.3 ms for a step of any size, most of it to start its kernels; a core does about
    20 million operations in a millisecond. `step_operations` estimates the operations.

    Args:
        name: As for `resolve_device`; from the plan, or the client's owner.
        workers: Processes that would train on the CPU at once.

    Raises:
        DeviceError: As `resolve_device`.
    """
    found = resolve_device(name)
    if name != "auto" or found.type == "cpu":
        return DeviceChoice(found)
    with torch.random.fork_rng(devices=[]):
        operations = step_operations(build_model(), plan.privacy.nominal_batch or plan.training.batch_size)
    if operations >= WORTHWHILE * workers:
        return DeviceChoice(found)
    note = (
        f"trained on the CPU: {found} would be slower with so small a model (an estimate: {operations / 1e6:.2g} "
        f"million operations a step); name it as the device to use it"
    )
    return DeviceChoice(torch.device("cpu"), note)


def step_operations(model: nn.Module, rows: float) -> float:
    """Multiplications and additions of a training step, very roughly.

    Six for each trainable weight and row: two forward, four backward. In a model with convolutions, embeddings,
    recurrent or attention layers, every weight counts 64-fold, since it is used at many positions of a row.
    """
    weights = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    positions = _POSITIONS if any(isinstance(module, _REPEATED) for module in model.modules()) else 1
    return _PER_WEIGHT * weights * positions * rows
