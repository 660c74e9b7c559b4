"""Models that the kernel knows."""

from __future__ import annotations

from collections.abc import Iterator

from torch import nn


def perceptron(model: nn.Module) -> tuple[int, ...] | str:
    """Widths of a perceptron's inputs and of each layer's outputs, or why a model is none.

    A perceptron is a ``nn.Linear``, or several with a ``nn.ReLU`` between two of them, in ``nn.Sequential``.
    """
    layers = [(name, layer) for name, layer in _chained(model) if type(layer) not in (nn.Flatten, nn.Identity)]
    sizes: list[int] = []
    for place, (name, layer) in enumerate(layers):
        kind = nn.ReLU if place % 2 else nn.Linear
        if type(layer) is not kind:
            return f"layer {name!r} is a {type(layer).__name__}, and the kernel knows perceptrons of Linear and ReLU"
        if layer._forward_hooks or layer._forward_pre_hooks or layer._backward_hooks:
            return f"layer {name!r} has hooks"
        if isinstance(layer, nn.Linear):
            if layer.bias is None or not all(each.requires_grad for each in layer.parameters()):
                return f"layer {name!r} has no bias, or is frozen"
            sizes += [layer.out_features] if sizes else [layer.in_features, layer.out_features]
    if len(layers) % 2 == 0:
        return "the last layer is not linear"
    if len({id(layer) for _, layer in layers if isinstance(layer, nn.Linear)}) < len(sizes) - 1:
        return "a layer is used twice"
    return tuple(sizes)


def _chained(model: nn.Module, name: str = "") -> Iterator[tuple[str, nn.Module]]:
    """The layers in the order in which they are applied."""
    if type(model) is not nn.Sequential:
        yield name, model
        return
    for place, layer in model.named_children():
        yield from _chained(layer, f"{name}.{place}" if name else place)
