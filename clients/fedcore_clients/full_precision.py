"""The arithmetic that record-level privacy needs: what a record adds to a sum must be what its norm was computed of."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from fedcore.errors import PrivacyError

_EXACT = "ieee"
_HALF_BYTES = 2


@contextmanager
def full_precision() -> Iterator[None]:
    """Products of float32 numbers in float32, on every kind of device; the process's own settings come back after it.

    TF32, the default of CUDA's convolutions, and bfloat16 round each factor by up to 5e-4 and 4e-3: a record's
    gradient would then differ from the one that its norm was computed of, and from itself in another batch, by more
    than the noise is enlarged for.

    Raises:
        PrivacyError: The code inside has changed the settings, or the environment overrules them.
    """
    if os.environ.get("NVIDIA_TF32_OVERRIDE") == "1":
        raise PrivacyError("NVIDIA_TF32_OVERRIDE=1 rounds products to TF32, which privacy does not allow; unset it")
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


def refuse_narrow(losses: Tensor, own: torch.dtype) -> None:
    """Refuse losses on whose way from the parameters something was computed in a narrower type than theirs.

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


class NoHalfPrecision(TorchDispatchMode):
    """Refuses every operation that gives half precision, also where autograd's graph does not show it.

    A custom ``autograd.Function`` and reentrant checkpointing hide what they compute from the graph. It costs several
    µs for each operation, so that it watches one batch and not all.
    """

    def __init__(self, own: torch.dtype) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._own = own

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run the operation, and look at the types of what it gives."""
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
    """Whatever decides how float32 numbers are multiplied."""
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
