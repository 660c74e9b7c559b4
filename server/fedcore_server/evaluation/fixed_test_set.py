"""A fixed test set beside the clients' held-out rows: evaluated where the rounds are driven, never sent."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch

from fedcore.data.examples import Examples
from fedcore.errors import DataError, FedcoreError
from fedcore.metrics import Metrics
from fedcore.parameters import Parameters
from fedcore.plan import RunPlan
from fedcore.plan.stop_rule import ON_TEST_DATA
from fedcore.seeding import derive_seed
from fedcore.task import Task, check_task, load_examples
from fedcore.text.wording import counted

_Result = TypeVar("_Result")
_ROWS_AT_ONCE = 2048


class FixedTestSet:
    """The rows that ``task.test-data`` names, and a model to evaluate on them.

    Args:
        device: Where the model is evaluated.

    Raises:
        DataError: The file is not there, or holds rows that the task cannot take.
        TaskError: The task cannot load it.
    """

    def __init__(self, task: Task, plan: RunPlan, device: torch.device) -> None:
        self._task, dtype = task, getattr(torch, plan.training.precision)
        with torch.random.fork_rng(devices=[]):
            # Frozen parameters are not part of what is evaluated: they must be those of the clients.
            torch.default_generator.manual_seed(derive_seed(plan.federation.seed, "model"))
            self._model = task.build_model()
            rows = _loaded(task, plan.task.test_data or "")
            _naming_the_key(check_task, task, self._model, rows)
        self._model = self._model.to(dtype=dtype, device=device).eval()
        self._rows = rows.to(dtype=dtype, device=device)

    def __len__(self) -> int:
        return len(self._rows)

    def metrics(self, parameters: Parameters) -> dict[str, float]:
        """The task's metrics of a model, each with the prefix ``test_``; those that are not finite are left out."""
        parameters.copy_to(self._model)
        total = Metrics()
        with torch.no_grad():
            for start in range(0, len(self._rows), _ROWS_AT_ONCE):
                batch = self._rows.batch(slice(start, start + _ROWS_AT_ONCE))
                total += self._task.measure(self._model, batch)
        return _named(total.means())


def fixed_test_set_of(task: Task, plan: RunPlan, device: torch.device) -> FixedTestSet | None:
    """The plan's test set; ``None`` where it names none."""
    return FixedTestSet(task, plan, device) if plan.task.test_data else None


def check_apart(examples: Examples, task: Task, plan: RunPlan) -> None:
    """Refuse a test set whose rows are all among the clients' own: then `load_data` ignores its path.

    Under privacy none may be: what is measured on test data is exact, and may end the run.

    Raises:
        DataError: It is so.
    """
    if plan.task.test_data is None:
        return
    known = set(map(hash, examples.rows_as_bytes()))
    shared = [hash(row) in known for row in _loaded(task, plan.task.test_data).rows_as_bytes()]
    if plan.privacy.unit != "none" and any(shared):
        raise DataError(
            f"task.test-data: {counted(sum(shared), 'row')} of it among the clients' own, whose privacy exact metrics "
            "of it would not keep; leave them out"
        )
    if all(shared):
        raise DataError(
            "task.test-data: all of its rows are among the clients' own; expected other rows. If load_data ignores the "
            "path that it is given, let it read the file"
        )


def _loaded(task: Task, path: str) -> Examples:
    return _naming_the_key(load_examples, task, Path(path))


def _naming_the_key(function: Callable[..., _Result], *arguments: Any) -> _Result:
    try:
        return function(*arguments)
    except FedcoreError as error:
        raise type(error)(f"task.test-data: {error}") from error


def _named(means: Mapping[str, float]) -> dict[str, float]:
    return {ON_TEST_DATA + name: value for name, value in means.items() if math.isfinite(value)}
