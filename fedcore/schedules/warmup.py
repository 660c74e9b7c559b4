"""A rising start before another schedule: Goyal et al. 2017, arXiv 1706.02677, section 2.2."""

from __future__ import annotations

from typing import Any

from fedcore.schedules.contract import Schedule, check_rounds
from fedcore.schedules.registry import schedule_of


class Warmup(Schedule):
    """A straight line to the planned rate over some rounds, and then another schedule over the rounds that remain.

    As ``SequentialLR`` of ``LinearLR``, from 1 / (rounds + 1) of the rate, and the other, all of
    ``torch.optim.lr_scheduler``.
    """

    def __init__(self, rounds: int, then: str | dict[str, Any] = "constant") -> None:
        self.rounds, self.then = check_rounds("rounds", rounds), schedule_of(then)
        if isinstance(self.then, Warmup):
            raise ValueError("expected a schedule that does not warm up itself after a warmup")  # noqa: TRY004
        self.needs_rounds = self.then.needs_rounds

    def factor(self, step: int, steps: int) -> float:
        if step < self.rounds:
            return (step + 1) / (self.rounds + 1)
        return self.then.factor(step - self.rounds, steps - self.rounds)
