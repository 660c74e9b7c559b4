"""What privacy costs each group: three arms, paired."""

import json

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from fedcore.cli import build_app
from fedcore.errors import PlanError
from fedcore_clients.training.dp.per_example import PerExampleGradients
from fedcore_simulations.privacy_cost.arms import Arm, Outcomes, train_arms
from fedcore_simulations.privacy_cost.costs import _lost, costs
from tests.builders import TinyTask, build_plan, build_private_plan

AUDIT = {"sensitive": ["sex"]}


def private(noise=0.5, clip=1.0, **sections):
    return build_private_plan(
        task={"name": "tests.builders:TinyTask", "options": {"rows": 600}},
        privacy={"noise_multiplier": noise, "clip_norm": clip, "sampling_rate": 1.0, "steps_per_round": 5},
        audit=AUDIT,
        federation={"rounds": 4, "clients": 2},
        **sections,
    )


def test_what_is_lost_in_all_is_what_clipping_and_noise_lose_together():
    found = costs(train_arms(private(), runs=2), "sex", confidence=0.95, min_cell=1)
    assert set(found) == {"accuracy", "selection_rate", "true_positive_rate", "false_positive_rate"}
    for metric in found.values():
        for group in metric.groups.values():
            parts = {name: measure.value for name, measure in group.parts.items()}
            assert parts["cost"] == pytest.approx(parts["clipping"] + parts["noise"], abs=1e-12)
            assert parts["cost"] == pytest.approx(group.rates[Arm.OPEN] - group.rates[Arm.PRIVATE], abs=1e-12)


def test_noise_that_drowns_the_model_is_told_as_the_part_of_noise():
    plan = private(noise=200.0, training={"learning_rate": 0.5})
    everybody = costs(train_arms(plan, runs=3), "sex", confidence=0.95, min_cell=1)["accuracy"]
    assert max(group.parts["noise"].value for group in everybody.groups.values()) > 0.15
    assert all(abs(group.parts["clipping"].value) < 0.1 for group in everybody.groups.values())


def test_a_clip_norm_that_stops_all_learning_is_told_as_the_part_of_clipping():
    found = train_arms(private(noise=1e-3, clip=1e-6), runs=1)
    assert set(found.clipped["sex"].values()) <= {1.0, None}
    group = costs(found, "sex", confidence=0.95, min_cell=1)["accuracy"].groups["male"]
    assert group.parts["clipping"].value > 0.15 > abs(group.parts["noise"].value)


def test_intervals_of_paired_losses_cover_as_they_say():
    generator, held, draws = np.random.default_rng(0), 0, 1500
    for _ in range(draws):
        both = generator.choice(4, p=[0.6, 0.1, 0.05, 0.25], size=(1, 120))
        measure = _lost(both <= 1, (both == 0) | (both == 2)).measure(0.95)
        held += measure.low <= 0.05 <= measure.high
    assert 0.93 <= held / draws <= 0.985


def test_runs_that_differ_widen_the_interval():
    same = np.ones((4, 100), dtype=bool)
    after = np.array([[True] * 100, [False] * 100] * 2)
    alike = np.tile(np.arange(100) < 50, (4, 1))
    wide, narrow = _lost(same, after).measure(0.95), _lost(same, alike).measure(0.95)
    assert wide.value == narrow.value == 0.5
    assert wide.high - wide.low > 2 * (narrow.high - narrow.low)


def test_small_groups_are_not_told():
    outcomes = Outcomes(
        groups={"sex": (("female", "male", "unknown"), np.array([0] * 3 + [1] * 40))},
        among={"accuracy": np.ones(43, dtype=bool)},
        hits={"accuracy": dict.fromkeys(Arm, np.ones((1, 43), dtype=bool))},
        clipped={"sex": {}},
    )
    assert set(costs(outcomes, "sex", confidence=0.95, min_cell=10)["accuracy"].groups) == {"male"}


def test_norms_are_those_of_one_record_at_a_time():
    task, model = TinyTask(), torch.nn.Linear(4, 2)
    batch = task.load_data(None).batch(slice(0, 6))
    expected = []
    for row in range(6):
        loss = task.loss(model, {name: column[row : row + 1] for name, column in batch.items()})
        flat = [each.flatten() for each in torch.autograd.grad(loss.sum(), list(model.parameters()))]
        expected.append(float(torch.cat(flat).norm()))
    found = PerExampleGradients(task, model, max_physical_batch=6).norms(batch)
    assert found.tolist() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ("plan", "words"),
    [
        (build_plan(audit=AUDIT), "promises nothing"),
        (build_private_plan(), "no groups to compare"),
    ],
)
def test_a_plan_without_privacy_or_groups_is_refused(plan, words):
    with pytest.raises(PlanError, match=words):
        train_arms(plan, runs=1)


def test_the_command_prints_a_table_or_json(tmp_path):
    (tmp_path / "plan.toml").write_text(private().to_toml())
    told = CliRunner().invoke(build_app(), ["audit", "privacy-cost", str(tmp_path / "plan.toml"), "--runs", "1"])
    assert told.exit_code == 0, told.output
    assert "clipping and noise" in told.output
    plain = CliRunner().invoke(
        build_app(), ["audit", "privacy-cost", str(tmp_path / "plan.toml"), "--runs", "1", "--json"]
    )
    found = json.loads(plain.stdout)
    assert found["attributes"]["sex"]["accuracy"]["groups"]["male"]["cost"].keys() == {"value", "low", "high", "n"}
