"""Where in a run hooks are asked, with what, and what their answers do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, ClassVar

import pytest

from fedcore.audit.verdict.gate import Verdict
from fedcore.audit.verdict.hooks import AuditContext, Decision, Point
from fedcore.errors import DataError, PlanError
from fedcore.plan import RunPlan
from fedcore_server.runs.deployable_plan import deployable
from fedcore_simulations import simulate
from tests.builders import TinyTask, build_plan


class Everywhere:
    """Notes every call, and says what ``answers`` has for the point."""

    name = "everywhere"
    points = frozenset(Point) - {Point.DATA}
    seen: ClassVar[list[AuditContext]] = []
    answers: ClassVar[dict[Point, Verdict]] = {}

    def check(self, context: AuditContext) -> Decision:
        self.seen.append(context)
        return Decision(verdict=self.answers.get(context.point), findings=(f"at {context.point}",), hook=self.name)


class WithData(Everywhere):
    points = frozenset(Point)


class Quick(Everywhere):
    points = frozenset({Point.BEFORE_RELEASE})


@pytest.fixture(autouse=True)
def forget() -> None:
    Everywhere.seen.clear()
    Everywhere.answers.clear()


def plan_of(hook: str = "Everywhere", **sections: Any) -> Any:
    audit = {"sensitive": ["sex"], "hooks": [f"{__name__}:{hook}"], **sections.pop("audit", {})}
    return build_plan(audit=audit, federation={"rounds": 2}, **sections)


def points_seen() -> list[Point]:
    return list(dict.fromkeys(context.point for context in Everywhere.seen))


def test_hooks_are_asked_at_every_point_in_order(tmp_path: Path) -> None:
    simulate(TinyTask(), plan_of("WithData"), out=tmp_path / "run")

    assert points_seen() == list(Point)


def test_the_plan_is_known_before_anything_is_counted() -> None:
    simulate(TinyTask(), plan_of())

    first = Everywhere.seen[0]
    assert first.point is Point.PLAN
    assert (first.round, dict(first.audits), first.tables["sex"].counts.sum()) == (0, {}, 0)
    assert first.plan["audit"]["sensitive"] == ("sex",)


def test_a_fail_of_the_plan_refuses_the_run_before_anything_is_written(tmp_path: Path) -> None:
    Everywhere.answers[Point.PLAN] = Verdict.FAIL

    with pytest.raises(PlanError, match=r"audit\.hooks: hook everywhere refuses: at plan"):
        simulate(TinyTask(), plan_of(), out=tmp_path / "run")
    assert points_seen() == [Point.PLAN]
    assert not (tmp_path / "run").exists()


def test_doubt_about_the_plan_is_in_the_verdict() -> None:
    Everywhere.answers[Point.PLAN] = Verdict.INCONCLUSIVE

    result = simulate(TinyTask(), plan_of())

    assert result.summary["audit_verdict"] == "INCONCLUSIVE"
    assert result.audit is not None
    told = result.audit.to_json()["decisions"]
    assert {"hook": "everywhere", "verdict": "INCONCLUSIVE", "findings": ["at plan"], "point": "plan"} in told


@pytest.mark.parametrize("method", ["fedavg", "reweighing"])
def test_the_data_point_sees_the_held_out_rows_before_training(method: str) -> None:
    result = simulate(TinyTask(), plan_of("WithData", algorithm={"name": method}))

    context = next(context for context in Everywhere.seen if context.point is Point.DATA)
    assert context.round == 0
    assert context.tables["sex"].counts.sum() == 24
    assert result.rounds[0]["decisions"][0]["point"] == "data"
    assert all("point" not in decision for decision in result.rounds[1]["decisions"])


def test_a_fail_of_the_data_trains_nothing() -> None:
    Everywhere.answers[Point.DATA] = Verdict.FAIL

    with pytest.raises(DataError, match="not trained on these data; hook everywhere refuses: at data"):
        simulate(TinyTask(), plan_of("WithData"))
    assert Point.ROUND_EVALUATED not in points_seen()


def test_a_hook_that_only_looks_at_the_data_changes_nothing_of_the_model() -> None:
    looked, plain = (simulate(TinyTask(), plan_of(hook)) for hook in ("WithData", "Quick"))

    assert looked.metrics == plain.metrics


def test_the_candidate_is_judged_with_all_that_was_measured() -> None:
    Everywhere.answers[Point.CANDIDATE] = Verdict.FAIL

    result = simulate(TinyTask(), plan_of())

    context = next(context for context in Everywhere.seen if context.point is Point.CANDIDATE)
    assert "auc" in context.audits["sex"].gaps
    assert result.summary["audit_verdict"] == "FAIL"
    assert result.summary["withheld"]


def test_what_is_said_after_the_release_is_added_and_changes_no_verdict(tmp_path: Path) -> None:
    Everywhere.answers[Point.AFTER_RELEASE] = Verdict.FAIL

    result = simulate(TinyTask(), plan_of(), out=tmp_path / "run")

    content = json.loads((tmp_path / "run/bias.json").read_text())
    assert content["decisions"][-1] == {
        "hook": "everywhere", "verdict": "FAIL", "findings": ["at after-release"], "point": "after-release",
    }  # fmt: skip
    assert content["verdict"] is result.summary["audit_verdict"] is None
    assert (tmp_path / "run/model.safetensors").exists()
    assert "at after-release" in (tmp_path / "run/bias.md").read_text()
    assert "at after-release" in (tmp_path / "run/report.html").read_text()


def test_after_the_release_the_files_are_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[set[str]] = []

    def check(self: Everywhere, context: AuditContext) -> Decision:
        if context.point is Point.AFTER_RELEASE:
            found.append({path.name for path in (tmp_path / "run").iterdir()})
        return Decision(verdict=None, findings=(), hook=self.name)

    monkeypatch.setattr(Everywhere, "check", check)
    simulate(TinyTask(), plan_of(), out=tmp_path / "run")

    assert found
    assert {"model.safetensors", "bias.json", "bias.md", "summary.json", "privacy.json"} <= found[0]


def test_a_withheld_model_is_not_released_and_nobody_is_asked_after(tmp_path: Path) -> None:
    Everywhere.answers[Point.BEFORE_RELEASE] = Verdict.FAIL

    simulate(TinyTask(), plan_of(), out=tmp_path / "run")

    assert Point.AFTER_RELEASE not in points_seen()


def test_a_run_that_audits_nothing_has_the_report_of_its_hooks() -> None:
    result = simulate(TinyTask(), plan_of("Quick", audit={"sensitive": []}))

    assert result.audit is not None
    assert [decision["hook"] for decision in result.audit.to_json()["decisions"]] == ["everywhere"]


def test_a_fail_of_the_plan_refuses_a_deployment_too() -> None:
    Everywhere.answers[Point.PLAN] = Verdict.FAIL
    plan = RunPlan.from_mapping(
        {
            "task": {"name": "digits"},
            "audit": {
                "sensitive": ["stroke"],
                "vocabularies": {"stroke": ["light", "medium", "heavy", "unknown"]},
                "hooks": [f"{__name__}:Everywhere"],
            },
        }
    )

    with pytest.raises(PlanError, match="hook everywhere refuses: at plan"):
        deployable(plan)


def test_an_unmeasurable_limit_refuses_the_run() -> None:
    plan = {
        "federation": {"clients": 2, "rounds": 1},
        "audit": {"sensitive": ["stroke"], "limits": [{"metric": "auc", "at-most": 0.1}]},
        "engine": {"workers": 1},
    }

    with pytest.raises(
        PlanError, match="auc is measured of scores, and these are counted for two labels; the task has 10"
    ):
        simulate("digits", plan)
