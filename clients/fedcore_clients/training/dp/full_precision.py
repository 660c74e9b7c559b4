"""The arithmetic that record-level privacy needs: a record adds to a sum exactly what its norm was computed of."""

from __future__ import annotations

import copy
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from fedcore.data.examples import Examples
from fedcore.errors import FedcoreError, PrivacyError
from fedcore.task import Task
from fedcore_clients.training.device import is_of_the_device

_EXACT = "ieee"
_HALF_BYTES = 2
_PROBED = 8


@contextmanager
def full_precision() -> Iterator[None]:
    """Products of float32 numbers in float32, on every kind of device; restores the process's settings after it.

    TF32, the default of CUDA's convolutions, and bfloat16 round each factor by up to 5e-4 and 4e-3: a record's gradient
    would then differ from the one that its norm was computed of, and from itself in another batch, by more than the
    noise is enlarged for.

    Raises:
        PrivacyError: The code inside has changed the settings.
    """
    settings = _settings()
    before = [each.fp32_precision for each in settings.values()]
    for each in settings.values():
        each.fp32_precision = _EXACT
    try:
        yield
        changed = [name for name, each in settings.items() if each.fp32_precision != _EXACT]
    finally:
        for each, value in zip(settings.values(), before, strict=True):
            each.fp32_precision = value
    if changed:
        raise PrivacyError(
            f"the model or the loss lowered the precision of products ({', '.join(changed)}), by which a record could "
            "move the sum by more than the clip norm. Leave torch.set_float32_matmul_precision and torch.backends alone"
        )


def refuse_settings(device: torch.device) -> None:
    """Refuse settings that lower the precision of all computation in the process.

    Raises:
        PrivacyError: Says what to turn off.
    """
    if torch.is_autocast_enabled(device.type):
        raise PrivacyError("autocast is on, by which a record could move the sum by more than the clip norm; leave it")
    if os.environ.get("NVIDIA_TF32_OVERRIDE") == "1":
        raise PrivacyError("NVIDIA_TF32_OVERRIDE=1 rounds products to TF32, which privacy does not allow; unset it")


def refuse_narrow(losses: Tensor, own: torch.dtype) -> None:
    """Refuse losses that were partly computed in a narrower type than the parameters'.

    It looks at the types in autograd's graph only, never at a value, and costs about 1 µs for each operation.

    Args:
        losses: As the task computed them, not backpropagated yet.
        own: The parameters' type.

    Raises:
        PrivacyError: A part was computed in a narrower type, such as under autocast.
    """
    seen, ahead = set(), [losses.grad_fn]
    while ahead:
        node = ahead.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        for output in node._input_metadata:
            _refuse(output.dtype, narrower_than=own.itemsize, own=own)
        ahead += [following for following, _ in node.next_functions]


def probe_precision(task: Task, model: nn.Module, rows: Examples, *, dtype: torch.dtype, device: torch.device) -> None:
    """Refuse a model or loss that computes in a narrower type than its parameters, before training.

    One pass over some rows, on a copy of the model in the type and on the device that will train. Every operation is
    watched, also those that autograd's graph does not show: a custom ``autograd.Function`` and reentrant checkpointing.

    Raises:
        PrivacyError: Names the type that was found, or the settings that were changed.
    """
    subject = copy.deepcopy(model).to(device=device, dtype=dtype).train()
    batch = rows.select(torch.arange(min(_PROBED, len(rows)))).to(dtype=dtype, device=device).batch(slice(None))
    refuse_settings(device)
    try:
        with full_precision(), _NoHalfPrecision(dtype):
            losses = task.loss(subject, batch)
            refuse_narrow(losses, dtype)
            losses.sum().backward()  # type: ignore[no-untyped-call]
    except FedcoreError:
        raise
    except Exception as error:
        if is_of_the_device(error):
            raise
        # A failing row says nothing about precision; it adds nothing in training either.


class _NoHalfPrecision(TorchDispatchMode):
    """Refuses every operation with a half-precision result. Several µs for each, too slow for every step."""

    def __init__(self, own: torch.dtype) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._own = own

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for each in tree_leaves(result):
            if isinstance(each, Tensor):
                _refuse(each.dtype, narrower_than=_HALF_BYTES + 1, own=self._own)
        return result


def _refuse(dtype: torch.dtype, *, narrower_than: int, own: torch.dtype) -> None:
    if dtype.is_floating_point and dtype.itemsize < narrower_than:
        raise PrivacyError(
            f"a part of the loss is computed in {dtype}, narrower than the parameters' {own}: rounding could move a "
            "record's contribution beyond the clip norm. Leave autocast and casts to a narrower type out of the model "
            "and the loss"
        )


def _settings() -> dict[str, Any]:
    """All settings of how float32 numbers are multiplied."""
    backends: Any = torch.backends
    return {
        f"torch.backends.{name}": setting
        for name, setting in {
            "cuda.matmul": backends.cuda.matmul,
            "cudnn.conv": backends.cudnn.conv,
            "cudnn.rnn": backends.cudnn.rnn,
            "mkldnn.matmul": backends.mkldnn.matmul,
            "mkldnn.conv": backends.mkldnn.conv,
            "mkldnn.rnn": backends.mkldnn.rnn,
        }.items()
    }
