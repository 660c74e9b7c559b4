"""A model whose tensors are views of one buffer, and the check that they stay so."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fedcore.errors import TaskError
from fedcore.parameters import Layout, bind, bind_gradients


@dataclass(frozen=True, slots=True)
class _Place:
    """A parameter or buffer of a module, and where it and its gradient must be."""

    name: str
    module: nn.Module
    attribute: str
    tensor: Tensor
    data: Tensor
    gradient: Tensor | None
    travels: bool

    @property
    def is_kept(self) -> bool:
        """Whether the module still holds the tensor, over the same memory."""
        gradient = self.tensor.grad
        return (
            self._holder.get(self.attribute) is self.tensor
            and self.tensor.is_set_to(self.data)
            and (self.gradient is None or (gradient is not None and gradient.is_set_to(self.gradient)))
        )

    def put_back(self) -> None:
        self._holder[self.attribute] = self.tensor
        self.tensor.data = self.data
        if self.gradient is not None:
            self.tensor.grad = self.gradient

    @property
    def _holder(self) -> dict[str, Tensor | None]:
        module = self.module
        return module._parameters if isinstance(self.tensor, nn.Parameter) else module._buffers  # type: ignore[return-value]


class Binding:
    """Makes a model's tensors views of one buffer, and detects when they no longer are.

    A tensor that has left the buffer is trained, but its change is not in the update, and the next client starts from
    it. On CUDA recurrent layers leave it in ``flatten_parameters``, which therefore does nothing here.

    Attributes:
        parameters: The buffer with the names of the tensors.
        gradient: The buffer that the trainable parameters' gradients are views of.
    """

    def __init__(self, model: nn.Module, dtype: torch.dtype, device: torch.device) -> None:
        for module in model.modules():
            if isinstance(module, nn.RNNBase):
                module.flatten_parameters = _leave_in_buffer  # type: ignore[method-assign]
        self.parameters = bind(model, dtype, device)
        self.gradient = bind_gradients(model, self.parameters)
        self._places = list(_places(model, self.parameters.layout))

    def check(self) -> None:
        """Costs about 1 µs for each tensor, and does not wait for a device.

        Raises:
            TaskError: Names the first tensor that has left the buffer.
        """
        moved = next((place.name for place in self._places if place.travels and not place.is_kept), None)
        if moved is not None:
            raise TaskError(
                f"the model's tensor {moved!r} or its gradient was replaced during the forward pass or the loss, so "
                "that its training would be lost. Change tensors in place (copy_, add_), do not assign to them or to "
                ".data, and leave gradients to fedcore"
            )

    def restore(self) -> None:
        """Put back tensors that have left the buffer, and other buffers that were replaced."""
        for place in self._places:
            if not place.is_kept:
                place.put_back()


def _places(model: nn.Module, layout: Layout) -> Iterator[_Place]:
    for path, module in model.named_modules():
        for attribute, tensor in (*module._parameters.items(), *module._buffers.items()):
            if tensor is None or (isinstance(tensor, nn.Parameter) and not tensor.requires_grad):
                continue
            name = f"{path}.{attribute}" if path else attribute
            travels = isinstance(tensor, nn.Parameter) or name in layout.names
            yield _Place(name, module, attribute, tensor, tensor.data, tensor.grad, travels)


def _leave_in_buffer() -> None:
    """Replaces ``flatten_parameters``, which would move the weights of a recurrent layer to memory of cuDNN's."""
