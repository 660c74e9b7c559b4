"""Which layers the one-pass path covers, and the gradient shares of their parameters."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeGuard

import torch
from torch import Tensor, nn
from torch.nn import functional

from fedcore_clients.training.dp.ghost_shares import Call, LookedUp, OuterProduct, Share, Sizes, Written, product_share

Rule = Callable[[Any, list[Call]], Iterator[Share]]


def rules_of(model: nn.Module) -> dict[nn.Module, Rule] | None:
    """The rule of every layer with trainable parameters; ``None`` where a layer has none, or layers share one."""
    rules: dict[nn.Module, Rule] = {}
    seen: set[int] = set()
    for module in model.modules():
        own = {name: id(p) for name, p in module.named_parameters(recurse=False) if p.requires_grad}
        if not own or _only_renames(module):
            continue
        rule = rule_of(module)
        if rule is None or module._forward_hooks or not own.keys() <= {"weight", "bias"} or seen & set(own.values()):
            return None
        rules[module] = rule
        seen.update(own.values())
    return rules or None


def _only_renames(module: nn.Module) -> bool:
    """Opacus' recurrent layers list their cells' parameters again, under the names of torch's layers."""
    inside = {id(p) for child in module.children() for p in child.parameters()}
    own = {id(p) for p in module.parameters(recurse=False)}
    return type(module).__module__.startswith("opacus.layers.") and own <= inside


def rule_of(module: nn.Module) -> Rule | None:
    """``None`` where a layer's forward pass is not known to be the plain one."""
    if "forward" in vars(module):
        return None
    if isinstance(module, nn.Linear) and type(module).forward is nn.Linear.forward:
        return _linear
    if isinstance(module, nn.Conv1d | nn.Conv2d) and not _plain_convolution(module):
        return None
    if isinstance(module, nn.Embedding) and not _plain_embedding(module):
        return None
    return _RULES.get(type(module))


def _plain_convolution(module: nn.Conv1d | nn.Conv2d) -> bool:
    return module.padding_mode == "zeros" and not isinstance(module.padding, str)


def _plain_embedding(module: nn.Embedding) -> bool:
    settings = (module.padding_idx, module.max_norm)
    return settings == (None, None) and not module.scale_grad_by_freq and not module.sparse


def _trained(parameter: Tensor | None) -> TypeGuard[Tensor]:
    return parameter is not None and parameter.requires_grad


def _linear(module: nn.Linear, calls: list[Call]) -> Iterator[Share]:
    weight, bias = module.weight, module.bias
    if len(calls) == 1 and calls[0].inputs.ndim == 2:
        yield OuterProduct(weight, bias, calls[0])
        return
    inputs = torch.cat([_positions(call.inputs) for call in calls], 1)
    gradients = torch.cat([_positions(call.gradient) for call in calls], 1)
    if weight.requires_grad:
        sizes = Sizes(1, inputs.shape[1], *weight.shape)
        yield product_share(weight, [Call(inputs, gradients)], _linear_matrices, sizes)
    if _trained(bias):
        yield Written(bias, gradients.sum(1))


def _positions(tensor: Tensor) -> Tensor:
    """``(n, positions, features)`` of a tensor with any number of dimensions between the first and the last."""
    return tensor.reshape(len(tensor), -1, tensor.shape[-1])


def _linear_matrices(call: Call) -> tuple[Tensor, Tensor]:
    return call.gradient.unsqueeze(1), call.inputs.unsqueeze(1)


def _added(tensors: Iterator[Tensor]) -> Tensor:
    return torch.stack(list(tensors)).sum(0)


def _convolution(module: nn.Conv1d | nn.Conv2d, calls: list[Call]) -> Iterator[Share]:
    weight, bias = module.weight, module.bias
    calls = [Call(_as_image(call.inputs), _as_image(call.gradient)) for call in calls]
    if weight.requires_grad:
        positions = sum(call.gradient.shape[2:].numel() for call in calls)
        sizes = Sizes(module.groups, positions, len(weight) // module.groups, weight[0].numel())
        yield product_share(weight, calls, _convolution_matrices(module), sizes)
    if _trained(bias):
        yield Written(bias, _added(call.gradient.sum((2, 3)) for call in calls))


def _as_image(tensor: Tensor) -> Tensor:
    """One-dimensional convolutions are two-dimensional ones of height 1."""
    return tensor.unsqueeze(2) if tensor.ndim == 3 else tensor


def _convolution_matrices(module: nn.Conv1d | nn.Conv2d) -> Callable[[Call], tuple[Tensor, Tensor]]:
    high, wide = _pair(module.kernel_size, 1)
    down, right = _pair(module.stride, 1)
    spread_down, spread_right = _pair(module.dilation, 1)
    top, left = _pair(module.padding, 0)

    def matrices(call: Call) -> tuple[Tensor, Tensor]:
        images = functional.pad(call.inputs, (left, left, top, top)) if top or left else call.inputs
        images = images.contiguous()
        rows, channels, (height, width) = len(images), images.shape[1], call.gradient.shape[2:]
        record, plane, line, _ = images.stride()
        # Overlapping windows; copied by reshape several times faster than by torch's im2col.
        patches = images.as_strided(
            (rows, channels, high, wide, height, width),
            (record, plane, line * spread_down, spread_right, line * down, right),
        )
        inputs = patches.reshape(rows, module.groups, -1, height * width)
        return call.gradient.reshape(rows, module.groups, -1, height * width).mT, inputs.mT

    return matrices


def _pair(given: tuple[int, ...] | str, first: int) -> tuple[int, int]:
    """Settings along height and width; a one-dimensional layer has only those of the width."""
    values = [int(value) for value in given]
    return (first, values[0]) if len(values) == 1 else (values[0], values[1])


def _embedding(module: nn.Embedding, calls: list[Call]) -> Iterator[Share]:
    tokens = torch.cat([call.inputs.reshape(len(call.inputs), -1) for call in calls], 1)
    gradients = torch.cat([_positions(call.gradient) for call in calls], 1)
    yield LookedUp(module.weight, tokens, gradients)


def _layer_norm(module: nn.LayerNorm, calls: list[Call]) -> Iterator[Share]:
    def normalised(inputs: Tensor) -> Tensor:
        return functional.layer_norm(inputs, module.normalized_shape, eps=module.eps)

    return _normalisation(module, calls, normalised, lambda tensor: _last(tensor, len(module.normalized_shape)))


def _rms_norm(module: nn.RMSNorm, calls: list[Call]) -> Iterator[Share]:
    def normalised(inputs: Tensor) -> Tensor:
        return functional.rms_norm(inputs, module.normalized_shape, eps=module.eps)

    return _normalisation(module, calls, normalised, lambda tensor: _last(tensor, len(module.normalized_shape)))


def _group_norm(module: nn.GroupNorm, calls: list[Call]) -> Iterator[Share]:
    def normalised(inputs: Tensor) -> Tensor:
        return functional.group_norm(inputs, module.num_groups, eps=module.eps)

    return _normalisation(module, calls, normalised, lambda tensor: tensor.reshape(*tensor.shape[:2], -1).sum(2))


def _last(tensor: Tensor, kept: int) -> Tensor:
    """Sum over all dimensions but the first and the last `kept`."""
    between = list(range(1, tensor.ndim - kept))
    return tensor.sum(between) if between else tensor


def _normalisation(
    module: nn.LayerNorm | nn.RMSNorm | nn.GroupNorm,
    calls: list[Call],
    normalised: Callable[[Tensor], Tensor],
    summed: Callable[[Tensor], Tensor],
) -> Iterator[Share]:
    """Scale and shift after a normalisation within each record."""
    if _trained(module.weight):
        yield Written(module.weight, _added(summed(call.gradient * normalised(call.inputs)) for call in calls))
    bias = getattr(module, "bias", None)
    if _trained(bias):
        yield Written(bias, _added(summed(call.gradient) for call in calls))


_RULES: dict[type[nn.Module], Rule] = {
    nn.Conv1d: _convolution,
    nn.Conv2d: _convolution,
    nn.Embedding: _embedding,
    nn.LayerNorm: _layer_norm,
    nn.RMSNorm: _rms_norm,
    nn.GroupNorm: _group_norm,
}
