"""A model's state as one contiguous buffer with named views.

One buffer makes every step of a round a single vector operation: reset, difference, clipping norm, noise,
aggregation. It also travels as one array: Flower pays several requests for every array of a message.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor, nn

from fedcore.errors import LayoutError
from fedcore.storage.large_vectors import norm

Tensors = Mapping[str, Tensor]
State = Mapping[str, Any]
"""Tensors and plain JSON values by name: what a checkpoint holds of a part."""


@dataclass(frozen=True, slots=True)
class Layout:
    """Names and shapes of the tensors in a flat buffer, in order.

    Trainable parameters come first, then floating-point buffers (such as the running statistics of a batch
    norm), which are averaged like parameters but are not trained.

    Attributes:
        names: Names as in ``nn.Module.named_parameters`` and ``named_buffers``.
        num_trained: How many elements at the front of the buffer belong to trainable parameters.
    """

    names: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]
    num_trained: int

    @property
    def size(self) -> int:
        return sum(math.prod(shape) for shape in self.shapes)

    def views(self, buffer: Tensor) -> Iterator[tuple[str, Tensor]]:
        ends = accumulate(math.prod(shape) for shape in self.shapes)
        start = 0
        for name, shape, end in zip(self.names, self.shapes, ends, strict=True):
            yield name, buffer[start:end].view(shape)
            start = end


class Parameters:
    """One contiguous buffer with named views.

    Args:
        buffer: Tensor of shape ``(layout.size,)``, float32 or float64.

    Raises:
        LayoutError: The buffer's shape or number type does not fit.
    """

    __slots__ = ("buffer", "layout")

    def __init__(self, buffer: Tensor, layout: Layout) -> None:
        if buffer.shape != (layout.size,):
            raise LayoutError(
                f"expected a buffer of shape ({layout.size},) for {len(layout.names)} tensors, "
                f"found {tuple(buffer.shape)}"
            )
        if buffer.dtype not in (torch.float32, torch.float64):
            raise LayoutError(f"expected float32 or float64 parameters, found {buffer.dtype}")
        self.buffer = buffer
        self.layout = layout

    @classmethod
    def from_model(cls, model: nn.Module, dtype: torch.dtype = torch.float32) -> Parameters:
        """Copy a model's trainable parameters and floating-point buffers into one new buffer on the CPU.

        A parameter with several names (tied weights) has one place in it, under the first of them.

        Raises:
            LayoutError: There is nothing to train, or two tensors share memory without being one parameter.
        """
        tensors = dict(_federated_tensors(model))
        if not tensors:
            raise LayoutError("the model has no trainable parameter; nothing could be learned")
        _check_apart(dict(model.named_parameters()) | tensors)
        trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
        layout = Layout(tuple(tensors), tuple(tuple(t.shape) for t in tensors.values()), trained)
        buffer = torch.cat([tensor.detach().to("cpu", dtype).flatten() for tensor in tensors.values()])
        return cls(buffer, layout)

    def __getitem__(self, name: str) -> Tensor:
        for candidate, view in self.layout.views(self.buffer):
            if candidate == name:
                return view
        raise KeyError(name)

    def __iter__(self) -> Iterator[tuple[str, Tensor]]:
        return self.layout.views(self.buffer)

    def clone(self) -> Parameters:
        return Parameters(self.buffer.clone(), self.layout)

    def zeros_like(self) -> Parameters:
        return Parameters(torch.zeros_like(self.buffer), self.layout)

    def add_(self, other: Parameters, *, scale: float = 1.0) -> Parameters:
        """Add ``scale * other`` in place."""
        self._check_layout(other)
        self.buffer.add_(other.buffer, alpha=scale)
        return self

    def sub(self, other: Parameters) -> Parameters:
        self._check_layout(other)
        return Parameters(self.buffer - other.buffer, self.layout)

    def norm(self) -> float:
        """Euclidean norm, summed in float64."""
        return norm(self.buffer)

    def copy_to(self, model: nn.Module) -> None:
        """Copy every element into the tensors of `model`; raises `LayoutError` naming the first difference."""
        tensors = self._tensors_of(model)
        with torch.no_grad():
            for name, view in self:
                tensors[name].copy_(view)

    def lend_to(self, model: nn.Module) -> None:
        """Make the tensors of `model` views of this buffer; raises as `copy_to`."""
        tensors = self._tensors_of(model)
        for name, view in self:
            tensors[name].data = view

    def _tensors_of(self, model: nn.Module) -> dict[str, Tensor]:
        tensors = dict(_federated_tensors(model))
        found = tuple((name, tuple(tensor.shape)) for name, tensor in tensors.items())
        expected = tuple(zip(self.layout.names, self.layout.shapes, strict=True))
        if found != expected:
            raise LayoutError(_first_difference(expected, found))
        return tensors

    def _check_layout(self, other: Parameters) -> None:
        if other.layout is not self.layout and other.layout != self.layout:
            raise LayoutError("the two sets of parameters belong to different models")


def bind(model: nn.Module, dtype: torch.dtype, device: torch.device) -> Parameters:
    """Make the tensors of `model` views of one buffer, and return it.

    Afterwards training the model changes the buffer in place, and a copy into the buffer resets the model:
    no state dictionary is built in a round.
    """
    model.to(device=device, dtype=dtype)
    parameters = Parameters.from_model(model, dtype)
    parameters = Parameters(parameters.buffer.to(device), parameters.layout)
    parameters.lend_to(model)
    return parameters


def bind_gradients(model: nn.Module, parameters: Parameters) -> Tensor:
    """Give the trainable parameters gradients that are views of one zero buffer, and return it.

    Autograd accumulates in place into the buffer, shape ``(layout.num_trained,)``.
    """
    gradient = torch.zeros_like(parameters.buffer[: parameters.layout.num_trained])
    start = 0
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.grad = gradient[start : start + parameter.numel()].view(parameter.shape)
            start += parameter.numel()
    return gradient


def _federated_tensors(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Trainable parameters, then persistent floating-point buffers; frozen parameters are the same everywhere."""
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            yield name, parameter
    persistent = model.state_dict(keep_vars=True)
    for name, buffer in model.named_buffers():
        if buffer.is_floating_point() and name in persistent:
            yield name, buffer


def _check_apart(tensors: Mapping[str, Tensor]) -> None:
    """Refuse tensors that share memory: they would get separate places in the buffer and diverge."""
    before, end_before = "", 0
    seen = {name: tensor for name, tensor in tensors.items() if tensor.numel() and tensor.device.type == "cpu"}
    for start, end, name in sorted((*_extent(tensor), name) for name, tensor in seen.items()):
        if start < end_before:
            raise LayoutError(
                f"{before!r} and {name!r} share memory but are two tensors, which training would separate; assign one "
                "nn.Parameter to both names, as in head.weight = embedding.weight, or copy the memory"
            )
        before, end_before = name, end


def _extent(tensor: Tensor) -> tuple[int, int]:
    """First byte address, and the one after the last."""
    last = sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True))
    return tensor.data_ptr(), tensor.data_ptr() + (last + 1) * tensor.element_size()


def _first_difference(
    expected: tuple[tuple[str, tuple[int, ...]], ...], found: tuple[tuple[str, tuple[int, ...]], ...]
) -> str:
    for want, have in zip(expected, found, strict=False):
        if want != have:
            return f"expected tensor {want[0]!r} of shape {want[1]}, found {have[0]!r} of shape {have[1]}"
    return f"expected {len(expected)} tensors, found {len(found)}"
