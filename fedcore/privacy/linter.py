"""Models that would break a privacy guarantee, found before anything is trained.

The structure of the model is read here; what a structure does not show, the probe of
``fedcore_clients.probe`` measures on the model itself.
"""

from __future__ import annotations

from collections.abc import Iterator

from torch import nn

from fedcore.errors import PrivacyError

_REPLACEMENTS = {
    "RNN": "opacus.layers.DPRNN",
    "LSTM": "opacus.layers.DPLSTM",
    "GRU": "opacus.layers.DPGRU",
    "MultiheadAttention": "opacus.layers.DPMultiheadAttention",
}


def lint_model(model: nn.Module) -> None:
    """Refuse a model whose layers couple records or keep statistics of them.

    Raises:
        PrivacyError: Lists every layer at fault, the reason and the fix.
    """
    findings = [finding for name, module in model.named_modules() for finding in _lint_layer(name, module)]
    if findings:
        raise PrivacyError("this model cannot be trained with record-level privacy:\n" + "\n".join(findings))


def _lint_layer(name: str, module: nn.Module) -> Iterator[str]:
    kind = type(module).__name__
    where = f"  {name or 'the model'} ({kind})"
    if isinstance(module, nn.modules.batchnorm._BatchNorm):
        yield (
            f"{where}: batch normalisation makes every record's gradient depend on the other records of its batch, "
            "so clipping bounds nothing; use nn.GroupNorm or nn.LayerNorm"
        )
    elif isinstance(module, nn.modules.instancenorm._InstanceNorm) and module.track_running_stats:
        yield f"{where}: running statistics are released without noise; set track_running_stats=False"
    elif type(module).__module__.startswith("torch.nn") and kind in _REPLACEMENTS:
        yield f"{where}: has no per-record gradients; use {_REPLACEMENTS[kind]}, which has the same interface"
    elif isinstance(module, nn.Embedding | nn.EmbeddingBag) and module.max_norm is not None:
        yield (
            f"{where}: max_norm rescales the rows of the tokens that occur, in the forward pass and without noise, so "
            "that the released weights tell which tokens there were; leave max_norm out"
        )
    elif isinstance(module, nn.Embedding) and module.padding_idx is not None:
        yield (
            f"{where}: padding_idx is ignored by the per-record gradients, so the padding row would be trained; "
            "leave padding_idx out and mask the padding in forward"
        )
    elif _has_averaged_buffer(module):
        yield (
            f"{where}: a floating-point buffer would be averaged over clients and released without noise; "
            "register it with persistent=False and keep it constant"
        )


def _has_averaged_buffer(module: nn.Module) -> bool:
    return any(
        buffer.is_floating_point() and name not in module._non_persistent_buffers_set
        for name, buffer in module.named_buffers(recurse=False)
    )
