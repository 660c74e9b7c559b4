"""Server optimizers: how the mean update moves the model.

Reddi et al. 2021, "Adaptive Federated Optimization", arXiv 2003.00295, algorithm 2. The mean update is a
step, so it is added, where an optimizer on a loss would subtract a gradient.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from fedcore.parameters import Parameters
from fedcore.plan import FederationSection
from fedcore.storage.large_vectors import scratch, slices

Moments = Mapping[str, Tensor]


def apply_update(
    parameters: Parameters, update: Parameters, moments: Moments, settings: FederationSection
) -> tuple[Parameters, Moments]:
    """Move `parameters` by the mean `update`.

    Args:
        update: Mean difference, float64.
        moments: The optimizer's buffers from the round before; empty at first.

    Returns:
        New parameters of the number type of `parameters`, and new moments in float64.
    """
    step, new_moments = _STEPS[settings.server_optimizer](update.buffer, moments, settings)
    moved = scratch(len(step), parameters.buffer.dtype)
    for new, old, move in slices(moved, parameters.buffer, step):
        new.copy_(old.to(torch.float64) + settings.server_learning_rate * move)
    return Parameters(moved, parameters.layout), new_moments


def _sgd(update: Tensor, moments: Moments, settings: FederationSection) -> tuple[Tensor, Moments]:
    """FedAvgM: ``m = momentum * m + update`` (Hsu et al. 2019, arXiv 1909.06335); momentum 0 is FedAvg."""
    if settings.server_momentum == 0.0:
        return update, {}
    momentum = settings.server_momentum * moments.get("momentum", torch.zeros_like(update)) + update
    return momentum, {"momentum": momentum}


def _adam(update: Tensor, moments: Moments, settings: FederationSection) -> tuple[Tensor, Moments]:
    """FedAdam: ``v = β₂ v + (1 - β₂) Δ²``."""
    decay = settings.server_betas[1]
    return _adaptive(update, moments, settings, lambda second: decay * second + (1 - decay) * update.square())


def _yogi(update: Tensor, moments: Moments, settings: FederationSection) -> tuple[Tensor, Moments]:
    """FedYogi: ``v = v - (1 - β₂) Δ² sign(v - Δ²)``."""
    decay, square = settings.server_betas[1], update.square()
    return _adaptive(update, moments, settings, lambda second: second - (1 - decay) * square * (second - square).sign())


def _adagrad(update: Tensor, moments: Moments, settings: FederationSection) -> tuple[Tensor, Moments]:
    """FedAdagrad: ``v = v + Δ²``, without a first moment."""
    return _adaptive(update, moments, settings, lambda second: second + update.square(), first_decay=0.0)


def _adaptive(
    update: Tensor,
    moments: Moments,
    settings: FederationSection,
    second_moment: Callable[[Tensor], Tensor],
    *,
    first_decay: float | None = None,
) -> tuple[Tensor, Moments]:
    """``m = β₁ m + (1 - β₁) Δ``; step ``m / (√v + τ)``; v starts at τ², as in the paper."""
    floor = settings.server_adaptivity
    decay = settings.server_betas[0] if first_decay is None else first_decay
    first = decay * moments.get("first", torch.zeros_like(update)) + (1 - decay) * update
    second = second_moment(moments.get("second", torch.full_like(update, floor**2)))
    return first / (second.sqrt() + floor), {"first": first, "second": second}


_STEPS: dict[str, Callable[[Tensor, Moments, FederationSection], tuple[Tensor, Moments]]] = {
    "sgd": _sgd,
    "adam": _adam,
    "yogi": _yogi,
    "adagrad": _adagrad,
}
