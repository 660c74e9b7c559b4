"""The task keeps its contract, and a short federation learns something."""

from pathlib import Path

from my_task import MyTask

from fedcore import RunPlan
from fedcore.task import check_task, load_examples
from fedcore_simulations import simulate


def test_the_task_keeps_its_contract():
    task = MyTask()
    check_task(task, task.build_model(), load_examples(task, None))


def test_a_federation_learns_more_than_chance():
    plan = RunPlan.from_toml(Path(__file__).with_name("plan.toml"))
    assert simulate(MyTask(), plan).metrics["accuracy"] > 0.6
