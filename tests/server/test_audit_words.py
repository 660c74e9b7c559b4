"""What a terminal says of an audit at the end of a run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from fedcore.audit.verdict.gate import Verdict
from fedcore.audit.verdict.hooks import AuditContext, Decision, Point
from fedcore.cli import build_app
from fedcore_server.runs.audit_words import reasons
from fedcore_server.runs.following import wait_for
from fedcore_server.runs.release import exit_code
from fedcore_server.runs.store import RunState, RunStore
from fedcore_simulations import simulate
from tests.builders import TinyTask, build_plan

BROKEN = {"verdict": "FAIL", "reason": "selection rate by sex: FAIL; 30 points (21 to 38)"}
OPEN = {"verdict": "INCONCLUSIVE", "reason": "accuracy by sex: INCONCLUSIVE; 3 points (0 to 12)"}
HELD = {"verdict": "PASS", "reason": "accuracy by age: PASS; 1 points (0 to 4)"}
GATE = {"hook": "gate", "verdict": "FAIL", "findings": [one["reason"] for one in (OPEN, HELD, BROKEN)]}


class Late:
    """Objects when nothing can be done any more."""

    name = "late"
    points = frozenset({Point.AFTER_RELEASE})

    def check(self, context: AuditContext) -> Decision:
        return Decision(verdict=Verdict.FAIL, findings=("[red]the registry[/] says no",), hook=self.name)


def decision(verdict: str | None, *findings: str, **parts: Any) -> dict[str, Any]:
    return {"hook": "floor", "verdict": verdict, "findings": list(findings), **parts}


def late_plan(**sections: Any) -> Any:
    limits = [{"metric": "selection_rate", "kind": "difference", "at-most": 0.0001}]
    audit = {"sensitive": ["sex"], "gate": "report", "hooks": [f"{__name__}:Late"], "limits": limits}
    return build_plan(task={"name": "digits"}, audit=audit, federation={"rounds": 2}, **sections)


def test_reasons_are_of_what_is_no_pass_once_each_and_the_worst_first() -> None:
    bias = {"findings": [OPEN, HELD, BROKEN], "decisions": [GATE, decision(None, "seen"), decision("PASS", "good")]}
    assert reasons(bias) == [BROKEN["reason"], OPEN["reason"]]


def test_a_hook_that_objects_is_named_also_without_a_reason_and_after_the_release() -> None:
    said = [decision("FAIL"), decision("INCONCLUSIVE", "too few"), decision("FAIL", "no", point="after-release")]
    assert reasons({"findings": [HELD], "decisions": said}) == [
        "hook floor: FAIL; it gives no reason",
        "after the release, hook floor: FAIL; no",
        "hook floor: INCONCLUSIVE; too few",
    ]


@pytest.mark.parametrize(("number", "last"), [(4, "hook floor: FAIL; 3"), (5, "and 1 more: see report.html")])
def test_four_reasons_are_told_and_how_many_more_there_are(number: int, last: str) -> None:
    told = reasons({"decisions": [decision("FAIL", *map(str, range(number)))]})
    assert (told[0], told[-1], len(told)) == ("hook floor: FAIL; 0", last, number)


def test_an_audit_that_passed_or_was_not_made_needs_no_words() -> None:
    assert reasons({"findings": [HELD], "decisions": [decision("PASS", "good")]}) == []
    assert reasons({}) == []


def test_simulate_tells_why_the_audit_did_not_pass(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    plan = late_plan().updated(audit={"sensitive": ["stroke"], "limits": [{"metric": "accuracy", "at-most": 0.0001}]})
    Path("plan.toml").write_text(plan.to_toml())
    told = CliRunner().invoke(build_app(), ["simulate", "plan.toml", "--out", "run"])
    assert told.exit_code == 0, told.output
    (finding,) = json.loads((tmp_path / "run/bias.json").read_text())["findings"]
    assert finding["verdict"] != "PASS"
    assert f"  {finding['reason']}\n" in told.output
    assert "gap beyond its limit" in told.output
    assert "  after the release, hook late: FAIL; [red]the registry[/] says no\n" in told.output


def test_run_tells_why_the_audit_did_not_pass(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = simulate(TinyTask(rows=600), late_plan(), out=tmp_path / "simulated")
    store = RunStore(tmp_path / "runs")
    name = store.submit(late_plan())
    for file in ("summary.json", "bias.json"):
        (store.path / name / file).write_bytes((tmp_path / "simulated" / file).read_bytes())
    store.change(name, state=RunState.FINISHED)
    assert wait_for(store, name, before=0, follow=True, as_json=False) == exit_code(result.summary) == 0
    told = capsys.readouterr().err.splitlines()
    assert f"audit  {result.summary['audit_verdict']}" in told
    assert result.audit is not None
    assert next(finding.reason for finding in result.audit.findings) in told
    assert "after the release, hook late: FAIL; [red]the registry[/] says no" in told
