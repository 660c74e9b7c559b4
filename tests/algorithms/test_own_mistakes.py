"""What is easily wrong in parts of one's own is refused by name, before training where it can be."""

import pytest
import torch

from fedcore.aggregation.contract import Encoding, Rule
from fedcore.aggregation.mean import Mean, WeightedSum
from fedcore.algorithms.contract import Algorithm, Cohort
from fedcore.errors import TaskError
from fedcore.method.method import Method
from fedcore.method.returned import stepped
from fedcore.testing.algorithm import AlgorithmContract
from fedcore_clients.training.train import train_locally
from fedcore_server.rounds.rounds import close_round
from tests.builders import (
    build_client,
    build_local,
    build_plan,
    build_request,
    build_update,
)
from tests.server.test_rounds import state_of


class SendsATypo(Algorithm):
    sends = ("updates",)


class SendsTwice(Algorithm):
    sends, numbers = ("update", "steps"), ("steps",)


class SharesText(Algorithm):
    shares = "control"


class StartsWithoutShared(Algorithm):
    shares = ("c",)

    def start(self, size):
        return {}


class StepsWithoutShared(Algorithm):
    shares = ("c",)

    def step(self, mean, state, cohort):
        return mean["update"], {}


class StepsWithoutState(Algorithm):
    def step(self, mean, state, cohort):
        return mean["update"]


class StepsToANumber(Algorithm):
    def step(self, mean, state, cohort):
        return 1.0, state


class ForgetsLater(Algorithm):
    """Only once there are updates."""

    shares = ("c",)

    def step(self, mean, state, cohort):
        return mean["update"], state if not mean["update"].any() else {}


class BeginsNothing(Rule):
    def begin(self, sizes, state):
        return {}


class Alone(WeightedSum):
    def finish(self):
        return super().finish()[0]


class FinishesAlone(Mean):
    def begin(self, sizes, state):
        return Alone(sizes)


class Nameless(WeightedSum):
    def finish(self):
        return {}, {}


class FinishesNameless(Mean):
    def begin(self, sizes, state):
        return Nameless(sizes)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("SendsATypo", "sends of algorithm '.*:SendsATypo' must hold 'update'; found 'updates'"),
        ("SendsTwice", "has 'steps' in sends and in numbers; name it in one"),
        ("SharesText", "shares of .* must be a tuple of names, .*; found 'control'"),
        ("StartsWithoutShared", "start of .* must return a state with all of shares: expected 'c', found none"),
        ("StepsWithoutShared", "step of .* must return a state with all of shares: expected 'c', found none"),
        ("StepsWithoutState", "step of .* must return two values, .*; found a tensor of shape"),
        ("StepsToANumber", r"the direction: expected a tensor of shape \(1,\), found an object of type float"),
    ],
)
def test_an_algorithm_that_contradicts_its_declaration_is_refused_before_training(name, words):
    with pytest.raises(TaskError, match=words):
        Method.of(build_plan(algorithm={"name": f"{__name__}:{name}"}))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("BeginsNothing", "begin of rule '.*:BeginsNothing' must return an object with add and finish; found"),
        ("FinishesAlone", "finish of rule .* must return two values, .*; found an object of type dict"),
        ("FinishesNameless", "finish of rule .* must return all vectors that are sent: expected 'update', found none"),
    ],
)
def test_a_rule_that_returns_something_else_is_refused_before_training(name, words):
    with pytest.raises(TaskError, match=words):
        Method.of(build_plan(aggregation={"rule": f"{__name__}:{name}"}))


class DeclaresAlone(Encoding):
    def declare(self, values):
        return values


class EncodesTwo(Encoding):
    def encode(self, values, kept, context):
        return values, {}


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("DeclaresAlone", "declare of encoding '.*:DeclaresAlone' must return two values, .*; found an object of type"),
        ("EncodesTwo", "encode of encoding .* must return three values, .*; found 2 values"),
    ],
)
def test_an_encoding_that_returns_something_else_is_refused_before_training(name, words):
    with pytest.raises(TaskError, match=words):
        Method.of(build_plan(aggregation={"encode": [f"{__name__}:{name}"]}))


def test_a_state_that_is_incomplete_only_after_updates_is_refused_when_the_round_is_closed():
    plan = build_plan(algorithm={"name": f"{__name__}:ForgetsLater"})
    state = state_of(1.0, 2.0).with_parts(algorithm={"c": torch.zeros(2, dtype=torch.float64)})
    request = build_request(state.parameters, cohort=("a",))
    with pytest.raises(TaskError, match=r"step of .*ForgetsLater.* expected 'c', found none"):
        close_round(state, plan, request, [build_update("a", 1.0, 1.0)])


def test_a_direction_of_another_size_is_refused():
    mean = {"update": torch.zeros(3, dtype=torch.float64)}
    with pytest.raises(TaskError, match=r"expected a tensor of shape \(4,\), found a tensor of shape \(3,\)"):
        stepped(Algorithm(), mean, {}, Cohort(counted=1, clients=1), plan=build_plan(), size=4)


class ReturnsAGradient(Algorithm):
    def adjust(self, gradient, weights, received, shared, kept):
        return gradient + weights


class BindsAGradient(Algorithm):
    def adjust(self, gradient, weights, received, shared, kept):
        gradient = gradient + weights


class SendsMore(Algorithm):
    def finish(self, trained, received, shared, kept, work):
        return {"update": trained - received, "control": trained}, {}


class SendsLess(Algorithm):
    def finish(self, trained, received, shared, kept, work):
        return {}, {}


class KeepsMore(Algorithm):
    def finish(self, trained, received, shared, kept, work):
        return {"update": trained - received}, {"own": trained}


class SendsShort(Algorithm):
    def finish(self, trained, received, shared, kept, work):
        return {"update": (trained - received)[1:]}, {}


class SendsOnly(Algorithm):
    def finish(self, trained, received, shared, kept, work):
        return {"update": trained - received}


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("ReturnsAGradient", "adjust of .* must change the gradient in place.* it returned an object of type Tensor"),
        ("SendsMore", "must send what .* declare: found 'control', which is not declared; declared: 'update'"),
        ("SendsLess", "must send what sends and numbers declare: expected 'update', found none"),
        ("KeepsMore", "must keep what keeps declares: found 'own', which is not declared; declared: none"),
        ("SendsShort", "'update': expected a tensor of shape"),
        ("SendsOnly", "finish of .* must return two values, what is sent and what is kept; found an object of type"),
    ],
)
def test_a_client_half_that_contradicts_its_declaration_is_refused(name, words):
    local = build_local(build_plan(algorithm={"name": f"{__name__}:{name}"}))
    with pytest.raises(TaskError, match=words):
        train_locally(local, build_client(), build_request(local.parameters))


@pytest.mark.parametrize(
    ("algorithm", "test", "words"),
    [
        (ReturnsAGradient, "test_it_adjusts_the_gradient_in_place", "in place, such as with gradient.add_, and return"),
        (BindsAGradient, "test_it_adjusts_the_gradient_in_place", "left the gradient as it was"),
        (SendsATypo, "test_update_is_among_what_it_sends", "sends must hold 'update'"),
        (SendsMore, "test_it_sends_and_keeps_what_it_declares", r"finish must send \('update',\)"),
        (
            StartsWithoutShared,
            "test_its_state_has_what_it_shares_and_can_be_stored",
            "start must hold what shares names",
        ),
    ],
)
def test_the_contract_test_says_what_was_expected(algorithm, test, words):
    contract = AlgorithmContract()
    contract.make_algorithm = algorithm
    with pytest.raises(AssertionError, match=words):
        getattr(contract, test)()
