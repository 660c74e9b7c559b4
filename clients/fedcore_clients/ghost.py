"""Clipped sums of per-record gradients from one forward and one backward pass."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge, get_gradient_edge

from fedcore_clients.ghost_rules import Rule, rule_of
from fedcore_clients.ghost_shares import Call, Share


class NotCovered(Exception):
    """A layer was called in a way that its rule does not foresee."""


class Contributions:
    """The per-record gradients of one batch, as shares of the layers' parameters; never written down as a whole.

    Attributes:
        squared_norms: Of every record's gradient over all its parameters, float64, shape ``(n,)``.
    """

    def __init__(self, shares: Sequence[Share], offsets: dict[int, int], zeros: Tensor) -> None:
        self._shares = shares
        self._offsets = offsets
        self.squared_norms: Tensor = sum((share.squared_norms() for share in shares), start=zeros)

    def add_weighted_sum(self, factors: Tensor, total: Tensor) -> None:
        """Add every record's gradient times its factor to `total`.

        Guarantee:
            A record whose squared norm is not finite adds exactly zero, whatever its factor.

        Args:
            factors: float64, shape ``(n,)``.
            total: Flat over the trainable parameters, float64.
        """
        broken = torch.nonzero(~torch.isfinite(self.squared_norms)).squeeze(1)
        for share in self._shares:
            if len(broken):
                share.blank(broken)
            start, size = self._offsets[id(share.parameter)], share.parameter.numel()
            total[start : start + size].view(share.parameter.shape).add_(share.weighted_sum(factors))


class GhostGradients:
    """Notes what goes into the layers of a model that `fedcore_clients.ghost_rules.covers`.

    The forward hooks cost nothing outside of `contributions`. One backward pass gives the gradients of the
    layers' outputs; those of the parameters are never computed by autograd.
    """

    def __init__(self, model: nn.Module) -> None:
        self._rules: dict[nn.Module, Rule] = {}
        self._notes: list[_Note] | None = None
        self._offsets: dict[int, int] = {}
        end = 0
        for parameter in model.parameters():
            if parameter.requires_grad:
                self._offsets[id(parameter)] = end
                end += parameter.numel()
        for module in model.modules():
            if any(parameter.requires_grad for parameter in module.parameters(recurse=False)):
                rule = rule_of(module)
                if rule is None:
                    raise NotCovered(type(module).__name__)
                self._rules[module] = rule
        self._handles = [module.register_forward_hook(self._note) for module in self._rules]

    def contributions(self, losses: Callable[[], Tensor], size: int) -> Contributions:
        """Run `losses` and one backward pass of its sum.

        Args:
            losses: Gives one loss for each of the `size` records; runs the model.

        Raises:
            NotCovered: A layer was called in a way that its rule does not foresee; the hooks are gone then.
        """
        try:
            calls, zeros = self._calls(losses, size)
        except NotCovered:
            self.detach()
            raise
        with torch.no_grad():
            shares = [share for module, made in calls.items() for share in self._rules[module](module, made)]
            return Contributions(shares, self._offsets, zeros)

    def detach(self) -> None:
        """Take the hooks off the model."""
        for handle in self._handles:
            handle.remove()

    def _calls(self, losses: Callable[[], Tensor], size: int) -> tuple[dict[nn.Module, list[Call]], Tensor]:
        """The calls of every layer, and a zero for each record."""
        self._notes = notes = []
        try:
            loss = losses().sum()
        finally:
            self._notes = None
        if any(len(note.inputs) != size for note in notes):
            raise NotCovered("a layer's input has another number of rows than the batch")
        edges = [note.edge for note in notes]
        gradients = torch.autograd.grad(loss, edges, allow_unused=True) if edges else ()
        calls: dict[nn.Module, list[Call]] = {}
        for note, gradient in zip(notes, gradients, strict=True):
            if note.inputs._version != note.version:
                raise NotCovered("a layer's input was changed after the layer had read it")
            if gradient is not None:
                calls.setdefault(note.module, []).append(Call(note.inputs, gradient))
        return calls, torch.zeros(size, dtype=torch.float64, device=loss.device)

    def _note(self, module: nn.Module, args: tuple[object, ...], output: object) -> None:
        """Forward hook."""
        if self._notes is None:
            return
        if len(args) != 1 or not isinstance(args[0], Tensor) or not isinstance(output, Tensor):
            raise NotCovered("a layer was called with other than one tensor")
        if not output.requires_grad or args[0].ndim == 0 or output.ndim < _least_dimensions(module):
            raise NotCovered("a layer was called without gradients or without a batch")
        self._notes.append(_Note(module, args[0], get_gradient_edge(output)))


class _Note:
    """A layer's call as the forward pass saw it."""

    __slots__ = ("edge", "inputs", "module", "version")

    def __init__(self, module: nn.Module, inputs: Tensor, edge: GradientEdge) -> None:
        self.module, self.inputs, self.edge = module, inputs.detach(), edge
        self.version = inputs._version


def _least_dimensions(module: nn.Module) -> int:
    """How many dimensions the output of a layer has at least, where its input is a batch."""
    return {nn.Conv1d: 3, nn.Conv2d: 4}.get(type(module), 2)
