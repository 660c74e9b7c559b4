"""What a client has to do and to transfer in a round, counted and not measured: the same on every machine."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from fedcore.data.examples import Examples
from fedcore.data.held_out import size_is_secret
from fedcore.method.exchange import Exchange, vector_of
from fedcore.plan import RunPlan
from fedcore.task import Task

_ROWS = 8
_PER_WEIGHT = 6.0
"""A dense layer's operations for each weight: a product and a sum forward, twice as many backward."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """A round's work of every client.

    Attributes:
        flops: Floating-point operations of each client, in the clients' order.
        bytes_down: Of the request.
        bytes_up: Of the reply, encoded.
    """

    flops: Sequence[float]
    bytes_down: int
    bytes_up: int

    @classmethod
    def of(cls, plan: RunPlan, training_sizes: Sequence[int], buffer: torch.Tensor) -> Workload:
        """The work under a plan that has ``flops-per-example``.

        Args:
            training_sizes: Training rows of each client.
            buffer: The model.
        """
        exchange, vector = Exchange.of(plan), vector_of(buffer)
        each = plan.devices.flops_per_example or 0.0
        return cls(
            flops=[each * _rows_trained(plan, rows) for rows in training_sizes],
            bytes_down=exchange.request_form(vector).num_bytes,
            bytes_up=exchange.codec(vector).form.num_bytes,
        )


def _rows_trained(plan: RunPlan, rows: int) -> float:
    """Rows that a client trains on in a round, each as often as it does; where their number is secret, a public one."""
    privacy = plan.privacy
    if privacy.unit == "none":
        return float(rows * plan.training.local_epochs)
    batch = (privacy.nominal_batch or 0.0) if size_is_secret(plan) else privacy.sampling_rate * rows
    return privacy.steps_per_round * batch


def with_flops(plan: RunPlan, task: Task, model: nn.Module, examples: Examples) -> RunPlan:
    """The plan with what a row costs in training, where it has devices and does not say it."""
    if not plan.devices.kinds or plan.devices.flops_per_example is not None:
        return plan
    return plan.updated(devices={"flops-per-example": _flops_per_example(task, model, examples)})


def _flops_per_example(task: Task, model: nn.Module, examples: Examples) -> float:
    """Of matrix products and convolutions, in a few rows; where there are none, as if all weights were of dense layers.

    The number depends on the shapes of the rows, not on their values.
    """
    tried, few = copy.deepcopy(model).train(), min(_ROWS, len(examples))
    with torch.random.fork_rng(devices=[]), FlopCounterMode(display=False) as counter:
        task.loss(tried, examples.batch(torch.arange(few))).mean().backward()  # type: ignore[no-untyped-call]
    weights = sum(each.numel() for each in model.parameters() if each.requires_grad)
    return counter.get_total_flops() / few or _PER_WEIGHT * weights
