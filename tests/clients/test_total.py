"""No row makes a client that promised privacy fail: from rows to reply is a total function, whatever the weights."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from fedcore import Examples
from fedcore.errors import FedcoreError, RefusedError
from fedcore.messages import EvaluateRequest
from fedcore.metrics import Metrics
from fedcore.parameters import Parameters
from fedcore_clients.agent.task_runner import TaskRunner
from fedcore_clients.policy.reply_gate import UpdateFacts, check_report, check_update
from fedcore_clients.policy.request_facts import RequestFacts
from fedcore_clients.policy.settings import Policy
from fedcore_clients.training.dp import per_example
from fedcore_clients.training.dp.made_up_rows import made_up_rows
from fedcore_clients.training.evaluation import evaluate_locally
from fedcore_clients.training.local_model import Client
from fedcore_clients.training.train import train_locally
from tests.builders import TinyTask, build_local, build_private_plan, build_request

AUDIT = {"sensitive": ["sex"], "score_bins": 4, "vocabularies": {"sex": ["female", "male", "unknown"]}}
POLICY = Policy.from_mapping(
    {"release": {"evaluation": ["loss", "accuracy"], "group-tables": ["sex"], "min-examples": 1, "max-score-bins": 4}}
)
SECRET = 9.0
"""A value that one row has, and its twin has not."""


EXHAUSTING = {
    "allocates": MemoryError("Unable to allocate 7.28 TiB"),
    "allocates there": torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 7.28 TiB"),
}
"""An operation whose size follows from the row's own numbers."""


def fails_for_the_secret(batch):
    if bool((batch["inputs"][:, 0] == SECRET).any()):
        raise ValueError("a row that this task cannot take")


class Moody(TinyTask):
    """A task whose parts misbehave for one row."""

    metrics = ("loss", "accuracy")

    def __init__(self, mood, *, model=None):
        super().__init__(model=model)
        self.mood = mood

    def loss(self, model, batch):
        losses = super().loss(model, batch)
        return self.changed(losses, batch)

    def predict(self, model, batch):
        return self.changed(super().predict(model, batch), batch)

    def measure(self, model, batch):
        metrics = super().measure(model, batch)
        found = bool((batch["inputs"][:, 0] == SECRET).any())
        if not found or self.mood == "calm":
            return metrics
        fails_for_the_secret(batch) if self.mood == "raises" else None
        if self.mood == "filters":
            return Metrics(sums={**metrics.sums, "surprise": 1.0}, counts={**metrics.counts, "surprise": 1.0})
        return Metrics(sums=dict.fromkeys(metrics.sums, math.nan), counts=metrics.counts)

    def changed(self, values, batch):
        secret = batch["inputs"][:, 0] == SECRET
        if self.mood == "raises":
            fails_for_the_secret(batch)
        if self.mood in EXHAUSTING and bool(secret.any()):
            raise EXHAUSTING[self.mood]
        if self.mood == "filters":
            return values[~secret]
        factor = {"nan": math.nan, "inf": math.inf, "huge": 1e38}.get(self.mood, 1.0)
        return values * torch.where(secret, factor, 1.0).view(-1, *[1] * (values.ndim - 1))


def twins():
    """Two clients that differ in one row's inputs."""
    rows = TinyTask(rows=12).load_data(None)
    for value in (SECRET, 0.0):
        columns = {name: column.clone() for name, column in rows.columns.items()}
        columns["inputs"][3, 0] = value
        mine = Examples(columns=columns, attributes=rows.attributes)
        yield Client(name="client-0", training=mine, held_out=mine)


def code_of(check):
    try:
        check()
    except RefusedError as error:
        return error.code
    return None


def facts(plan, kind, parameters):
    return RequestFacts(
        run="r", incarnation=1, round=1, attempt=0, kind=kind, plan=plan, cohort=("client-0",), roster_version=1,
        model_dtype="float32", array_bytes=parameters.buffer.numel() * 4,
    )  # fmt: skip


def shape_of_training(local, client, parameters):
    """All of a reply but its protected numbers."""
    update = train_locally(local, client, build_request(parameters))
    left = UpdateFacts(
        vectors={name: vector.numpy() for name, vector in update.values.items()},
        num_examples=update.num_examples,
        metrics=update.metrics,
        privacy_event=update.privacy_event,
    )
    gate = code_of(lambda: check_update(left, facts(local.plan, "train", parameters), POLICY))
    return update.values["update"].shape, update.num_examples, update.metrics, update.privacy_event, gate


def shape_of_evaluation(local, client, parameters):
    request = EvaluateRequest(round=1, cohort=("client-0",), parameters=parameters)
    report = evaluate_locally(local, client, request)
    asked = facts(local.plan, "evaluate", parameters)
    gate = code_of(lambda: check_report(report, asked, POLICY, held_out_rows=len(client.held_out)))
    finite = all(math.isfinite(number) for number in report.metrics.sums.values())
    tables = {name: table.vocabulary for name, table in report.tables.items()}
    return set(report.metrics.sums), report.metrics.counts, finite, tables, gate


def plan_of(*, noisy):
    noise = {"evaluation_noise_multiplier": 2.0} if noisy else {}
    return build_private_plan(privacy={"sampling_rate": 1.0, **noise}, audit=AUDIT)


weights = st.one_of(
    st.floats(width=32), st.sampled_from([math.nan, math.inf, -math.inf, 3e38, -3e38, 1e38, 1e-45, 0.0])
)


@settings(deadline=None, max_examples=60)
@given(
    mood=st.sampled_from(["calm", "raises", "filters", "nan", "inf", "huge", *EXHAUSTING]),
    values=st.lists(weights, min_size=10, max_size=10),
    one_pass=st.booleans(),
    noisy=st.booleans(),
)
def test_the_shape_of_a_reply_and_its_code_depend_on_no_row(mood, values, one_pass, noisy):
    with pytest.MonkeyPatch.context() as patch:
        if not one_pass:
            patch.setattr(per_example, "rules_of", lambda _: None)
        local = build_local(plan_of(noisy=noisy), task=Moody(mood, model=lambda: nn.Linear(4, 2)))
        parameters = Parameters(torch.tensor(values), local.parameters.layout)
        for shape in (shape_of_training, shape_of_evaluation):
            one, other = (shape(local, client, parameters) for client in twins())
            assert one == other


@pytest.mark.parametrize("one_pass", [True, False])
@pytest.mark.parametrize("mood", ["raises", "filters", "nan", *EXHAUSTING])
def test_a_row_that_fails_adds_nothing_and_takes_nothing_from_the_others(mood, one_pass, monkeypatch):
    if not one_pass:
        monkeypatch.setattr(per_example, "rules_of", lambda _: None)
    torch.manual_seed(0)
    model = nn.Linear(4, 2)
    gradients = per_example.PerExampleGradients(Moody(mood), model, max_physical_batch=5)
    client = next(twins())
    others = client.training.select(torch.tensor([row for row in range(12) if row != 3]))
    factors = torch.linspace(0.5, 2.0, 12)
    found = gradients.clipped_sum(client.training.batch(slice(None)), 1.0, factors)
    expected = gradients.clipped_sum(others.batch(slice(None)), 1.0, factors[torch.arange(12) != 3])
    assert torch.allclose(found, expected, atol=1e-7)
    assert float(found.norm()) > 0.1


def test_weights_that_overflow_for_rows_beyond_a_value_do_not_ask_which_rows_those_are():
    """A search for a column's maximum: logits are inf - inf for the rows beyond a value, and finite for the others."""
    plan = plan_of(noisy=True)
    local = build_local(plan, task=TinyTask(model=lambda: nn.Linear(4, 2, bias=False)))
    client = next(twins())
    for beyond in (1.0, SECRET - 1e-3, SECRET + 1e-3):
        weight = torch.zeros(2, 4)
        weight[:, 0] = torch.finfo(torch.float32).max / beyond
        parameters = Parameters(weight.flatten(), local.parameters.layout)
        assert shape_of_evaluation(local, client, parameters)[-1] is None


def desk_code(task, client):
    """What a client's probes before training make of its rows."""
    runner = TaskRunner(task, lambda _: None, allow_test_noise=True, device="cpu")
    try:
        runner.check_rows(client, build_local(plan_of(noisy=True), task=task))
    except FedcoreError as error:
        return type(error).__name__
    return None


@pytest.mark.parametrize("model", [lambda: nn.Linear(4, 2), lambda: nn.Sequential(nn.Linear(4, 2), nn.Dropout(0.1))])
@pytest.mark.parametrize("mood", ["calm", "raises", "filters", "nan", "inf"])
def test_the_probes_before_training_do_not_depend_on_the_rows(mood, model):
    assert [desk_code(Moody(mood, model=model), client) for client in twins()] == [None, None]


def test_made_up_rows_depend_on_names_shapes_and_types_alone():
    one, other = (made_up_rows(client.training, 2) for client in twins())
    few = made_up_rows(next(twins()).training.select(torch.arange(1)), 2)
    for name in ("inputs", "targets"):
        assert torch.equal(one.columns[name], other.columns[name])
        assert torch.equal(one.columns[name], few.columns[name])
    assert set(one.columns["targets"].tolist()) == {0, 1}


class Undeclared(Moody):
    """A task that does not say which metrics it gives."""

    def __init__(self, mood, **rest):
        super().__init__(mood, **rest)
        self.metrics = ()

    def measure(self, model, batch):
        found = super().measure(model, batch)
        return Metrics(sums={**found.sums, "margin": 1.0}, counts={**found.counts, "margin": found.counts["loss"]})


@pytest.mark.parametrize("mood", ["calm", "raises", "filters", "nan"])
def test_the_names_of_metrics_that_a_task_does_not_declare_depend_on_no_row(mood):
    local = build_local(plan_of(noisy=False), task=Undeclared(mood, model=lambda: nn.Linear(4, 2)))
    parameters = local.parameters.clone()
    one, other = (shape_of_evaluation(local, client, parameters) for client in twins())
    assert one == other
    assert one[0] == {"loss", "accuracy", "margin"}


def test_a_task_that_fails_whatever_the_rows_is_refused_before_it_trains_on_noise():
    class Broken(TinyTask):
        def loss(self, model, batch):
            import nothing_of_this_name  # noqa: F401

    assert [desk_code(Broken(), client) for client in twins()] == ["CannotProbeError", "CannotProbeError"]
