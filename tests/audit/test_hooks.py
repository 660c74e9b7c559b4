from __future__ import annotations

import dataclasses

import pytest

from fedcore.audit.verdict.gate import Verdict
from fedcore.audit.verdict.hooks import AuditContext, AuditHook, Decision, GateHook, Point, run_hooks
from fedcore.testing.audit_hook import HookContract
from tests.audit.builders import audit_of_selections, context_of, limit_of


class Recorder:
    """Says ``answer``, or raises it."""

    def __init__(self, name: str, answer: object = None, points: frozenset[Point] = frozenset(Point)) -> None:
        self.name = name
        self.points = points
        self.answer = answer

    def check(self, context: AuditContext) -> Decision:
        if isinstance(self.answer, BaseException):
            raise self.answer
        if self.answer is None:
            return Decision(verdict=Verdict.PASS, findings=(), hook=self.name)
        return self.answer  # type: ignore[return-value]


class TestGateHook(HookContract):
    def make_hook(self) -> AuditHook:
        return GateHook([limit_of()])


class TestGateHookWithoutLimits(HookContract):
    def make_hook(self) -> AuditHook:
        return GateHook([])


class TestRecorder(HookContract):
    def make_hook(self) -> AuditHook:
        return Recorder("recorder")


def test_hooks_are_called_in_the_order_of_registration() -> None:
    decisions = run_hooks([Recorder("b"), Recorder("a"), Recorder("c")], context_of())

    assert [decision.hook for decision in decisions] == ["b", "a", "c"]


def test_a_hook_is_called_at_its_points_only() -> None:
    hook = Recorder("data", points=frozenset({Point.DATA}))

    assert run_hooks([hook], context_of(point=Point.BEFORE_RELEASE)) == ()
    assert len(run_hooks([hook], context_of(point=Point.DATA))) == 1


def test_a_hook_that_raises_is_inconclusive_and_tells_the_type_alone() -> None:
    hooks = [Recorder("first", ValueError("patient 17 has 42")), Recorder("second")]

    failed, passed = run_hooks(hooks, context_of())

    assert failed == Decision(verdict=Verdict.INCONCLUSIVE, findings=("hook first failed: ValueError",), hook="first")
    assert passed.verdict is Verdict.PASS


@pytest.mark.parametrize("answer", [True, "PASS", Decision(verdict="PASS", findings=(), hook="x")])  # type: ignore[arg-type]
def test_a_hook_that_returns_no_decision_is_inconclusive(answer: object) -> None:
    (decision,) = run_hooks([Recorder("odd", answer)], context_of())

    assert decision.verdict is Verdict.INCONCLUSIVE
    assert decision.findings[0].startswith("hook odd failed: it returned a ")


def test_a_hook_cannot_speak_in_the_name_of_another() -> None:
    answer = Decision(verdict=Verdict.PASS, findings=(), hook="gate")

    assert run_hooks([Recorder("plug-in", answer)], context_of())[0].hook == "plug-in"


def test_ctrl_c_in_a_hook_still_ends_the_run() -> None:
    with pytest.raises(KeyboardInterrupt):
        run_hooks([Recorder("slow", KeyboardInterrupt())], context_of())


def test_a_hook_cannot_change_what_it_is_handed() -> None:
    context = context_of()

    with pytest.raises(TypeError, match="does not support item assignment"):
        context.metrics["loss"] = 0.0  # type: ignore[index]
    with pytest.raises(dataclasses.FrozenInstanceError):
        context.round = 4  # type: ignore[misc]


def test_the_gate_turns_limits_into_a_decision() -> None:
    audits = {"sex": audit_of_selections({"female": (1000, 10000), "male": (3100, 10000)})}

    (decision,) = run_hooks([GateHook([limit_of()])], context_of(audits))

    assert (decision.hook, decision.verdict) == ("gate", Verdict.FAIL)
    assert "male 31.0 % (3,100 of 10,000) over female 10.0 % (1,000 of 10,000)" in decision.findings[0]


def test_a_gate_without_limits_does_not_pass() -> None:
    (decision,) = run_hooks([GateHook([])], context_of())

    assert (decision.verdict, decision.findings) == (None, ("no limits declared",))
