"""Clipped sums of per-record gradients from one forward and one backward pass."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge, get_gradient_edge

from fedcore_clients.training.dp.ghost_rules import Rule
from fedcore_clients.training.dp.ghost_shares import Call, Share, Written


class NotCoveredError(Exception):
    """A layer was called in a way that its rule does not cover."""


class Contributions:
    """The per-record gradients of one batch, as shares of the layers' parameters; never materialised.

    Attributes:
        squared_norms: Of every record's gradient over all its parameters, float64, shape ``(n,)``.
    """

    def __init__(self, shares: Sequence[Share], offsets: Mapping[Tensor, int], zeros: Tensor) -> None:
        self._shares = shares
        self._offsets = offsets
        self.squared_norms: Tensor = sum((share.squared_norms() for share in shares), start=zeros)

    @torch.no_grad()
    def add_weighted_sum(self, factors: Tensor, out: Tensor) -> None:
        """Add the sum over records of factor times gradient.

        Guarantee:
            A record whose gradient is not finite, and whose factor is therefore 0, adds exactly zero.

        Args:
            factors: In [0, 1], float64, shape ``(n,)``.
            out: Flat over the trainable parameters, float64.
        """
        if not float(factors.min()) > 0.0:
            self._blank_broken()
        sums = {
            parameter: out[start : start + parameter.numel()].view(parameter.shape)
            for parameter, start in self._offsets.items()
        }
        for share in self._shares:
            share.add_weighted_sums(factors, sums)

    @torch.no_grad()
    def sums_of_groups(self, factors: Tensor, groups: int) -> Tensor:
        """As `add_weighted_sum` for groups of equally many records, one group after the other.

        Returns:
            Float64, shape ``(groups, parameters)``.
        """
        self._blank_broken()
        sums = {
            parameter: torch.zeros((groups, *parameter.shape), dtype=torch.float64, device=factors.device)
            for parameter in self._offsets
        }
        for share in self._shares:
            share.add_sums_of_groups(factors, sums)
        return torch.cat([each.view(groups, -1) for each in sums.values()], 1)

    def _blank_broken(self) -> None:
        """Blank records that are not finite, since zero times infinity is not zero."""
        broken = ~torch.isfinite(self.squared_norms)
        if broken.device.type == "cpu":
            broken = torch.nonzero(broken).squeeze(1)  # a device would be waited for, and is given the mask
        if len(broken):
            for share in self._shares:
                share.blank(broken)


def written_contributions(parameters: Sequence[Tensor], gradients: Sequence[Tensor]) -> Contributions:
    """Contributions of materialised gradients, of shape ``(n, *parameter shape)`` for each parameter."""
    shares = [Written(parameter, gradient) for parameter, gradient in zip(parameters, gradients, strict=True)]
    zeros = torch.zeros(len(gradients[0]), dtype=torch.float64, device=gradients[0].device)
    return Contributions(shares, _offsets(parameters), zeros)


def _offsets(parameters: Sequence[Tensor]) -> dict[Tensor, int]:
    """Where each parameter begins in the flat sum."""
    ends = itertools.accumulate(parameter.numel() for parameter in parameters)
    return dict(zip(parameters, (0, *ends), strict=False))


class GhostGradients:
    """Records the inputs of a model's layers, by the rules of `fedcore_clients.training.dp.ghost_rules`.

    The forward hooks cost nothing outside of `contributions`. One backward pass gives the gradients of the layers'
    outputs; those of the parameters are never computed by autograd.

    Args:
        trained: The trainable parameters, in the order of the sums.
        rules: Of each layer that has any.
    """

    def __init__(self, trained: Sequence[Tensor], rules: Mapping[nn.Module, Rule]) -> None:
        self._notes: list[_Note] | None = None
        self._offsets = _offsets(trained)
        self._rules = rules
        self._handles = [module.register_forward_hook(self._note) for module in self._rules]

    def contributions(self, losses: Callable[[], Tensor], size: int) -> Contributions:
        """Run `losses` and one backward pass of its sum.

        Args:
            losses: Gives one loss for each of the `size` records; runs the model.

        Raises:
            NotCoveredError: A layer was called in a way that its rule does not cover; the hooks are removed then.
        """
        try:
            calls, zeros = self._calls(losses, size)
        except NotCoveredError:
            self.detach()
            raise
        with torch.no_grad():
            shares = [share for module, made in calls.items() for share in self._rules[module](module, made)]
            return Contributions(shares, self._offsets, zeros)

    def detach(self) -> None:
        for handle in self._handles:
            handle.remove()

    def _calls(self, losses: Callable[[], Tensor], size: int) -> tuple[dict[nn.Module, list[Call]], Tensor]:
        """The calls of every layer, and a zero for each record."""
        notes: list[_Note] = []
        self._notes = notes
        try:
            loss = losses().sum()
        finally:
            self._notes = None
        if any(len(note.inputs) != size for note in notes):
            raise NotCoveredError("a layer's input has another number of rows than the batch")
        edges = [note.edge for note in notes]
        gradients = torch.autograd.grad(loss, edges, allow_unused=True) if edges else ()
        calls: dict[nn.Module, list[Call]] = {}
        for note, gradient in zip(notes, gradients, strict=True):
            if note.inputs._version != note.version:
                raise NotCoveredError("a layer's input was changed after the layer had read it")
            if gradient is not None:
                calls.setdefault(note.module, []).append(Call(note.inputs, gradient))
        return calls, torch.zeros(size, dtype=torch.float64, device=loss.device)

    def _note(self, module: nn.Module, args: tuple[object, ...], output: object) -> None:
        if self._notes is None:
            return
        if len(args) != 1 or not isinstance(args[0], Tensor) or not isinstance(output, Tensor):
            raise NotCoveredError("a layer was called with other than one tensor")
        if not output.requires_grad or args[0].ndim == 0 or output.ndim < _least_dimensions(module):
            raise NotCoveredError("a layer was called without gradients or without a batch")
        self._notes.append(_Note(module, args[0], get_gradient_edge(output)))


class _Note:
    """A layer's call in the forward pass."""

    __slots__ = ("edge", "inputs", "module", "version")

    def __init__(self, module: nn.Module, inputs: Tensor, edge: GradientEdge) -> None:
        self.module, self.inputs, self.edge = module, inputs.detach(), edge
        self.version = inputs._version


def _least_dimensions(module: nn.Module) -> int:
    return 4 if isinstance(module, nn.Conv2d) else 3 if isinstance(module, nn.Conv1d) else 2
