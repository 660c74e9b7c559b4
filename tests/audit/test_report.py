from __future__ import annotations

import json
from typing import Any

from fedcore.audit.tables.groups import UNKNOWN
from fedcore.audit.verdict.gate import Verdict
from fedcore.audit.verdict.hooks import Decision
from fedcore.audit.verdict.report import BiasReport
from fedcore.audit.verdict.settings import AuditSettings
from tests.audit.builders import audit_of_selections, limit_of

FAIR = {"female": (3000, 10000), "male": (3100, 10000)}
UNFAIR = {"female": (1000, 10000), "male": (3100, 10000)}


def report_of(audits: dict[str, dict[str, tuple[int, int]]] | None = None, **parts: Any) -> BiasReport:
    settings = AuditSettings(limits=tuple(parts.pop("limits", ())))
    fields: dict[str, Any] = {
        "plan_sha256": "ab" * 32,
        "round": 12,
        "settings": settings,
        "audits": {
            name: audit_of_selections(groups, attribute=name) for name, groups in (audits or {"sex": FAIR}).items()
        },
    }
    return BiasReport(**{**fields, **parts})


def test_the_report_has_every_part_and_is_plain_json() -> None:
    content = report_of(limits=[limit_of()]).to_json()

    assert json.loads(json.dumps(content, allow_nan=False)) == content
    assert list(content) == [
        "schema_version", "plan_sha256", "round", "confidence", "methods", "population", "threshold",
        "favourable", "min_cell", "overall", "groups", "gaps", "to_reference", "bounded_group_loss",
        "by_class", "unknown_bounds", "cross_group_auc", "auc_bounds", "calibration",
        "sites", "clients", "suppressed", "partly_suppressed", "findings", "decisions", "verdict",
    ]  # fmt: skip
    assert content["groups"]["sex"]["male"]["selection_rate"]["value"] == 0.31
    assert content["groups"]["sex"][UNKNOWN]["selection_rate"]["value"] is None
    assert set(content["groups"]["sex"]["male"]["selection_rate"]) == {"value", "low", "high", "n"}
    assert content["overall"]["sex"]["selection_rate"]["n"] == 20000
    gap = content["gaps"]["sex"]["selection_rate"]
    assert (
        gap["words"] == "selection rate: male 31.0 % (3,100 of 10,000) over female 30.0 % (3,000 of 10,000), 1.0 points"
    )
    assert gap["low"] == 0 < gap["difference"] < gap["high"] < 0.03
    assert content["findings"][0]["verdict"] == content["verdict"] == "PASS"


def test_a_report_without_limits_has_no_verdict() -> None:
    assert report_of().to_json()["verdict"] is None


def test_a_hook_can_spoil_a_pass() -> None:
    doubt = Decision(verdict=Verdict.INCONCLUSIVE, findings=("hook x failed: ValueError",), hook="x")
    silent = Decision(verdict=None, findings=(), hook="observer")

    assert report_of(limits=[limit_of()], decisions=(silent,)).verdict is Verdict.PASS
    assert report_of(limits=[limit_of()], decisions=(doubt,)).verdict is Verdict.INCONCLUSIVE


def test_the_worst_gap_is_the_one_furthest_beyond_its_limit() -> None:
    audits = {"sex": FAIR, "race": UNFAIR}
    strict, lax = limit_of(at_most=0.001, attribute="sex"), limit_of(at_most=0.2, attribute="race")

    worst = report_of(audits, limits=[strict, lax]).worst_gap()

    assert worst is not None
    assert worst.attribute == "race"  # surely 19.9 points of 20 allowed; of sex no point of 0.1 is sure
    assert report_of(audits, limits=[strict, lax]).worst_gap_is() == "gap beyond its limit"
    assert report_of(audits, limits=[limit_of(at_most=0.5)]).worst_gap_is() == "gap nearest its limit"


def test_the_worst_gap_without_limits_is_the_largest_in_accuracy() -> None:
    worst = report_of({"sex": FAIR, "race": UNFAIR}).worst_gap()

    assert worst is not None
    assert (worst.attribute, worst.metric) == ("race", "accuracy")
    assert report_of({"sex": FAIR}).worst_gap_is() == "clearest gap in accuracy"


def test_a_ratio_is_as_far_beyond_its_limit_as_it_surely_is() -> None:
    limits = [limit_of(at_most=0.2), limit_of(kind="ratio", attribute="race")]

    worst = [
        report_of({"sex": UNFAIR, "race": {"a": (0, n), "b": (n // 2, n)}}, limits=limits).worst_gap() for n in (4, 400)
    ]

    # A ratio of 0 of four rows may as well be 1; of 400 it is surely under a tenth.
    assert [gap.attribute for gap in worst if gap is not None] == ["sex", "race"]


def test_nothing_measured_has_no_worst_gap() -> None:
    assert report_of({"sex": {"female": (3, 100), "male": (0, 0)}}).worst_gap() is None
    assert BiasReport(plan_sha256="", round=0, settings=AuditSettings(), audits={}).worst_gap() is None
