"""The optimizer of local training."""

from __future__ import annotations

from typing import Any

import torch

from fedcore.errors import PlanError
from fedcore.plan import RunPlan
from fedcore.schedules.learning_rate import learning_rate
from fedcore.text.toml_problems import nearest


def build_optimizer(plan: RunPlan, parameters: list[torch.nn.Parameter], *, round: int) -> torch.optim.Optimizer:
    """A new optimizer from ``torch.optim`` as planned: clients keep no optimizer state between rounds.

    Raises:
        PlanError: The optimizer is unknown or does not take the options.
    """
    training = plan.training
    kind = getattr(torch.optim, training.optimizer, None)
    if not (isinstance(kind, type) and issubclass(kind, torch.optim.Optimizer) and kind is not torch.optim.Optimizer):
        near = nearest(training.optimizer, (name for name in dir(torch.optim) if name[0].isupper()))
        hint = f"; did you mean {near!r}?" if near else ""
        raise PlanError(f"training.optimizer: torch.optim has no optimizer {training.optimizer!r}{hint}")
    if kind is torch.optim.LBFGS:
        raise PlanError("training.optimizer: LBFGS evaluates the loss many times a step, which a round does not allow")
    options: dict[str, Any] = {"lr": learning_rate(plan, round), **training.optimizer_options}
    try:
        return kind(parameters, **options)
    except (TypeError, ValueError) as error:
        raise PlanError(f"training.optimizer-options: {training.optimizer} refuses them: {error}") from error
