"""Models that the kernel knows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Self

from torch import nn

_ACTIVATIONS: Mapping[type[nn.Module], str] = {nn.ReLU: "RELU", nn.Tanh: "TANH"}
_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
_KNOWN = "the kernel knows perceptrons of Linear, ReLU and Tanh"


@dataclass(frozen=True, slots=True, kw_only=True)
class Perceptron:
    """A `nn.Linear`, or several with an activation between two of them, in `nn.Sequential`.

    Attributes:
        sizes: Widths of the inputs and of each layer's outputs.
        activations: After each layer but the last: names of the kernel.
    """

    sizes: tuple[int, ...]
    activations: tuple[str, ...]

    @classmethod
    def of(cls, model: nn.Module) -> Self | str:
        """A model as a perceptron, or why it is none."""
        sizes: list[int] = []
        activations: list[str] = []
        if _is_altered(model):
            return "it has hooks, or a forward of its own"
        for name, layer in _chained(model):
            if len(activations) < len(sizes) - 1 and type(layer) in _ACTIVATIONS:
                activations.append(_ACTIVATIONS[type(layer)])
            elif type(layer) is nn.Linear and len(activations) == max(0, len(sizes) - 1):
                if layer.bias is None or not all(each.requires_grad for each in layer.parameters()):
                    return f"layer {name!r} has no bias, or is frozen"
                sizes += [layer.out_features] if sizes else [layer.in_features, layer.out_features]
            else:
                return f"layer {name!r} is a {type(layer).__name__} where {_KNOWN}"
        if len(sizes) != len(activations) + 2:
            return f"the model does not end with a Linear, and {_KNOWN}"
        if any(True for _ in model.buffers()) or sum(each.numel() for each in model.parameters()) != _numbers(sizes):
            return "a layer is used twice, or there are parameters or buffers outside the layers"
        return cls(sizes=tuple(sizes), activations=tuple(activations))


def _is_altered(model: nn.Module) -> bool:
    """Whether more is computed than the types of the layers say."""
    hooked = any(getattr(part, name) for part in model.modules() for name in _HOOKS)
    hooked = hooked or any(each._backward_hooks for each in model.parameters())
    return hooked or any("forward" in vars(part) for part in model.modules())


def _numbers(sizes: list[int]) -> int:
    return sum((before + 1) * after for before, after in pairwise(sizes))


def _chained(model: nn.Module, name: str = "") -> Iterator[tuple[str, nn.Module]]:
    """The layers that compute, in the order in which they are applied."""
    if type(model) is nn.Sequential:
        for place, layer in model._modules.items():  # `named_children` leaves out a layer's second use
            if layer is not None:
                yield from _chained(layer, f"{name}.{place}" if name else place)
    elif type(model) not in (nn.Flatten, nn.Identity) and not (type(model) is nn.Dropout and model.p == 0.0):
        yield name, model
