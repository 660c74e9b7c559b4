"""The learning rate of each round, against torch's schedulers and from one end of the project to the other."""

import pytest
import torch
from torch.optim import lr_scheduler

from fedcore.errors import PlanError, RefusedError
from fedcore.local_optimizer import build_optimizer
from fedcore.schedules.learning_rate import learning_rate
from fedcore.schedules.registry import SCHEDULES, schedule_of
from fedcore_simulations import simulate
from tests.builders import TinyTask, build_local, build_plan
from tests.clients.policy import builders as policies
from tests.flower.driving import through_flower
from tests.models import plain

ROUNDS = 12
TORCH = {
    "constant": lambda optimizer: lr_scheduler.ConstantLR(optimizer, factor=1.0),
    "cosine": lambda optimizer: lr_scheduler.CosineAnnealingLR(optimizer, T_max=ROUNDS),
    "cosine:0.1": lambda optimizer: lr_scheduler.CosineAnnealingLR(optimizer, T_max=ROUNDS, eta_min=0.1 * 0.4),
    "polynomial": lambda optimizer: lr_scheduler.PolynomialLR(optimizer, total_iters=ROUNDS),
    "polynomial:2": lambda optimizer: lr_scheduler.PolynomialLR(optimizer, total_iters=ROUNDS, power=2.0),
    "step:5": lambda optimizer: lr_scheduler.StepLR(optimizer, 5),
    "step:3:0.5": lambda optimizer: lr_scheduler.StepLR(optimizer, 3, gamma=0.5),
    "exponential:0.9": lambda optimizer: lr_scheduler.ExponentialLR(optimizer, 0.9),
    "warmup:4": lambda optimizer: lr_scheduler.LinearLR(optimizer, start_factor=1 / 5, total_iters=4),
    "warmup:4:cosine": lambda optimizer: lr_scheduler.SequentialLR(
        optimizer,
        [
            lr_scheduler.LinearLR(optimizer, start_factor=1 / 5, total_iters=4),
            lr_scheduler.CosineAnnealingLR(optimizer, T_max=ROUNDS - 4),
        ],
        milestones=[4],
    ),
}


def plan_with(schedule, **sections):
    training = {"learning_rate": 0.4, "schedule": schedule, **sections.pop("training", {})}
    federation = {"rounds": ROUNDS, **sections.pop("federation", {})}
    return build_plan(training=training, federation=federation, **sections)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("schedule", TORCH)
def test_every_round_has_the_rate_of_torchs_own_scheduler(schedule):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.4)
    reference, expected = TORCH[schedule](optimizer), []
    for _ in range(ROUNDS):
        expected.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        reference.step()
    plan = plan_with(schedule)
    assert [learning_rate(plan, round) for round in range(1, ROUNDS + 1)] == pytest.approx(expected, rel=1e-12)


def test_every_registered_schedule_is_compared_with_torch():
    assert {name.partition(":")[0] for name in TORCH} == set(SCHEDULES.rows)


def test_a_table_says_the_same_as_the_text():
    assert schedule_of("step:3:0.5").factor(7, 9) == schedule_of({"name": "step", "every": 3, "gamma": 0.5}).factor(
        7, 9
    )


def test_without_a_schedule_the_rate_is_exactly_the_plans():
    assert {learning_rate(build_plan(), round) for round in range(4)} == {0.1}


def test_under_privacy_the_schedule_multiplies_the_rate_of_the_privacy_section():
    privacy = {"unit": "record", "noise_multiplier": 1.0, "nominal_batch": 8.0, "learning_rate": 2.0}
    plan = plan_with("step:1:0.5", privacy=privacy)
    assert [learning_rate(plan, round) for round in (1, 2, 3)] == [2.0, 1.0, 0.5]
    optimizer = build_optimizer(plan, [torch.nn.Parameter(torch.zeros(1))], round=3)
    assert optimizer.param_groups[0]["lr"] == 0.5


METHODS = {
    "plain SGD": {},
    "momentum": {"training": {"optimizer_options": {"momentum": 0.9}}},
    "FedProx": {"algorithm": {"name": "fedprox:0.5"}},
    "SCAFFOLD": {"algorithm": {"name": "scaffold"}},
    "q-FedAvg": {"algorithm": {"name": "q-fedavg:1"}},
}


def trained(engine, schedule, **sections):
    training = {"precision": "float64", "batch_size": 7, "local_epochs": 2, **sections.pop("training", {})}
    plan = plan_with(schedule, training=training, engine={"name": engine}, federation={"rounds": 4}, **sections)
    result = simulate(TinyTask(model=plain), plan)
    return torch.cat([tensor.flatten() for tensor in result.model.state_dict().values()])


@pytest.mark.parametrize("method", METHODS)
def test_both_engines_follow_the_schedule(method):
    loop = trained("loop", "step:2:0.25", **METHODS[method])
    assert torch.allclose(trained("batched", "step:2:0.25", **METHODS[method]), loop, rtol=0.0, atol=1e-12)
    assert not torch.allclose(trained("loop", None, **METHODS[method]), loop, atol=1e-3)


def test_a_deployment_follows_the_schedule():
    plan = plan_with("warmup:1:cosine", task={"name": "tests.builders:TinyTask"}, federation={"rounds": 3})
    simulated, (deployed, rounds) = simulate(TinyTask(), plan), through_flower(plan)
    ours = torch.cat([tensor.flatten() for tensor in simulated.model.state_dict().values()])
    assert torch.equal(ours, deployed.state.released.buffer)
    assert [line["learning_rate"] for line in rounds] == pytest.approx([0.2, 0.4, 0.2])
    assert [line["learning_rate"] for line in simulated.rounds] == [line["learning_rate"] for line in rounds]


def test_a_client_learns_the_round_from_the_request():
    plan = plan_with("step:1:0.5")
    assert build_optimizer(plan, build_local(plan).trained, round=2).param_groups[0]["lr"] == 0.2


def test_a_clients_policy_bounds_every_rate_of_a_schedule():
    plan = policies.build_plan(training={"schedule": "exponential:0.1"})
    policy = policies.build_policy(training={"learning-rate": [0.001, 10.0]})
    with pytest.raises(RefusedError, match=r"training\.learning-rate allows 0\.001 to 10"):
        policies.check(policies.build_request(plan), policy)


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("cosin", "did you mean 'cosine'?"),
        ("my_schedules:Mine", "unknown schedule: 'my_schedules'"),
        ("", "known are constant, cosine"),
        ("step", "missing a required argument: 'every'; its options are: every, gamma"),
        ("step:ten", "every: expected a number, found 'ten'"),
        ("step:0", "every: expected a whole number of rounds, 1 or more, found 0"),
        ("step:2.5", "every: expected a whole number of rounds, 1 or more, found 2.5"),
        ("step:10:1.5", "gamma: expected a number above 0, up to 1, found 1.5"),
        ("step:10:0.5:3", "gamma: expected a number, found '0.5:3'"),
        ("cosine:-1", "end: expected a number from 0 to 1, found -1"),
        ("exponential:nan", "gamma: expected a number above 0, up to 1, found nan"),
        ("polynomial:0", "power: expected a number above 0, found 0"),
        ("warmup:5:cosin", "did you mean 'cosine'?"),
        ({"rate": 1}, "unknown schedule: ''"),
        ({"name": "cosine", "ende": 1}, "its options are: end"),
        ("exponential:0.01", "in round 12 the learning rate is below 1e-12 of the planned one"),
        (3, "training.schedule"),
    ],
)
def test_a_wrong_schedule_is_refused_with_what_was_expected(schedule, expected):
    with pytest.raises(PlanError) as refused:
        plan_with(schedule)
    assert expected in str(refused.value)
    assert "training.schedule" in str(refused.value)
