"""The tests that every task must pass; subclass `TaskContract` in a test module of your own.

::

    from fedcore.testing.task import TaskContract

    class TestMyTask(TaskContract):
        def make_task(self):
            return MyTask()
"""

from __future__ import annotations

import torch

from fedcore.parameters import Parameters
from fedcore.task import Task, check_task, load_examples


class TaskContract:
    """Set `make_task`; its data must load without a path."""

    def make_task(self) -> Task:
        """A new task."""
        raise NotImplementedError

    def test_it_keeps_every_part_of_the_contract(self) -> None:
        task = self.make_task()
        assert isinstance(task, Task)
        check_task(task, task.build_model(), load_examples(task, None))

    def test_two_models_from_one_seed_are_equal(self) -> None:
        models = []
        for _ in range(2):
            torch.manual_seed(0)
            models.append(Parameters.from_model(self.make_task().build_model()).buffer)
        assert torch.equal(*models)

    def test_the_loss_of_a_row_does_not_depend_on_the_others(self) -> None:
        task = self.make_task()
        model, examples = task.build_model().eval(), load_examples(task, None)
        together = task.loss(model, examples.batch(slice(0, 4)))
        alone = torch.cat([task.loss(model, examples.batch(slice(row, row + 1))) for row in range(4)])
        assert torch.allclose(together, alone, atol=1e-5)

    def test_measures_of_parts_add_up_to_the_measure_of_the_whole(self) -> None:
        task = self.make_task()
        model, examples = task.build_model().eval(), load_examples(task, None)
        with torch.no_grad():
            whole = task.measure(model, examples.batch(slice(0, 20)))
            parts = task.measure(model, examples.batch(slice(0, 7))) + task.measure(model, examples.batch(slice(7, 20)))
        assert whole.counts == parts.counts
        for name, mean in whole.means().items():
            assert abs(mean - parts.means()[name]) < 1e-4 * max(1.0, abs(mean))
