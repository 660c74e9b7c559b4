"""The steps of the subsampled Gaussian mechanism, on plain tensors.

Per-example gradients come from elsewhere (Opacus, in the clients); the private steps are here.
"""

from __future__ import annotations

import torch
from torch import Tensor

from fedcore.privacy.noise import Randomness
from fedcore.privacy.plan import NoisePrecision, PrivacyPlan

ROUNDING = 1e-4
"""By how much, through rounding, a contribution may be longer than the clip norm; the noise is larger by as much."""

_SLICE, _DEVICE_SLICE = 2**16, 2**24


def poisson_batch(num_examples: int, plan: PrivacyPlan, randomness: Randomness) -> Tensor:
    """Draw the rows of one step: each by itself with the plan's sampling rate.

    Returns:
        Row numbers, int64, of any length from 0 to `num_examples`. An empty batch is a batch: leaving out
        its step would reveal that it was empty.
    """
    if plan.sampling_rate == 1.0:
        return torch.arange(num_examples)
    return torch.nonzero(randomness.uniform(num_examples) < plan.sampling_rate).squeeze(1)


def clip_factors(squared_norms: Tensor, clip_norm: float) -> Tensor:
    """The factor that brings each record's gradient to Euclidean norm at most `clip_norm`.

    Guarantee:
        ``factor * norm <= clip_norm`` for every record, up to float64 rounding. A record whose norm is not
        finite gets factor 0: one broken record must not show by making the sum NaN.

    Args:
        squared_norms: Squared norms of per-record gradients, float64, shape ``(n,)``.

    Returns:
        Factors in [0, 1], float64, shape ``(n,)``.
    """
    norms = squared_norms.to(torch.float64).sqrt()
    # Over an infinite norm the factor is 0 by itself.
    return torch.nan_to_num_(clip_norm / norms.clamp_(min=clip_norm), nan=0.0)


def clipped_sum(gradients: list[Tensor], clip_norm: float) -> Tensor:
    """Sum per-record gradients, each clipped over all its parameters together.

    Guarantee:
        Removing any one record, or replacing it by zeros, moves the result by at most `clip_norm` in
        Euclidean norm.

    Args:
        gradients: One tensor of shape ``(n, *parameter shape)`` for each parameter.

    Returns:
        float64, flat, the parameters one after the other.
    """
    flat = [gradient.reshape(len(gradient), -1).to(torch.float64) for gradient in gradients]
    squared = torch.stack([gradient.square().sum(1) for gradient in flat]).sum(0)
    factors = clip_factors(squared, clip_norm)
    counted = factors > 0
    if not bool(counted.all()):
        flat = [torch.where(counted[:, None], gradient, torch.zeros_like(gradient)) for gradient in flat]
    return torch.cat([factors @ gradient for gradient in flat])


def release(clipped: Tensor, plan: PrivacyPlan, randomness: Randomness, *, out: Tensor | None = None) -> Tensor:
    """Add the plan's noise to a clipped sum, and divide by the plan's public constant.

    Guarantee:
        The one release of a step; see `PrivacyPlan`. An empty batch is released like any other. The noise is
        drawn in the plan's `noise_precision`, and added in the wider type of noise and sum. It is larger than the
        plan's by `ROUNDING`, so that a record may exceed the clip norm by as much.

    Args:
        clipped: The clipped sum, or zeros for an empty batch; shape ``(d,)``.
        out: Where to write the result, rounded to its type; shape ``(d,)``. New and float64 by default.

    Returns:
        `out`; by default float64 on the device of `clipped`.
    """
    released = torch.empty_like(clipped, dtype=torch.float64) if out is None else out
    dtype = torch.float64 if plan.noise_precision is NoisePrecision.FLOAT64 else torch.float32
    std = plan.noise_std * (1.0 + ROUNDING)
    # In slices, so that noise is added while it is still in the cache; on a device in few copies.
    step = _SLICE if clipped.device.type == "cpu" else _DEVICE_SLICE
    for result, part in zip(torch.split(released, step), torch.split(clipped, step), strict=True):
        noise = randomness.normal(len(part), dtype).to(part.device)
        result.copy_(torch.add(part, noise, alpha=std).div_(plan.nominal_batch))
    return released
