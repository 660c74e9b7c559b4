"""Schedules that do not depend on how many rounds are planned."""

from __future__ import annotations

from fedcore.schedules.contract import Schedule, check_rounds, check_share


class Constant(Schedule):
    """The planned rate in every round."""

    def factor(self, step: int, steps: int) -> float:
        return 1.0


class Step(Schedule):
    """The rate times `gamma` after every `every` rounds, as ``torch.optim.lr_scheduler.StepLR``."""

    def __init__(self, every: int, gamma: float = 0.1) -> None:
        self.every, self.gamma = check_rounds("every", every), check_share("gamma", gamma)

    def factor(self, step: int, steps: int) -> float:
        return self.gamma ** (step // self.every)


class Exponential(Schedule):
    """The rate times `gamma` after every round, as ``torch.optim.lr_scheduler.ExponentialLR``."""

    def __init__(self, gamma: float) -> None:
        self.gamma = check_share("gamma", gamma)

    def factor(self, step: int, steps: int) -> float:
        return self.gamma**step
