"""Which layers the one-pass path covers, and the gradient shares of their parameters."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional

from fedcore_clients.ghost_shares import Call, LookedUp, Share, Sizes, Written, product_share

Rule = Callable[[nn.Module, list[Call]], Iterator[Share]]


def covers(model: nn.Module) -> bool:
    """Whether every trainable parameter of `model` belongs to one layer alone, and that has a rule."""
    seen: set[int] = set()
    for module in model.modules():
        own = {name: p for name, p in module.named_parameters(recurse=False) if p.requires_grad}
        if not own:
            continue
        if rule_of(module) is None or not own.keys() <= {"weight", "bias"} or module._forward_hooks:
            return False
        if seen & {id(parameter) for parameter in own.values()}:
            return False
        seen |= {id(parameter) for parameter in own.values()}
    return bool(seen)


def rule_of(module: nn.Module) -> Rule | None:
    """The rule of a layer; ``None`` where its forward pass is not known to be the plain one."""
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


def _trained(parameter: Tensor | None) -> bool:
    return parameter is not None and parameter.requires_grad


def _linear(module: nn.Module, calls: list[Call]) -> Iterator[Share]:
    weight, bias = module.weight, module.bias
    if _trained(weight):
        joined = [Call(_positions(call.inputs), _positions(call.gradient)) for call in calls]
        if len(joined) > 1:
            joined = [Call(torch.cat([c.inputs for c in joined], 1), torch.cat([c.gradient for c in joined], 1))]
        sizes = Sizes(1, joined[0].inputs.shape[1], *weight.shape)
        yield product_share(weight, joined, _linear_matrices, sizes)
    if _trained(bias):
        yield Written(bias, _added(_positions(call.gradient).sum(1) for call in calls))


def _positions(tensor: Tensor) -> Tensor:
    """``(n, positions, features)`` of a tensor with any number of dimensions between the first and the last."""
    return tensor.reshape(len(tensor), -1, tensor.shape[-1])


def _linear_matrices(call: Call) -> tuple[Tensor, Tensor]:
    return call.gradient.unsqueeze(1), call.inputs.unsqueeze(1)


def _added(tensors: Iterator[Tensor]) -> Tensor:
    return torch.stack(list(tensors)).sum(0)


def _convolution(module: nn.Module, calls: list[Call]) -> Iterator[Share]:
    weight, bias = module.weight, module.bias
    calls = [Call(_as_image(call.inputs), _as_image(call.gradient)) for call in calls]
    if _trained(weight):
        positions = sum(call.gradient.shape[2:].numel() for call in calls)
        sizes = Sizes(module.groups, positions, len(weight) // module.groups, weight[0].numel())
        yield product_share(weight, calls, _convolution_matrices(module), sizes)
    if _trained(bias):
        yield Written(bias, _added(call.gradient.sum((2, 3)) for call in calls))


def _as_image(tensor: Tensor) -> Tensor:
    """One-dimensional convolutions are two-dimensional ones of height 1."""
    return tensor.unsqueeze(2) if tensor.ndim == 3 else tensor


def _convolution_matrices(module: nn.Module) -> Callable[[Call], tuple[Tensor, Tensor]]:
    one = module.weight.ndim == 3
    kernel, stride, dilation = (
        (1, *given) if one else given for given in (module.kernel_size, module.stride, module.dilation)
    )
    padding = (0, *module.padding) if one else module.padding

    def matrices(call: Call) -> tuple[Tensor, Tensor]:
        patches = functional.unfold(call.inputs, kernel, dilation=dilation, padding=padding, stride=stride)
        gradient = call.gradient.reshape(len(patches), module.groups, -1, patches.shape[-1])
        return gradient.mT, patches.view(len(patches), module.groups, -1, patches.shape[-1]).mT

    return matrices


def _embedding(module: nn.Module, calls: list[Call]) -> Iterator[Share]:
    tokens = torch.cat([call.inputs.reshape(len(call.inputs), -1) for call in calls], 1)
    gradients = torch.cat([_positions(call.gradient) for call in calls], 1)
    yield LookedUp(module.weight, tokens, gradients)


def _layer_norm(module: nn.Module, calls: list[Call]) -> Iterator[Share]:
    def normalised(inputs: Tensor) -> Tensor:
        return functional.layer_norm(inputs, module.normalized_shape, eps=module.eps)

    return _normalisation(module, calls, normalised, lambda tensor: _last(tensor, len(module.normalized_shape)))


def _rms_norm(module: nn.Module, calls: list[Call]) -> Iterator[Share]:
    def normalised(inputs: Tensor) -> Tensor:
        return functional.rms_norm(inputs, module.normalized_shape, eps=module.eps)

    return _normalisation(module, calls, normalised, lambda tensor: _last(tensor, len(module.normalized_shape)))


def _group_norm(module: nn.Module, calls: list[Call]) -> Iterator[Share]:
    def normalised(inputs: Tensor) -> Tensor:
        return functional.group_norm(inputs, module.num_groups, eps=module.eps)

    return _normalisation(module, calls, normalised, lambda tensor: tensor.reshape(*tensor.shape[:2], -1).sum(2))


def _last(tensor: Tensor, kept: int) -> Tensor:
    """Sum over all dimensions but the first and the last `kept`."""
    between = list(range(1, tensor.ndim - kept))
    return tensor.sum(between) if between else tensor


def _normalisation(
    module: nn.Module,
    calls: list[Call],
    normalised: Callable[[Tensor], Tensor],
    summed: Callable[[Tensor], Tensor],
) -> Iterator[Share]:
    """Scale and shift after a normalisation within each record."""
    if _trained(module.weight):
        yield Written(module.weight, _added(summed(call.gradient * normalised(call.inputs)) for call in calls))
    if _trained(getattr(module, "bias", None)):
        yield Written(module.bias, _added(summed(call.gradient) for call in calls))


_RULES: dict[type[nn.Module], Rule] = {
    nn.Conv1d: _convolution,
    nn.Conv2d: _convolution,
    nn.Embedding: _embedding,
    nn.LayerNorm: _layer_norm,
    nn.RMSNorm: _rms_norm,
    nn.GroupNorm: _group_norm,
}
