"""Layers that hold the weights of many clients, and apply to each row those of its client.

The rows of a batch are sorted by client, equally many for each: shape ``(k * n, …)``. So a task's own loss, which has
one value for each row, runs on the rows of many clients at once, and knows nothing of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from fedcore.errors import TaskError


class CohortLayer(nn.Module):
    """A layer with weights for each client.

    Attributes:
        weights: The layer's parameters by name; each of shape ``(k, …)``.
        leaves_gradients: Whether a backward pass computes the gradients of the weights.
    """

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self._settings(layer)
        self.leaves_gradients = True
        self.weights: dict[str, Tensor] = {}
        self.gradients: dict[str, Tensor] = {}

    def _settings(self, layer: Any) -> None:
        """Keep what the layer's forward pass needs besides its parameters."""

    def bind(self, weights: Mapping[str, Tensor], gradients: Mapping[str, Tensor]) -> None:
        """Use these weights, and leave their gradients in these tensors."""
        self.weights = {name: weight.detach().requires_grad_() for name, weight in weights.items()}
        self.gradients = dict(gradients)

    def finish_step(self, rate: float | None) -> None:
        """Leave the gradients of a backward pass, or take a step of plain descent with that learning rate."""
        for name, weight in self.weights.items():
            gradient, weight.grad = weight.grad, None
            if rate is None:
                self.gradients[name].zero_() if gradient is None else self.gradients[name].copy_(gradient)
            elif gradient is not None:
                weight.detach().sub_(gradient, alpha=rate)

    def _of_clients(self, rows: Tensor) -> Tensor:
        """Rows of shape ``(k * n, …)`` as ``(k, n, …)``."""
        clients = len(next(iter(self.weights.values())))
        return rows.view(clients, len(rows) // clients, *rows.shape[1:])

    def _for_rows(self, name: str, rows: Tensor) -> Tensor:
        """A parameter of shape ``(k, *shape)`` that broadcasts against rows of shape ``(k, n, …, *shape)``."""
        weight = self.weights[name]
        return weight.view(len(weight), *(1,) * (rows.dim() - weight.dim()), *weight.shape[1:])


class CohortLinear(CohortLayer):
    """``nn.Linear``; its gradients are written where they belong, without a copy."""

    def _settings(self, layer: nn.Linear) -> None:
        self._uses: list[tuple[Tensor, Tensor]] = []  # in a step: rows, and gradients of results

    def bind(self, weights: Mapping[str, Tensor], gradients: Mapping[str, Tensor]) -> None:
        self.weights, self.gradients = dict(weights), dict(gradients)
        # So that the backward pass comes here.
        self._anchor = self.weights["weight"].new_zeros(1).requires_grad_()

    def finish_step(self, rate: float | None) -> None:
        for number, (rows, gradient) in enumerate(self._uses):
            if rate is None:
                self._leave(rows, gradient, first=number == 0)
            else:
                self.weights["weight"].baddbmm_(gradient.transpose(1, 2), rows, alpha=-rate)
                if "bias" in self.weights:
                    self.weights["bias"].sub_(gradient.sum(1), alpha=rate)
        if not self._uses and rate is None:  # the loss does not depend on this layer
            for left in self.gradients.values():
                left.zero_()
        self._uses.clear()

    def _leave(self, rows: Tensor, gradient: Tensor, *, first: bool) -> None:
        own = {"weight": torch.bmm(gradient.transpose(1, 2), rows), "bias": gradient.sum(1)}
        for name, left in self.gradients.items():
            left.copy_(own[name]) if first else left.add_(own[name])

    def forward(self, rows: Tensor) -> Tensor:
        if torch.is_autocast_enabled(rows.device.type):
            raise TaskError("the model computes in mixed precision")
        result: Tensor = _Affine.apply(rows, self._anchor, self)  # type: ignore[no-untyped-call]
        return result

    def affine(self, rows: Tensor) -> Tensor:
        """Of rows of shape ``(k, m, inputs)``."""
        weight = self.weights["weight"].transpose(1, 2)
        if "bias" not in self.weights:
            return torch.bmm(rows, weight)
        return torch.baddbmm(self.weights["bias"].unsqueeze(1), rows, weight)

    def take_gradient(self, rows: Tensor, gradient: Tensor) -> None:
        """Note what a use of the layer contributes."""
        if self.leaves_gradients:
            self._uses.append((rows, gradient))


class _Affine(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, rows: Tensor, anchor: Tensor, layer: CohortLinear) -> Tensor:
        clients, inputs = len(layer.weights["weight"]), rows.shape[-1]
        context.layer, context.rows = layer, rows.reshape(clients, -1, inputs)
        return layer.affine(context.rows).view(*rows.shape[:-1], -1)

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor | None, None, None]:
        layer, rows = context.layer, context.rows
        own = gradient.reshape(len(rows), rows.shape[1], -1)
        before = None
        if context.needs_input_grad[0]:
            before = torch.bmm(own, layer.weights["weight"]).view(*gradient.shape[:-1], -1)
        layer.take_gradient(rows, own)
        return before, None, None


class CohortEmbedding(CohortLayer):
    """``nn.Embedding``; a token that it does not have raises, and on a device, where to look would wait, gives NaN."""

    def _settings(self, layer: nn.Embedding) -> None:
        self._padding = layer.padding_idx

    def forward(self, tokens: Tensor) -> Tensor:
        weight = self.weights["weight"]
        clients, words, _ = weight.shape
        starts = torch.arange(clients, device=tokens.device).mul_(words).view(clients, *(1,) * tokens.dim())
        known = self._known(tokens, words)
        places = (self._of_clients(known) + starts).view(tokens.shape)
        found = functional.embedding(places, weight.reshape(clients * words, -1))
        if known is not tokens:
            found = found.masked_fill((known != tokens).unsqueeze(-1), torch.nan)
        if self._padding is None:
            return found
        padded = (tokens == self._padding).unsqueeze(-1)
        return torch.where(padded, found.detach(), found)  # the padding's row is not trained

    @staticmethod
    def _known(tokens: Tensor, words: int) -> Tensor:
        """Tokens within the embedding: one outside of it would be a neighbour's."""
        if tokens.device.type != "cpu":
            return tokens.clamp(0, words - 1)
        if tokens.numel() and not 0 <= int(tokens.min()) <= int(tokens.max()) < words:
            raise IndexError(f"a token is outside of the {words} of the embedding")
        return tokens


class CohortLayerNorm(CohortLayer):
    def _settings(self, layer: nn.LayerNorm) -> None:
        self._shape, self._eps = layer.normalized_shape, layer.eps

    def forward(self, rows: Tensor) -> Tensor:
        normal = self._of_clients(functional.layer_norm(rows, self._shape, eps=self._eps))
        scaled = normal * self._for_rows("weight", normal)
        return (scaled + self._for_rows("bias", normal) if "bias" in self.weights else scaled).view(rows.shape)


class CohortGroupNorm(CohortLayer):
    def _settings(self, layer: nn.GroupNorm) -> None:
        self._groups, self._eps = layer.num_groups, layer.eps

    def forward(self, rows: Tensor) -> Tensor:
        normal = self._of_clients(functional.group_norm(rows, self._groups, eps=self._eps))
        shape = (len(normal), 1, rows.shape[1], *(1,) * (rows.dim() - 2))
        return (normal * self.weights["weight"].view(shape) + self.weights["bias"].view(shape)).view(rows.shape)


class CohortConvolution(CohortLayer):
    """``nn.Conv1d`` and ``nn.Conv2d``: on a device one grouped convolution, which starts few kernels.

    On the CPU a grouped convolution is slower than one client after the other.
    """

    def _settings(self, layer: nn.Conv1d | nn.Conv2d) -> None:
        self._options = (layer.stride, layer.padding, layer.dilation, layer.groups)
        self._convolve: Any = functional.conv1d if isinstance(layer, nn.Conv1d) else functional.conv2d

    def forward(self, rows: Tensor) -> Tensor:
        if rows.device.type != "cpu":
            return self._grouped(rows)
        if rows.dim() == 4:  # pooling and convolution are faster where the channels of a pixel lie together
            rows = rows.contiguous(memory_format=torch.channels_last)
        weights = self.weights["weight"]
        clients = zip(rows.chunk(len(weights)), weights, self.weights.get("bias", [None] * len(weights)), strict=True)
        return torch.cat([self._convolve(own, weight, bias, *self._options) for own, weight, bias in clients])

    def _grouped(self, rows: Tensor) -> Tensor:
        """The clients' channels side by side: row n of every client becomes one row."""
        own, weight = self._of_clients(rows), self.weights["weight"]
        clients, *options, groups = len(own), *self._options
        bias = self.weights["bias"].flatten() if "bias" in self.weights else None
        side_by_side = own.transpose(0, 1).flatten(1, 2)
        found: Tensor = self._convolve(side_by_side, weight.flatten(0, 1), bias, *options, groups * clients)
        return found.view(len(found), clients, -1, *found.shape[2:]).transpose(0, 1).flatten(0, 1)


COHORT_LAYERS: Mapping[type[nn.Module], type[CohortLayer]] = {
    nn.Linear: CohortLinear,
    nn.Embedding: CohortEmbedding,
    nn.LayerNorm: CohortLayerNorm,
    nn.GroupNorm: CohortGroupNorm,
    nn.Conv1d: CohortConvolution,
    nn.Conv2d: CohortConvolution,
}
"""What takes a layer's place. A subclass may do anything in its forward pass, and is not listed."""


def why_not(name: str, layer: nn.Module) -> str | None:
    """Why a layer cannot be run on the rows of many clients; ``None`` where it can."""
    kind = type(layer).__name__
    where = f"layer {name!r} ({kind})" if name else f"the model ({kind})"
    if isinstance(layer, nn.modules.dropout._DropoutNd | nn.RReLU) and getattr(layer, "p", 1.0) > 0:
        return f"{where} draws random numbers, which each client has of its own"
    if isinstance(layer, nn.modules.batchnorm._NormBase):
        return f"{where} looks at all rows of a batch"
    if layer._forward_hooks or layer._forward_pre_hooks or layer._backward_hooks:
        return f"{where} has hooks"
    if any(own.requires_grad for own in layer._parameters.values() if own is not None) and not _known(layer):
        return f"{where} has parameters, and is none of {', '.join(sorted(each.__name__ for each in COHORT_LAYERS))}"
    return None


def _known(layer: nn.Module) -> bool:
    if isinstance(layer, nn.Embedding) and (layer.max_norm is not None or layer.scale_grad_by_freq or layer.sparse):
        return False
    if isinstance(layer, nn.Conv1d | nn.Conv2d) and layer.padding_mode != "zeros":
        return False
    return type(layer) in COHORT_LAYERS and all(own is None or own.requires_grad for own in layer._parameters.values())
