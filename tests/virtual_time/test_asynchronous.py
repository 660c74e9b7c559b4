"""FedBuff and FedAsync, against direct transcriptions of their papers."""

import math
from collections import Counter

import pytest
import torch

from fedcore.algorithms.contract import Algorithm, Contribution
from fedcore.algorithms.registry import ALGORITHMS
from fedcore.errors import EngineError, PlanError, TaskFailedError
from fedcore_clients.training.train import train_locally
from fedcore_server.rounds.rounds import init_state
from fedcore_simulations import simulate
from fedcore_simulations.engines.loop import LoopEngine
from fedcore_simulations.preparation import prepare
from fedcore_simulations.virtual_time.flight import Flight
from fedcore_simulations.virtual_time.timed import timed
from tests.builders import TinyTask
from tests.simulations.instant_flower import without_ray
from tests.virtual_time.builders import UNEQUAL, flat, gradient, kind, kinds, linear, timed_plan

SPEEDS = {
    "kinds": {
        "a": kind(gigaflops=1.0, latency_seconds=0.0),
        "b": kind(gigaflops=2.3, latency_seconds=0.0),
        "c": kind(gigaflops=11.0, latency_seconds=0.0),
    },
    "flops-per-example": 1e9,
}
"""A row and epoch takes a second, or less; two clients have each kind."""
EPOCHS, RATE, STEPS = 3, 0.2, 12


def trained(algorithm, *, options=None, devices=SPEEDS, **sections):
    training = {"batch_size": 1000, "local_epochs": EPOCHS, "learning_rate": RATE}
    plan = timed_plan(
        algorithm=algorithm,
        options={"options": options or {}},
        training=training,
        devices=devices,
        federation={"rounds": STEPS, "round_timeout_seconds": 1e6, "partition": "dirichlet:5", **sections},
    )
    return simulate(TinyTask(model=linear), plan)


def given(run):
    """First model, rows of each client, and seconds that each takes, the last by the run's own first answers."""
    ready = prepare(TinyTask(model=linear), run.plan)
    first = init_state(ready.task, ready.plan).parameters.buffer
    taken = {name: end - begin for line in run.rounds for name, (begin, end) in line["simulated_spans"].items()}
    rows = {client.name: client.training for client in ready.clients}
    return first, rows, taken


def local_steps(received, rows, *, rho=0.0):
    weights = received.clone()
    for _ in range(EPOCHS):
        weights -= RATE * (gradient(weights, rows) + rho * (weights - received))
    return weights


def fedbuff(model, rows, seconds, *, buffer, server_rate):
    """Algorithm 1 of arXiv 2106.06639; a client is asked again after the step in which it counted."""
    step, held = 0, []
    flying = {name: (seconds[name], model, 0) for name in rows}
    while True:
        name = min(flying, key=lambda each: flying[each][0])
        time, received, begun_at = flying.pop(name)
        delta = local_steps(received, rows[name]) - received
        held.append((name, delta / math.sqrt(1 + step - begun_at)))
        if len(held) == buffer:
            model = model + server_rate * sum(each for _, each in held) / buffer
            step += 1
            if step == STEPS:
                return model, time
            for each, _ in held:
                flying[each] = (time + seconds[each], model, step)
            held = []


def fedasync(model, rows, seconds, *, scale, alpha, rho):
    """Algorithm 1 of arXiv 1903.03934 with the proximal term, all clients training at any time."""
    flying = {name: (seconds[name], model, 0) for name in rows}
    for step in range(STEPS):
        name = min(flying, key=lambda each: flying[each][0])
        time, received, begun_at = flying.pop(name)
        mixed = alpha * scale(step - begun_at)
        model = (1 - mixed) * model + mixed * local_steps(received, rows[name], rho=rho)
        flying[name] = (time + seconds[name], model, step + 1)
    return model, time


@pytest.mark.parametrize("buffer", [1, 2, 4])
def test_fedbuff_is_that_of_the_paper(buffer):
    run = trained("fedbuff", options={"buffer": buffer}, server_learning_rate=0.7)
    first, rows, seconds = given(run)
    missing = dict.fromkeys(rows.keys() - seconds.keys(), math.inf)  # so slow that it never came
    model, clock = fedbuff(first, rows, {**seconds, **missing}, buffer=buffer, server_rate=0.7)
    torch.testing.assert_close(flat(run.model), model, rtol=0.0, atol=1e-12)
    assert run.summary["simulated_seconds"] == pytest.approx(clock)
    assert len({len(rows[name]) for name in rows}) > 1


SCALES = {
    "polynomial": lambda t: (t + 1) ** -0.5,
    "hinge": lambda t: 1.0 if t <= 2 else 1.0 / (10.0 * (t - 2) + 1.0),
    "constant": lambda t: 1.0,
}


@pytest.mark.parametrize("name", SCALES)
def test_fedasync_is_that_of_the_paper(name):
    run = trained("fedasync", options={"alpha": 0.7, "staleness": name, "b": 2, "rho": 0.05})
    first, rows, seconds = given(run)
    missing = dict.fromkeys(rows.keys() - seconds.keys(), math.inf)
    expected = fedasync(first, rows, {**seconds, **missing}, scale=SCALES[name], alpha=0.7, rho=0.05)
    torch.testing.assert_close(flat(run.model), expected[0], rtol=0.0, atol=1e-12)
    assert run.summary["simulated_seconds"] == pytest.approx(expected[1])


def test_durations_are_those_of_rows_and_speeds():
    """What the transcriptions above take from the run: rows times epochs over a speed of the profiles."""
    run = trained("fedasync")
    _, rows, seconds = given(run)
    for name, taken in seconds.items():
        assert any(taken == pytest.approx(EPOCHS * len(rows[name]) / speed) for speed in (1.0, 2.3, 11.0))


def test_fedbuff_whose_clients_answer_at_once_is_synchronous_fedavg():
    """Equal devices, buffer = concurrency = cohort, and the uniform mean: nothing is stale."""
    sections = {"federation": {"cohort_size": 3, "rounds": 6}, "aggregation": {"rule": "uniform"}, "devices": kinds()}
    runs = [simulate(TinyTask(), timed_plan(algorithm=name, **sections)) for name in ("fedavg", "fedbuff:3")]
    assert torch.equal(flat(runs[0].model), flat(runs[1].model))
    assert [line["counted"] for line in runs[0].rounds] == [line["counted"] for line in runs[1].rounds]
    assert runs[0].summary["simulated_seconds"] == runs[1].summary["simulated_seconds"] == 6.0


@pytest.mark.parametrize("algorithm", ["fedbuff:2", "fedasync"])
def test_results_depend_on_no_number_of_workers_and_no_engine(algorithm):
    def run(**engine):
        federation = {"cohort_size": 4, "rounds": 10}
        plan = timed_plan(algorithm=algorithm, devices=UNEQUAL, federation=federation, engine=engine)
        return simulate(TinyTask(model=linear), plan)

    one, two, batched = run(workers=1), run(workers=2), run(name="batched", workers=1)
    assert torch.equal(flat(one.model), flat(two.model))
    torch.testing.assert_close(flat(batched.model), flat(one.model), rtol=0.0, atol=1e-12)
    assert [line["simulated_spans"] for line in one.rounds] == [line["simulated_spans"] for line in batched.rounds]


@pytest.mark.parametrize("algorithm", ["fedavg", "fedbuff:2"])
def test_the_ray_engine_gives_the_model_of_the_loop(algorithm, monkeypatch):
    without_ray(monkeypatch)
    loop, ray = (
        simulate(TinyTask(), timed_plan(algorithm=algorithm, devices=UNEQUAL, engine={"name": name}))
        for name in ("loop", "ray")
    )
    assert ray.summary["engine"] == "ray"
    assert torch.equal(flat(ray.model), flat(loop.model))


def test_no_client_takes_part_more_often_than_is_accounted():
    """Record-level privacy is charged for every step; a client that is still training at the end counts too."""
    privacy = {"unit": "record", "noise_multiplier": 1.0, "noise": "test", "sampling_rate": 0.5}
    sections = {"aggregation": {"rule": "uniform"}, "federation": {"rounds": 20}, "devices": UNEQUAL}
    plan = timed_plan(algorithm="fedbuff:2", privacy=privacy, **sections)
    ready = prepare(TinyTask(), plan)
    state = init_state(ready.task, ready.plan)
    begun: Counter[str] = Counter()
    with LoopEngine(ready.task, ready.plan, ready.clients, num_workers=1, device=ready.device) as engine:
        step = timed(ready.plan, engine, ready.clients, state.parameters.buffer)
        while state.round < 20:
            state, report = step(state)
            begun.update(report.timing.spans.keys())
            assert len(set(report.asked)) == len(report.asked)
    begun.update(job.answer.client for job in Flight.of(state.part("flight")).jobs)
    assert max(begun.values()) <= state.asked == 20
    assert max(begun.values()) > 10  # a bound that is nearly reached, by the quick ones


def test_a_private_asynchronous_run_states_the_epsilon_of_all_its_steps():
    privacy = {"unit": "record", "noise_multiplier": 1.0, "sampling_rate": 0.5}
    sections = {"privacy": privacy, "aggregation": {"rule": "uniform"}, "devices": UNEQUAL, "federation": {"rounds": 5}}
    fedbuff, fedavg = (simulate(TinyTask(), timed_plan(algorithm=name, **sections)) for name in ("fedbuff:2", "fedavg"))
    assert fedbuff.summary["epsilon"] == fedavg.summary["epsilon"] > 0


def test_a_step_that_nobody_is_left_to_fill_is_made_with_fewer_updates():
    """Most clients are away for very long; the others are counted without them, at once."""
    devices = kinds(available=0.3, period_seconds=1e9)
    federation = {"clients": 6, "rounds": 3, "seed": 1}
    run = simulate(TinyTask(), timed_plan(algorithm="fedbuff:6", devices=devices, federation=federation))
    awake = {name for line in run.rounds for name in line["counted"]}
    assert 0 < len(awake) < 6
    assert [(set(line["counted"]), line["simulated_seconds"]) for line in run.rounds] == [(awake, 1.0)] * 3


def test_models_that_are_not_used_any_more_are_dropped():
    run = prepare(TinyTask(), timed_plan(algorithm="fedasync", devices=UNEQUAL, federation={"rounds": 30}))
    state = init_state(run.task, run.plan)
    with LoopEngine(run.task, run.plan, run.clients, num_workers=1, device=run.device) as engine:
        step = timed(run.plan, engine, run.clients, state.parameters.buffer)
        for _ in range(30):
            state, _ = step(state)
            flight = Flight.of(state.part("flight"))
            assert set(flight.models) == {job.version for job in flight.jobs}
            assert len(flight.jobs) == 5  # the sixth was counted, and is asked next


class Moody(TinyTask):
    """Fails at whoever has the fewest rows."""

    def loss(self, model, batch):
        if len(batch["targets"]) == self.fewest:
            raise ValueError("mood")
        return super().loss(model, batch)


def test_a_client_whose_task_raises_is_a_dropout_also_where_it_is_alone():
    federation = {"rounds": 40, "partition": "dirichlet:5", "round_timeout_seconds": 1e6}
    plan = timed_plan(algorithm="fedasync", devices=SPEEDS, training={"batch_size": 1000}, federation=federation)
    sizes = [len(client.training) for client in prepare(TinyTask(), plan).clients]
    task = Moody()
    task.fewest = sorted(sizes)[1]
    try:
        run = simulate(task, plan.updated(devices={"flops-per-example": 1e9}))
    except EngineError:
        pytest.fail("one failing client ended the simulation")
    rejected = [each for line in run.rounds for each in line["rejected"]]
    assert {(each["code"], each["reason"]) for each in rejected} == {("DROPOUT", "its task raised ValueError: TASK")}
    assert len({each["client"] for each in rejected}) == 1
    assert run.summary["rounds"] == 40


def failing(monkeypatch, fails):
    """Let the local training of some clients raise."""

    def train(local, client, request):
        if fails(client.name, request):
            raise ValueError("mood")
        return train_locally(local, client, request)

    monkeypatch.setattr("fedcore_simulations.engines.loop.train_locally", train)


@pytest.mark.parametrize("name", [f"client-{number}" for number in range(6)])
def test_whichever_client_fails_first_the_simulation_goes_on(monkeypatch, name):
    failing(monkeypatch, lambda client, request: client == name)
    run = simulate(TinyTask(), timed_plan(algorithm="fedasync", devices=SPEEDS, federation={"rounds": 8}))
    assert run.summary["rounds"] == 8


def test_a_task_that_fails_at_everybody_ends_the_run_with_its_own_error(monkeypatch):
    failing(monkeypatch, lambda client, request: True)
    with pytest.raises(TaskFailedError, match="mood"):
        simulate(TinyTask(), timed_plan(algorithm="fedasync", devices=SPEEDS))


@pytest.mark.parametrize("workers", [1, 2])
def test_a_step_in_which_all_fail_is_tried_again_and_every_one_of_them_reported(monkeypatch, workers):
    failing(monkeypatch, lambda client, request: (request.round, request.attempt) == (2, 0))
    federation = {"clients": 12, "rounds": 3}
    plan = timed_plan(algorithm="fedbuff:12", devices=kinds(), federation=federation, engine={"workers": workers})
    run = simulate(TinyTask(), plan)
    assert [(line["round"], line["committed"]) for line in run.rounds] == [(1, True), (2, False), (2, True), (3, True)]
    failed = run.rounds[1]
    assert [each["client"] for each in failed["rejected"]] == failed["asked"]
    assert {each["code"] for each in failed["rejected"]} == {"DROPOUT"}
    assert all(len(line["counted"]) == 12 for line in run.rounds if line["committed"])


def test_a_client_that_is_not_in_every_step_is_not_lost():
    run = trained("fedbuff", options={"buffer": 2})
    assert {len(line["counted"]) for line in run.rounds} == {2}
    assert not [each for each in run.summary["warnings"] if "not counted each time" in each]


class Eager(Algorithm):
    """An asynchronous algorithm of one's own."""

    buffer = 2


def test_an_algorithm_of_ones_own_is_asynchronous_by_its_buffer():
    name = f"{__name__}:Eager"
    run = simulate(TinyTask(), timed_plan(algorithm=name, devices=UNEQUAL))
    assert {len(line["counted"]) for line in run.rounds} == {2}
    with pytest.raises(PlanError, match="runs in simulated time only"):
        simulate(TinyTask(), timed_plan(algorithm=name))


class Sharing(Eager):
    shares = ("control",)


BAD_PLANS = {
    "shared vectors": ({"algorithm": f"{__name__}:Sharing"}, "or are sent beside the model"),
    "no devices": ({"devices": {}}, "it needs to know when each update comes, and runs in simulated time only"),
    "a buffer of more than all clients": ({"algorithm": "fedbuff:7"}, "expected at most the 6 clients, found 7"),
    "no buffer": ({"algorithm": "fedbuff:0"}, "expected a whole number of updates from 1, found 0"),
    "half a buffer": ({"algorithm": "fedbuff:1.5"}, "expected a whole number of updates from 1, found 1.5"),
    "a quorum above the buffer": ({"federation": {"quorum": 4}}, "expected at most the buffer of 3, found 4"),
    "Poisson cohorts": ({"federation": {"cohort_sampling": "poisson", "cohort_size": 4}}, "poisson draws rounds"),
    "over-selection": ({"devices": {**kinds(), "wait-for": 2}}, "its buffer says how many updates make a step"),
    "a memory": ({"aggregation": {"encode": ["top-k:0.1"]}}, "keep nothing, such as int8"),
    "a rule without weights": ({"aggregation": {"rule": "trimmed-mean"}}, "it has no weights"),
    "an alpha above 1": ({"algorithm": "fedasync:1.5"}, "alpha: expected a number above 0 and up to 1, found 1.5"),
    "an unknown function": (
        {"algorithm": "fedasync", "options": {"options": {"staleness": "poly"}}},
        "expected one of polynomial, hinge, constant, found 'poly'",
    ),
    "a negative power": ({"algorithm": "fedasync", "options": {"options": {"a": -1.0}}}, "expected numbers from 0"),
}


@pytest.mark.parametrize("name", BAD_PLANS)
def test_bad_plans_are_refused_before_training(name):
    sections, expected = BAD_PLANS[name]
    with pytest.raises(PlanError) as refused:
        simulate(TinyTask(), timed_plan(**{"algorithm": "fedbuff:3", "devices": kinds(), **sections}))
    assert expected in str(refused.value)


def test_int8_and_norm_clip_compose_with_fedbuff():
    plan = timed_plan(algorithm="fedbuff:2", devices=UNEQUAL, aggregation={"encode": ["norm-clip:1.0", "int8"]})
    assert simulate(TinyTask(), plan).summary["encodings"] == ["norm-clip:1.0", "int8"]


@pytest.mark.parametrize("name", ["fedbuff", "fedasync"])
def test_unit_client_is_refused_with_the_reason(name):
    assert "when a client answers decides who else is in a step" in ALGORITHMS.make(name).refusal("client")
    assert ALGORITHMS.make(name).refusal("record") is None


def test_a_stale_update_weighs_less_and_divides_the_same():
    weighed = [
        ALGORITHMS.make("fedbuff").weigh(
            Contribution(client="a", round=9, num_examples=5, norm=1.0, staleness=staleness), {}, timed_plan()
        )
        for staleness in (0, 3)
    ]
    assert weighed == [(1.0, 1.0), (0.5, 1.0)]
