"""The contract that hooks' authors subclass finds what is wrong with a hook."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from fedcore.audit.verdict.gate import Verdict
from fedcore.audit.verdict.hooks import AuditContext, Decision, Point
from fedcore.errors import PlanError
from fedcore.plan import RunPlan
from fedcore.testing.audit_hook import HookContract, example_context
from fedcore_server.rounds.plan_hooks import load_hooks
from tests.docs.pages import ROOT, blocks


class Sound:
    name = "sound"
    points = frozenset(Point)

    def check(self, context: AuditContext) -> Decision:
        return Decision(verdict=Verdict.PASS, findings=(f"at {context.point}",), hook=self.name)


class Unnamed(Sound):
    name = ""


class Listed(Sound):
    points = [Point.PLAN]  # type: ignore[assignment]  # noqa: RUF012


class Borrower(Sound):
    def check(self, context: AuditContext) -> Decision:
        return Decision(verdict=Verdict.PASS, findings=(), hook="gate")


class Talker(Sound):
    def check(self, context: AuditContext) -> Decision:
        return Decision(verdict="PASS", findings=(), hook=self.name)  # type: ignore[arg-type]


class Counter(Sound):
    def __init__(self) -> None:
        self.calls = 0

    def check(self, context: AuditContext) -> Decision:
        self.calls += 1
        return Decision(verdict=Verdict.PASS, findings=(f"call {self.calls}",), hook=self.name)


class Divider(Sound):
    def check(self, context: AuditContext) -> Decision:
        rates = context.audits["sex"].groups["selection_rate"]
        low = min(rate.value for group, rate in rates.items() if group != "unknown")  # type: ignore[type-var]
        return Decision(verdict=Verdict.PASS if low else Verdict.FAIL, findings=(), hook=self.name)


class Meddler(Sound):
    def check(self, context: AuditContext) -> Decision:
        for audit in context.audits.values():
            audit.sizes["female"] = 0  # type: ignore[index]
        return Decision(verdict=None, findings=(), hook=self.name)


class Silent(Sound):
    points = frozenset({Point.BEFORE_RELEASE})

    def check(self, context: AuditContext) -> Decision:
        return None  # type: ignore[return-value]


def failures(make: Callable[[], Any]) -> set[str]:
    class Tests(HookContract):
        def make_hook(self) -> Any:
            return make()

    failed = set()
    for name in (name for name in dir(HookContract) if name.startswith("test_")):
        try:
            getattr(Tests(), name)()
        except Exception:
            failed.add(name)
    return failed


class TestSound(HookContract):
    def make_hook(self) -> Sound:
        return Sound()


@pytest.mark.parametrize(
    ("broken", "found"),
    [
        (Unnamed, "test_it_has_a_name_and_points"),
        (Listed, "test_it_has_a_name_and_points"),
        (Borrower, "test_it_returns_a_decision_in_its_own_name"),
        (Talker, "test_it_returns_a_decision_in_its_own_name"),
        (Silent, "test_it_returns_a_decision_in_its_own_name"),
        (Counter, "test_equal_contexts_give_equal_decisions"),
        (Divider, "test_it_accepts_groups_without_rows"),
        (Divider, "test_it_accepts_a_run_that_audits_nothing"),
        (Meddler, "test_it_changes_nothing_that_it_is_handed"),
    ],
)
def test_the_contract_finds_what_is_wrong(broken: Callable[[], Any], found: str) -> None:
    assert found in failures(broken)
    assert not failures(Sound)


def test_a_context_s_plan_cannot_be_changed() -> None:
    context = example_context(plan={"audit": {"sensitive": ["sex"]}})

    with pytest.raises(TypeError):
        context.plan["audit"]["sensitive"] = ()
    assert context.plan["audit"]["sensitive"] == ("sex",)


def test_at_the_plan_nothing_is_counted() -> None:
    context = example_context(Point.PLAN)

    assert context.audits == {}
    assert not context.tables["sex"].counts.any()


@pytest.mark.parametrize("name", ["LimitsDeclared", "EnoughRows", "Floor"])
def test_the_hooks_of_the_documentation_keep_the_contract(name: str) -> None:
    page = blocks(ROOT / "docs/audit-hooks.md")
    written = next(block.text for block in page if block.file == "my_hooks.py")
    found: dict[str, Any] = {"__name__": "my_hooks"}
    exec(compile(written, "my_hooks.py", "exec"), found)  # noqa: S102 - the documentation's own text

    assert failures(found[name]) == set()


@pytest.mark.parametrize(
    ("groups", "verdict"),
    [
        ({"female": (45, 5, 5, 45), "male": (40, 10, 10, 40)}, Verdict.PASS),
        ({"female": (45, 5, 5, 45), "male": (10, 40, 40, 10)}, Verdict.FAIL),
        ({"female": (45, 5, 5, 45), "male": (3, 2, 2, 3)}, Verdict.INCONCLUSIVE),
        ({"female": (10, 40, 40, 10), "male": (0, 0, 0, 0)}, Verdict.FAIL),
    ],
)
def test_the_floor_of_the_documentation_judges_by_the_whole_interval(
    groups: dict[str, tuple[int, int, int, int]], verdict: Verdict
) -> None:
    written = next(block.text for block in blocks(ROOT / "docs/audit-hooks.md") if block.file == "my_hooks.py")
    found: dict[str, Any] = {"__name__": "my_hooks"}
    exec(compile(written, "my_hooks.py", "exec"), found)  # noqa: S102 - the documentation's own text

    assert found["Floor"]().check(example_context(Point.CANDIDATE, groups)).verdict is verdict


class Bounded(Sound):
    def __init__(self, limit: int) -> None:
        self.limit = limit


def test_a_plan_gives_a_hook_its_options() -> None:
    reference = {"name": f"{__name__}:Bounded", "limit": 3}
    (hook,) = load_hooks(RunPlan.from_mapping({"audit": {"hooks": [reference]}}))
    assert isinstance(hook, Bounded)
    assert hook.limit == 3
    with pytest.raises(PlanError, match="its options are: limit"):
        load_hooks(RunPlan.from_mapping({"audit": {"hooks": [{**reference, "limits": 3}]}}))
