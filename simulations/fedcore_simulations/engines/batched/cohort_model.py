"""One model for many clients."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Mapping
from itertools import accumulate

import torch
from torch import Tensor, nn

from fedcore_clients.training.local_model import LocalModel
from fedcore_simulations.engines.batched.layers import COHORT_LAYERS, CohortLayer, why_not

Places = dict[str, tuple[int, tuple[int, ...]]]
"""Of a layer's parameters: where each begins in a client's vector, and its shape."""


class CohortModel:
    """A copy of a model that applies to each row the weights of its client.

    Args:
        size: Clients at most.
        descends: Whether `backward` takes a step of plain gradient descent, and leaves no gradient. Then a layer's
            weights lie together, since a batched product writes several times faster so.

    Attributes:
        weights: A row for each client; shape ``(size, d)``.
        gradient: Shape ``(size, t)``, for the trainable parameters.
        layers: Those that hold weights of clients, and the layers whose places they have taken.
        trained: The trainable parameters of the latter, in their order.
        active: Clients that are trained.
    """

    def __init__(self, local: LocalModel, size: int, *, descends: bool) -> None:
        layout = local.parameters.layout
        self.weights = torch.empty(size, layout.size, dtype=local.dtype, device=local.device)
        self.gradient = torch.zeros(size, layout.num_trained, dtype=local.dtype, device=local.device)
        original = copy.deepcopy(local.model)
        ends = [*accumulate((math.prod(shape) for shape in layout.shapes), initial=0)]
        places = {name: (start, shape) for name, start, shape in zip(layout.names, ends, layout.shapes, strict=False)}
        by_identity = {id(each): places[name] for name, each in original.named_parameters() if name in places}
        self.trained = [parameter for parameter in original.parameters() if parameter.requires_grad]
        self.layers: list[tuple[CohortLayer, nn.Module]] = []
        self._layers: list[tuple[CohortLayer, Places]] = []
        self._made: dict[int, nn.Module] = {}
        self.model = self._replaced(original, by_identity).train()
        self._buffers = [(places[name], each) for name, each in self.model.named_buffers() if name in places]
        self.active = 0
        self._apart = [_copies(self.weights, places) for _, places in self._layers] if descends else []
        self._covers = sum(each.numel() for own in self._apart for each in own.values()) == self.weights.numel()

    @staticmethod
    def refusal(model: nn.Module) -> str | None:
        return next(filter(None, (why_not(name, layer) for name, layer in model.named_modules())), None)

    def receive(self, vector: Tensor, clients: int) -> None:
        """Start that many clients from a received model."""
        if not self._covers:  # else `finish` writes them all
            self.weights[:clients] = vector
        for (_, places), own in zip(self._layers, self._apart, strict=False):
            for name, part in _views(vector.unsqueeze(0), places):
                own[name][:clients] = part
        for (start, shape), buffer in self._buffers:
            buffer.copy_(vector[start : start + buffer.numel()].view(shape))
        self.activate(clients)

    def activate(self, clients: int) -> None:
        """Keep the first clients only."""
        if clients == self.active:
            return
        self.active = clients
        for number, (layer, places) in enumerate(self._layers):
            weights = dict(_views(self.weights[:clients], places))
            if self._apart:
                weights = {name: own[:clients] for name, own in self._apart[number].items()}
            layer.bind(weights, dict(_views(self.gradient[:clients], places)))

    def finish(self, clients: int) -> None:
        """Leave the weights of the first clients in `weights`."""
        for (_, places), own in zip(self._layers, self._apart, strict=False):
            for name, rows in _views(self.weights[:clients], places):
                rows.copy_(own[name][:clients])

    def backward(self, losses: Tensor, weights: Tensor, rate: float) -> None:
        """Leave the gradient of the weighted sum of losses in `gradient`, or descend it with this learning rate.

        Args:
            losses: Shape ``(k * n,)``, as `weights`.
        """
        losses.backward(weights)  # type: ignore[no-untyped-call]
        with torch.no_grad():
            for layer, _ in self._layers:
                layer.finish_step(rate if self._apart else None)

    def _replaced(self, module: nn.Module, places: Mapping[int, tuple[int, tuple[int, ...]]]) -> nn.Module:
        if id(module) in self._made:
            return self._made[id(module)]
        own = {name: places[id(each)] for name, each in module._parameters.items() if id(each) in places}
        self._made[id(module)] = module
        if own:
            layer = self._made[id(module)] = COHORT_LAYERS[type(module)](module)
            self._layers.append((layer, own))
            self.layers.append((layer, module))
            return layer
        for name, child in module._modules.items():
            if child is not None:
                module._modules[name] = self._replaced(child, places)
        return module


def _copies(rows: Tensor, places: Places) -> dict[str, Tensor]:
    return {name: view.clone(memory_format=torch.contiguous_format) for name, view in _views(rows, places)}


def _views(rows: Tensor, places: Mapping[str, tuple[int, tuple[int, ...]]]) -> Iterator[tuple[str, Tensor]]:
    for name, (start, shape) in places.items():
        yield name, rows[:, start : start + math.prod(shape)].view(len(rows), *shape)
