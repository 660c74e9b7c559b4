"""The statement counts attempts in which something can have been released, and names what ledgers show beside it."""

import pytest
import torch

from fedcore.errors import RoundFailedError
from fedcore.messages import ClientUpdate
from fedcore.privacy.accounting import epsilon_of
from fedcore.privacy.plan import PrivacyPlan
from fedcore.wire.replies import pack_refusal
from fedcore_server.rounds.driver import Run
from fedcore_server.rounds.rounds import init_state
from fedcore_server.rounds.state import Rejection
from fedcore_server.runs.directory import RunDirectory
from tests.builders import TinyTask, build_private_plan
from tests.flower.driving import plan_of, through_flower
from tests.privacy.test_statement import statement

CLIENTS = ("a", "b")


class Refusing:
    """Two clients that refuse until they are told otherwise."""

    def __init__(self, plan, *, read_data):
        self.plan, self.read_data, self.refuses = plan, read_data, True

    def available(self):
        return CLIENTS

    def train(self, request):
        event = PrivacyPlan.from_run_plan(self.plan).event(1)
        for name in request.cohort:
            if self.refuses:
                reason = "the client refused: RANGE"
                yield Rejection(client=name, code="REFUSED", reason=reason, read_data=self.read_data)
                continue
            still = {"update": torch.zeros_like(request.parameters.buffer)}
            yield ClientUpdate(client=name, round=request.round, values=still, num_examples=5, privacy_event=event)

    def evaluate(self, request):
        return iter(())


def run(directory, federation, state):
    driver = Run(task=TinyTask(), plan=federation.plan, federation=federation)
    return driver.to_end(state, lambda record, state: directory.record([record], state, federation.plan)).state


@pytest.mark.parametrize(("read_data", "before"), [(False, 0), (True, 1)])
def test_an_attempt_that_all_refused_without_opening_data_costs_nothing_nor_does_resuming_after_it(
    tmp_path, read_data, before
):
    plan = build_private_plan(federation={"clients": 2, "rounds": 3, "quorum": 2})
    federation = Refusing(plan, read_data=read_data)
    directory = RunDirectory.create(tmp_path / "run", plan)
    with pytest.raises(RoundFailedError, match="REFUSED RANGE: a, b"):
        run(directory, federation, init_state(TinyTask(), plan))
    federation.refuses = False
    state = directory.restore(init_state(TinyTask(), plan), plan)
    assert (state.asked, state.evaluated, state.attempt) == (before, 0, 1)
    ended = run(directory, federation, state)
    assert (ended.round, ended.asked) == (3, before + 3)


def test_a_run_that_was_killed_after_it_was_resumed_is_charged_for_what_was_in_work(tmp_path):
    plan = build_private_plan(federation={"clients": 2, "rounds": 3, "quorum": 2})
    directory = RunDirectory.create(tmp_path / "run", plan)
    with pytest.raises(RoundFailedError):
        run(directory, Refusing(plan, read_data=False), init_state(TinyTask(), plan))
    resumed = directory.restore(init_state(TinyTask(), plan), plan)
    killed = directory.restore(init_state(TinyTask(), plan), plan)
    assert (resumed.asked, killed.asked) == (0, 1)


def test_the_server_believes_a_signed_refusal_that_no_data_was_opened():
    def refuse(name, reply):
        return pack_refusal("RANGE", read_data=name == "client-1") if "arrays" in reply else reply

    def refuse_before(name, reply):
        return pack_refusal("RANGE", read_data=False) if "arrays" in reply else reply

    asked = []
    for tamper in (refuse_before, refuse):
        with pytest.raises(RoundFailedError, match="REFUSED RANGE"):
            through_flower(
                plan_of("record-level privacy with test noise"),
                tamper=tamper,
                on_round=lambda record, state: asked.append(state.asked),
            )
    assert asked == [0, 1]


def test_where_receipts_show_fewer_charges_the_statement_gives_both_numbers_and_the_reason():
    told = statement(asked=7, rounds=5, acknowledged=5)
    beside = told["composition_scope"]["ledger_charges"]
    assert (beside["counted"], beside["acknowledged"]) == (7, 5)
    assert beside["epsilon"] == pytest.approx(statement(asked=5, rounds=5)["epsilon"])
    assert beside["epsilon"] < told["epsilon"]
    assert "answers were lost" in beside["why"]
    for equal in (statement(asked=5, rounds=5, acknowledged=5), statement(asked=5, rounds=5)):
        assert "ledger_charges" not in equal["composition_scope"]


def test_the_number_beside_the_ledgers_is_the_accountants():
    from tests.builders import build_privacy

    plan = build_privacy()
    beside = statement(asked=4, acknowledged=1)["composition_scope"]["ledger_charges"]
    assert beside["epsilon"] == epsilon_of(plan.event(1), plan.delta, plan.relation)
