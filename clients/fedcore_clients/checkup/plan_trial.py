"""A plan that is checked before anybody asks for it: as a server would send it, with its task and its model."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING

from fedcore.errors import FedcoreError, PlanError, TaskError
from fedcore.plan import RunPlan
from fedcore_clients.policy.settings import Policy

if TYPE_CHECKING:
    from torch import nn

    from fedcore.task import Task

_NUMBER_BYTES = {"float32": 4, "float64": 8}


class PlanTrial:
    """A plan, and what is derived from it on demand.

    A plan comes from others, and building its task runs what it names: that is done only where the policy allows the
    task with its options.

    Args:
        policy: Reads the policy; ``None`` where this machine's own user wrote the plan.
    """

    def __init__(self, plan: RunPlan, policy: Callable[[], Policy] | None) -> None:
        self._plan, self._read_policy = plan, policy

    @cached_property
    def plan(self) -> RunPlan:
        """The plan with what a server fills in.

        Raises:
            PlanError: It leaves open what a server cannot know.
        """
        from fedcore.plan.resolve import resolve
        from fedcore.task_code import with_code
        from fedcore.tasks.registry import settled

        return resolve(with_code(settled(self._plan)) if self.may_be_built else self._plan)

    @property
    def data_set(self) -> str:
        return self._plan.task.data or self._plan.task.name

    @cached_property
    def may_be_built(self) -> bool:
        """Whether the policy allows building the task with the plan's options."""
        if self._read_policy is None:
            return True
        policy, task = self._read_policy(), self._plan.task
        options = policy.tasks.options.get(task.name, ())
        return task.name in policy.tasks.allowed and all(name in options for name in task.options)

    @cached_property
    def task(self) -> Task:
        """Raises FedcoreError: It cannot be built; ask `may_be_built` first."""
        from fedcore.tasks.registry import load_task

        if not self.may_be_built:
            raise PlanError("the policy does not allow the plan's task, so its code is not run")
        return load_task(self.plan)

    @cached_property
    def model(self) -> nn.Module:
        import torch

        task = self.task
        try:
            with torch.random.fork_rng(devices=[]):
                return task.build_model()
        except Exception as error:
            raise TaskError(f"build_model failed: {type(error).__name__}: {error}") from error

    @property
    def model_bytes(self) -> int:
        """Size of the model as it travels; of one number where the task may not be built."""
        import torch

        from fedcore.parameters import Parameters

        precision = self.plan.training.precision
        if not self.may_be_built:
            return _NUMBER_BYTES[precision]
        buffer = Parameters.from_model(self.model, getattr(torch, precision)).buffer
        return buffer.numel() * buffer.element_size()

    def model_bytes_if_known(self) -> int:
        """As `model_bytes`; 0 where the plan or its task is wrong, which other checks report."""
        try:
            return self.model_bytes
        except FedcoreError:
            return 0
