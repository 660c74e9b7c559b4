"""What varies in a sweep, and what is refused before anything runs."""

from __future__ import annotations

import shlex

import pytest

from fedcore.errors import PlanError
from fedcore_simulations.commands.options import plan_from_options
from fedcore_simulations.study.grid import Axis, Grid, separate


def grid(*vary: str, seeds: int = 1, settings: tuple[str, ...] = (), subject: str = "synthetic") -> Grid:
    return Grid(subject=subject, settings=settings, axes=tuple(map(Axis.of, vary)), seeds=seeds)


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("1,2,4", ["1", "2", "4"]),
        ('["int8"],["top-k:0.1","int8"]', ['["int8"]', '["top-k:0.1","int8"]']),
        ('"a,b.csv",c.csv', ['"a,b.csv"', "c.csv"]),
        ('{ name = "sgd", momentum = 0.9 },adam', ['{ name = "sgd", momentum = 0.9 }', "adam"]),
        ("trimmed-mean:0.2,median", ["trimmed-mean:0.2", "median"]),
        ("""'it]s',b""", ["'it]s'", "b"]),
    ],
)
def test_commas_inside_quotes_brackets_and_braces_separate_nothing(text: str, values: list[str]) -> None:
    assert separate(text) == values


def test_a_run_is_named_by_its_settings_and_has_them_in_its_plan() -> None:
    runs = grid("training.learning-rate=0.1,0.2", "federation.partition=iid,dirichlet:0.3", seeds=2).runs()

    assert [run.name for run in runs[:2]] == [
        "learning-rate=0.1,partition=iid,seed=0",
        "learning-rate=0.1,partition=dirichlet:0.3,seed=0",
    ]
    assert len(runs) == len({run.name for run in runs}) == 8
    last = runs[-1].plan
    assert (last.training.learning_rate, last.federation.partition, last.federation.seed) == (0.2, "dirichlet:0.3", 1)


def test_keys_that_end_alike_are_named_in_full() -> None:
    (first, *_) = grid(
        "training.learning-rate=0.1,0.2", "privacy.learning-rate=1,2", "algorithm.name=fedavg,scaffold"
    ).runs()

    assert first.name == "training.learning-rate=0.1,privacy.learning-rate=1,algorithm=fedavg,seed=0"


def test_values_that_no_file_is_named_by_still_give_each_run_a_directory_of_its_own() -> None:
    runs = grid('aggregation.encode=["int8"],["top-k:0.1","int8"]', 'task.data="a/b","a b"', seeds=2).runs()

    names = {run.name for run in runs}
    assert len(names) == 8
    assert not any(set(name) & set('/"[] ') for name in names)


def test_the_command_of_a_run_makes_its_plan_by_hand() -> None:
    made = grid('aggregation.encode=["int8"],["top-k:0.1","int8"]', seeds=2, settings=("federation.rounds=3",))

    for run in made.runs():
        *_, subject = made.command(run)[:3]
        settings = [part for part in made.command(run)[3:] if part != "--set"]
        assert plan_from_options(subject, {}, settings) == run.plan
    assert shlex.split(shlex.join(made.command(run))) == made.command(run)


@pytest.mark.parametrize(
    ("vary", "problem"),
    [
        (["privacy.epsilonn=1,2"], "did you mean 'epsilon'?"),
        (["federation.partition=iid,dirichlett:0.3"], "did you mean 'dirichlet'?"),
        (["federation.rounds=1,no"], "federation.rounds"),
        (["federation.rounds=1,1"], "twice"),
        (["federation.rounds=1,2", "federation.rounds=3"], "twice"),
        (["federation.rounds=1,,2"], "empty"),
        (["federation.rounds"], "expected section.key=value,value"),
        (["rounds=1,2"], "expected section.key=value,value"),
        (["task.name=digits,synthetic"], "different tasks"),
        (["privacy.epsilon=1,2", "privacy.noise-multiplier=1,2"], "expected one of"),
        (["federation.rounds=3"], "nothing varies"),
    ],
)
def test_a_grid_that_cannot_run_is_refused_with_the_reason(vary: list[str], problem: str) -> None:
    with pytest.raises(PlanError, match=problem.replace("?", r"\?")):
        grid(*vary).check()


def test_seeds_are_given_in_one_way() -> None:
    with pytest.raises(PlanError, match="leave one out"):
        grid("federation.seed=1,2", seeds=2).check()

    assert [run.plan.federation.seed for run in grid("federation.seed=3,5").runs()] == [3, 5]
    assert [run.plan.federation.seed for run in grid(seeds=2, settings=("federation.seed=7",)).runs()] == [7, 8]


def test_combinations_that_contradict_themselves_are_named() -> None:
    with pytest.raises(PlanError, match="clients=5,cohort-size=10"):
        grid("federation.clients=5,40", "federation.cohort-size=3,10").runs()
