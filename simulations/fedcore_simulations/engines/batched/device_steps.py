"""A round's steps on a device, without a copy for each."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch

from fedcore_simulations.engines.batched.cohort_rows import Step


def steps_on(device: torch.device, steps: Iterable[Step]) -> Iterator[Step]:
    """The steps with their rows and weights on a device: in one copy, which no step waits for."""
    if device.type == "cpu":
        yield from steps
        return
    held = list(steps)
    rows = [step.rows.flatten() for step in held]
    weights = [step.weights.to(torch.float64).flatten().view(torch.int64) for step in held]
    sizes = [len(each) for each in rows]
    there = torch.cat([*rows, *weights]).to(device)
    own = torch.split(there[: sum(sizes)], sizes)
    shares = torch.split(there[sum(sizes) :].view(torch.float64), sizes)
    for step, places, share in zip(held, own, shares, strict=True):
        weight = share.to(step.weights.dtype).view(step.rows.shape)
        yield Step(rows=places.view(step.rows.shape), weights=weight, real=None if step.real is None else weight > 0)
