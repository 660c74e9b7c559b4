"""Rules about the layers of a model."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import nn

from fedcore.privacy.linter.finding import Rule, Subject

_REPLACEMENTS = {
    "RNN": "opacus.layers.DPRNN",
    "LSTM": "opacus.layers.DPLSTM",
    "GRU": "opacus.layers.DPGRU",
    "MultiheadAttention": "opacus.layers.DPMultiheadAttention",
}


def _layers(is_at_fault: Callable[[nn.Module], bool]) -> Callable[[Subject], Iterator[str]]:
    """A rule's `find` that names every layer at fault."""

    def find(subject: Subject) -> Iterator[str]:
        for name, module in subject.model.named_modules() if subject.model is not None else ():
            if is_at_fault(module):
                yield f"{name or 'the model'} ({type(module).__name__})"

    return find


def _is_batch_norm(module: nn.Module) -> bool:
    """By class or by name, with or without weights, frozen or not."""
    return isinstance(module, nn.modules.batchnorm._BatchNorm) or "batchnorm" in type(module).__name__.lower()


def _keeps_running_statistics(module: nn.Module) -> bool:
    return isinstance(module, nn.modules.instancenorm._InstanceNorm) and module.track_running_stats


def _unsupported(subject: Subject) -> Iterator[str]:
    for name, module in subject.model.named_modules() if subject.model is not None else ():
        kind = type(module).__name__
        if type(module).__module__.startswith("torch.nn") and kind in _REPLACEMENTS:
            yield f"{name or 'the model'} ({kind}), for which there is {_REPLACEMENTS[kind]}"


def _renormalises(module: nn.Module) -> bool:
    return isinstance(module, nn.Embedding | nn.EmbeddingBag) and module.max_norm is not None


def _pads(module: nn.Module) -> bool:
    return isinstance(module, nn.Embedding) and module.padding_idx is not None


def _has_averaged_buffer(module: nn.Module) -> bool:
    if _is_batch_norm(module) or _keeps_running_statistics(module):
        return False  # another rule reports it
    return any(
        buffer.is_floating_point() and name not in module._non_persistent_buffers_set
        for name, buffer in module.named_buffers(recurse=False)
    )


def _is_of_low_precision(module: nn.Module) -> bool:
    return any(
        parameter.dtype in {torch.float16, torch.bfloat16}
        for parameter in module.parameters(recurse=False)
        if parameter.requires_grad
    )


LAYER_RULES = (
    Rule(
        id="batch-norm",
        severity="refuse",
        why="batch normalisation makes every record's gradient depend on the other records of its batch, so clipping "
        "bounds nothing",
        fix="use nn.GroupNorm or nn.LayerNorm",
        find=_layers(_is_batch_norm),
    ),
    Rule(
        id="running-statistics",
        severity="refuse",
        why="running statistics are released without noise",
        fix="set track_running_stats=False",
        find=_layers(_keeps_running_statistics),
    ),
    Rule(
        id="unsupported-layer",
        severity="refuse",
        why="has no per-record gradients",
        fix="use the layer named, which has the same interface",
        find=_unsupported,
    ),
    Rule(
        id="renormalised-embedding",
        severity="refuse",
        why="max_norm rescales the rows of the tokens that occur, in the forward pass and without noise, so that the "
        "released weights reveal which tokens occurred",
        fix="leave max_norm out",
        find=_layers(_renormalises),
    ),
    Rule(
        id="padding-index",
        severity="refuse",
        why="padding_idx is ignored by the per-record gradients, so the padding row would be trained",
        fix="leave padding_idx out and mask the padding in forward",
        find=_layers(_pads),
    ),
    Rule(
        id="float-buffer",
        severity="refuse",
        why="a floating-point buffer would be averaged over clients and released without noise",
        fix="register it with persistent=False and keep it constant",
        find=_layers(_has_averaged_buffer),
    ),
    Rule(
        id="low-precision-model",
        severity="warn",
        why="gradients in half precision overflow early, and a record whose gradient is not finite counts as zero",
        fix="build the model in float32",
        find=_layers(_is_of_low_precision),
    ),
)
