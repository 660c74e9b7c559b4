"""The loop over rounds: evaluation, hooks, failures."""

import pytest
import torch

from fedcore.audit.verdict.gate import Verdict
from fedcore.audit.verdict.hooks import Decision, Point
from fedcore.errors import PlanError, RoundFailedError
from fedcore.messages import ClientUpdate
from fedcore.plan.evaluation_schedule import most_evaluations
from fedcore_server.rounds.driver import Run
from fedcore_server.rounds.rounds import init_state
from fedcore_server.rounds.state import Rejection
from fedcore_simulations import simulate
from fedcore_simulations.engines.loop import LoopEngine
from fedcore_simulations.preparation import prepare
from tests.builders import TinyTask, build_plan, build_private_plan
from tests.server.states import states_of

LIMIT = {"metric": "accuracy", "kind": "difference", "at-most": 0.9}


class Watcher:
    """Notes every call; a hook that plans can name."""

    name = "watcher"
    points = frozenset({Point.ROUND_EVALUATED, Point.BEFORE_RELEASE})
    seen: list = []  # noqa: RUF012 - a plan builds the hook, so the test reads the class

    def check(self, context):
        self.seen.append(context)
        return Decision(verdict=None, findings=("looked",), hook=self.name)


class Stopper(Watcher):
    name = "stopper"

    def check(self, context):
        return Decision(verdict=Verdict.FAIL, findings=("never",), hook=self.name)


class BeforeTraining(Watcher):
    points = frozenset({Point.DATA})


class Raiser(Watcher):
    name = "raiser"

    def check(self, context):
        raise ValueError("row 17 is odd")


def audited(*hooks, **federation):
    return build_plan(
        audit={"sensitive": ["sex"], "limits": [LIMIT], "hooks": [f"{__name__}:{hook}" for hook in hooks]},
        federation=federation,
    )


@pytest.fixture(autouse=True)
def forget():
    Watcher.seen.clear()


def test_hooks_are_called_after_each_evaluation_and_before_release():
    simulate(TinyTask(), audited("Watcher", rounds=5, evaluate_every=2))
    assert [(context.point, context.round) for context in Watcher.seen] == [
        (Point.ROUND_EVALUATED, 2),
        (Point.ROUND_EVALUATED, 4),
        (Point.ROUND_EVALUATED, 5),
        (Point.BEFORE_RELEASE, 5),
    ]


def test_a_hook_sees_sums_over_all_clients_and_can_change_nothing():
    result = simulate(TinyTask(), audited("Watcher"))
    context = Watcher.seen[-1]
    assert context.tables["sex"].counts.sum() == 24  # all held-out rows of 120
    assert context.metrics == result.metrics
    with pytest.raises(TypeError):
        context.metrics["accuracy"] = 1.0
    with pytest.raises(ValueError, match="read-only"):
        context.tables["sex"].counts[0, 0, 0] = 9


def test_a_hook_that_fails_the_model_is_the_verdict():
    result = simulate(TinyTask(), audited("Stopper"))
    assert result.summary["audit_verdict"] == "FAIL"
    assert {"hook": "stopper", "verdict": "FAIL", "findings": ["never"]} in result.audit.to_json()["decisions"]


def test_a_hook_that_raises_blocks_a_pass_and_its_text_is_not_told():
    result = simulate(TinyTask(), audited("Raiser"))
    assert result.summary["audit_verdict"] == "INCONCLUSIVE"
    told = str(result.audit.to_json()) + str(result.rounds)
    assert "raiser failed: ValueError" in told
    assert "row 17" not in told


def test_the_untrained_model_is_evaluated_only_where_a_hook_waits_for_the_data():
    assert [state.evaluated for state in states_of(TinyTask(), audited("BeforeTraining"))] == [0, 2, 3, 4, 4]
    assert [state.evaluated for state in states_of(TinyTask(), audited("Watcher"))] == [0, 1, 2, 3, 3]


def test_a_run_that_is_gone_on_with_asks_for_the_data_only_before_the_first_round():
    kept = states_of(TinyTask(), audited("BeforeTraining"))
    for start, asked in ((kept[0], [0]), (kept[1], []), (kept[-1], [])):
        Watcher.seen.clear()
        ended = states_of(TinyTask(), audited("BeforeTraining"), start)[-1]
        assert torch.equal(ended.released.buffer, kept[-1].released.buffer)
        assert [context.round for context in Watcher.seen] == asked


@pytest.mark.parametrize("hook", ["BeforeTraining", "Watcher"])
def test_a_run_asks_for_no_more_evaluations_than_its_plan_promises(hook):
    plan = audited(hook, rounds=5, evaluate_every=2)
    assert states_of(TinyTask(), plan)[-1].evaluated <= most_evaluations(plan) == 4


def test_a_client_with_few_rows_shows_their_number_and_no_metric():
    rounds = simulate(TinyTask(rows=60), build_plan(federation={"clients": 2, "rounds": 1})).rounds
    assert all(set(values) == {"n"} for values in rounds[0]["clients"].values())


def test_a_run_that_audits_nothing_has_no_verdict_and_no_report():
    result = simulate(TinyTask(), build_plan())
    assert result.audit is None
    assert result.summary["audit_verdict"] is None


def test_without_limits_there_is_no_verdict_which_is_no_pass():
    result = simulate(TinyTask(rows=900), build_plan(audit={"sensitive": ["sex"]}))
    assert result.audit is not None
    assert result.summary["audit_verdict"] is None
    assert result.summary["worst_gap"]["metric"] == "accuracy"
    assert result.summary["worst_gap"]["which"] == "clearest gap in accuracy"


def test_attributes_may_be_crossed():
    class TwoAttributes(TinyTask):
        def load_data(self, path):
            data = super().load_data(path)
            data.attributes["ward"] = data.attributes["sex"]
            return data

    result = simulate(TwoAttributes(rows=400), build_plan(audit={"sensitive": ["sex", "sex*ward"]}))
    assert set(result.audit.to_json()["groups"]) == {"sex", "sex*ward"}
    assert "female & female" in result.audit.to_json()["groups"]["sex*ward"]


def test_the_audit_equals_the_one_of_the_pooled_rows():
    one, many = (
        simulate(TinyTask(), build_plan(audit={"sensitive": ["sex"]}, federation={"clients": n, "rounds": 1}))
        for n in (1, 6)
    )
    sizes = [{g: r["accuracy"]["n"] for g, r in x.audit.to_json()["groups"]["sex"].items()} for x in (one, many)]
    assert sizes[0] == sizes[1]


def test_a_diverged_model_fails_the_round_visibly_and_is_not_released(tmp_path):
    from tests.test_task import Line

    plan = build_plan(training={"learning_rate": 1e20}, federation={"rounds": 5, "round_attempts": 2})
    with pytest.raises(RoundFailedError, match=r"round 1 had 0 valid updates in attempt 2 of 2"):
        simulate(Line(), plan, out=tmp_path / "run")
    journal = (tmp_path / "run" / "rounds.jsonl").read_text().splitlines()
    assert len(journal) == 2
    assert "NONFINITE" in journal[0]
    assert not (tmp_path / "run" / "model.safetensors").exists()


def test_a_task_without_labels_has_no_groups_to_audit():
    from tests.test_task import Line

    with pytest.raises(PlanError, match="no attribute 'sex'"):
        simulate(Line(), build_plan(audit={"sensitive": ["sex"]}))


def test_wall_times_are_read_from_the_clock_that_is_passed_in():
    ready = prepare(TinyTask(), build_private_plan())
    ticks = iter(range(100))
    records = []
    with LoopEngine(ready.task, ready.plan, ready.clients, num_workers=1, device=ready.device) as engine:
        run = Run(task=ready.task, plan=ready.plan, federation=engine, clock=lambda: float(next(ticks)))
        run.to_end(init_state(ready.task, ready.plan), lambda record, _: records.append(record.wall_seconds))
    assert records == [1.0, 1.0, 1.0]


class Refusing:
    """Two clients, of whom one always refuses with the same code."""

    def __init__(self, code):
        self.code, self.asked = code, 0

    def available(self):
        return ["a", "b"]

    def train(self, request):
        self.asked += 1
        still = torch.zeros_like(request.parameters.buffer)
        yield ClientUpdate(client="a", round=request.round, values={"update": still}, num_examples=1)
        yield Rejection(client="b", code="REFUSED", reason=f"the client refused: {self.code}")


@pytest.mark.parametrize(("code", "asked"), [("BUDGET", 1), ("PRIVACY", 1), ("CRASHED", 3), ("DISK", 3)])
def test_a_round_is_not_tried_again_where_a_policy_has_refused(code, asked):
    """Each attempt is charged to the clients that answer it."""
    plan, federation = build_plan(federation={"clients": 2, "quorum": 2, "round_attempts": 3}), Refusing(code)
    run = Run(task=TinyTask(), plan=plan, federation=federation)
    with pytest.raises(RoundFailedError, match="1 valid updates"):
        run.to_end(init_state(TinyTask(), plan), lambda record, state: None)
    assert federation.asked == asked
