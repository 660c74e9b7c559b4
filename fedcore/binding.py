"""A model whose tensors are views of one buffer, and the check that they still are."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fedcore.errors import TaskError
from fedcore.parameters import bind, bind_gradients


@dataclass(frozen=True, slots=True)
class _Trained:
    """A trainable parameter, and where it and its gradient must be."""

    name: str
    parameter: nn.Parameter
    data: Tensor
    gradient: Tensor

    @property
    def is_bound(self) -> bool:
        """Whether both are there."""
        gradient = self.parameter.grad
        return gradient is not None and gradient.is_set_to(self.gradient) and self.parameter.is_set_to(self.data)


class Binding:
    """Makes a model's tensors views of one buffer, and notices when they are not any more.

    A tensor that has left the buffer is trained, but its change is not in the update; and the next client starts from
    it. Recurrent layers do so on CUDA where ``flatten_parameters`` is called, which therefore does nothing here.

    Attributes:
        parameters: The buffer with the names of the tensors.
        gradient: The buffer that the trainable parameters' gradients are views of.
    """

    def __init__(self, model: nn.Module, dtype: torch.dtype, device: torch.device) -> None:
        for module in model.modules():
            if isinstance(module, nn.RNNBase):
                module.flatten_parameters = _leave_in_buffer  # type: ignore[method-assign]
        self._model = model
        self.parameters = bind(model, dtype, device)
        self.gradient = bind_gradients(model, self.parameters)
        self._trained = [
            _Trained(name, parameter, parameter.data, parameter.grad)
            for name, parameter in model.named_parameters()
            if parameter.requires_grad and parameter.grad is not None
        ]

    def check_step(self) -> None:
        """Refuse parameters or gradients that have left the buffer. Costs under 1 µs each, and does not wait.

        Raises:
            TaskError: Names the first one.
        """
        for each in self._trained:
            if not each.is_bound:
                raise _moved(each.name)

    def check(self) -> None:
        """Refuse any tensor that has left the buffer, replaced parameters and buffers included.

        Raises:
            TaskError: Names the first one.
        """
        name = next(self._moved(), None)
        if name is not None:
            raise _moved(name)

    def restore(self) -> None:
        """Bring parameters back that were moved out of the buffer; their values are the buffer's then.

        Raises:
            TaskError: A parameter or buffer was replaced by another object.
        """
        if next(self._moved(), None) is None:
            return
        for each in self._trained:
            each.parameter.data, each.parameter.grad = each.data, each.gradient
        self.check()

    def _moved(self) -> Iterator[str]:
        """Names of tensors that are not where they must be."""
        tensors: dict[str, Tensor] = dict(self._model.named_parameters()) | dict(self._model.named_buffers())
        for each in self._trained:
            gradient = each.parameter.grad
            if (
                tensors.get(each.name) is not each.parameter
                or gradient is None
                or not gradient.is_set_to(each.gradient)
            ):
                yield each.name
        for name, view in self.parameters:
            if name not in tensors or not tensors[name].is_set_to(view):
                yield name


def _leave_in_buffer() -> None:
    """Stands for ``flatten_parameters``, which would move the weights of a recurrent layer to memory of cuDNN's."""


def _moved(name: str) -> TaskError:
    return TaskError(
        f"the model's tensor {name!r} or its gradient was replaced during the forward pass or the loss, so that its "
        "training would be lost. Change tensors in place (copy_, add_), do not assign to them or to .data, and leave "
        "gradients to fedcore"
    )
