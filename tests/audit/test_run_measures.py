"""What a run measures beside rates, and limits on it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from fedcore.audit.metrics.measures import measures_of_table
from fedcore.audit.tables.groups import GroupTable
from fedcore.audit.verdict.fairness import audit_table
from fedcore.audit.verdict.gate import Verdict, judge
from fedcore.audit.verdict.hooks import GateHook, Point
from fedcore.audit.verdict.limits import limits_named
from fedcore.audit.verdict.report import BiasReport
from fedcore.audit.verdict.settings import AuditSettings, check_measurable
from fedcore.audit.verdict.shown import Shown
from fedcore.errors import PlanError
from fedcore.plan import RunPlan
from fedcore_simulations import simulate
from tests.audit.builders import context_of, limit_of, table_of
from tests.builders import TinyTask, build_private_plan


def scored_table(rows: int = 900, bins: int = 64, seed: int = 1) -> tuple[GroupTable, dict[str, Any]]:
    """Rows of two groups, scores on bin edges plus half a bin, so that a bin's centre is the score."""
    random = np.random.default_rng(seed)
    groups = random.integers(0, 2, size=rows)
    labels = (random.random(rows) < 0.3 + 0.2 * groups).astype(np.int64)
    places = np.clip((bins * random.beta(2 + labels, 3 - labels)).astype(np.int64), 0, bins - 1)
    scores = (places + 0.5) / bins
    table = GroupTable.collect(
        attribute="sex",
        groups=("female", "male", "unknown"),
        labels=("no", "yes"),
        group_codes=groups,
        label_codes=labels,
        scores=scores,
        num_bins=bins,
    )
    return table, {"groups": groups, "labels": labels, "scores": scores}


def brute_area(scores: np.ndarray, labels: np.ndarray) -> float:
    above, below = scores[labels == 1], scores[labels == 0]
    return float(np.mean((above[:, None] > below) + 0.5 * (above[:, None] == below)))


def test_measures_are_those_of_the_rows() -> None:
    table, rows = scored_table()
    audit = audit_table(table, AuditSettings(score_bins=64))

    measures = measures_of_table(audit, table)

    for code, group in enumerate(("female", "male")):
        mine = rows["groups"] == code
        scores, labels = rows["scores"][mine], rows["labels"][mine]
        chosen = scores >= 0.5
        balanced = (chosen[labels == 1].mean() + (~chosen)[labels == 0].mean()) / 2
        assert measures.estimates["auc"][group].value == pytest.approx(brute_area(scores, labels), abs=1e-12)
        assert measures.estimates["brier_score"][group].value == pytest.approx(np.mean((scores - labels) ** 2))
        assert measures.estimates["balanced_accuracy"][group].value == pytest.approx(balanced, abs=1e-12)
    assert measures.estimates["auc"]["unknown"].value is None


def test_the_first_label_as_the_favourable_one_mirrors_the_table() -> None:
    table, _ = scored_table()
    second = audit_table(table, AuditSettings(score_bins=64))
    first = audit_table(table, AuditSettings(score_bins=64, favourable="no"))

    areas = [measures_of_table(audit, table).estimates["auc"]["male"].value for audit in (first, second)]

    assert areas[0] == pytest.approx(areas[1], abs=1e-12)  # ranked the other way round, both labels swapped


def test_a_table_of_predictions_has_no_scores_to_measure() -> None:
    table = table_of({"female": (40, 10, 10, 40), "male": (30, 20, 5, 45)})

    measures = measures_of_table(audit_table(table, AuditSettings()), table)

    assert measures.estimates["balanced_accuracy"]["female"].value == pytest.approx(0.8)
    assert "auc" not in measures.estimates
    assert not measures.shifts


def test_more_labels_are_measured_against_the_favourable_one() -> None:
    counts = np.zeros((3, 3, 3), dtype=np.int64)
    counts[0] = [[30, 5, 5], [4, 30, 6], [2, 3, 15]]
    counts[1] = [[20, 5, 5], [9, 20, 6], [2, 8, 15]]
    table = GroupTable(
        attribute="sex", groups=("a", "b", "unknown"), labels=("x", "y", "z"), num_bins=3, scored=False, counts=counts
    )
    alone = measures_of_table(audit_table(table, AuditSettings()), table)
    named = measures_of_table(audit_table(table, AuditSettings(favourable="y")), table)

    assert set(alone.estimates) == {"balanced_accuracy", "worst_class_accuracy"}
    assert alone.estimates["balanced_accuracy"]["a"].value == pytest.approx((30 / 40 + 30 / 40 + 15 / 20) / 3)
    assert alone.estimates["worst_class_accuracy"]["b"].value == pytest.approx(20 / 35)
    rejected = (30 + 5 + 2 + 15) / 60
    assert named.estimates["balanced_accuracy"]["a"].value == pytest.approx((30 / 40 + rejected) / 2)


def test_the_report_has_the_shapes_of_the_command() -> None:
    table, _ = scored_table()
    audit = audit_table(table, AuditSettings(score_bins=64))
    measures = measures_of_table(audit, table)
    content = BiasReport(
        plan_sha256="",
        round=1,
        settings=audit.settings,
        audits={"sex": measures.added(audit)},
        measures={"sex": measures},
    ).to_json()

    groups, gaps = content["groups"]["sex"], content["gaps"]["sex"]
    for metric in ("selection_rate", "impact_ratio", "balanced_accuracy", "auc", "brier_score", "theil_index"):
        assert set(groups["male"][metric]) == {"value", "low", "high", "n"}
        assert groups["male"][metric]["low"] <= groups["male"][metric]["value"] <= groups["male"][metric]["high"]
    for name in ("demographic_parity", "equal_opportunity", "equalized_odds", "impact_ratio", "auc", "wasserstein"):
        assert {"difference", "ratio", "low", "high", "highest", "lowest"} <= set(gaps[name])
        assert gaps[name]["difference"] is not None
    assert gaps["demographic_parity"]["difference"] == gaps["selection_rate"]["difference"]
    assert "words" in gaps["selection_rate"]
    assert set(content["cross_group_auc"]["sex"]["male"]) == {"female"}


def test_a_small_group_is_in_nothing_that_is_shown() -> None:
    table = table_of({"a": (40, 10, 10, 40), "b": (30, 20, 5, 45), "c": (20, 9, 7, 30), "d": (2, 1, 1, 1)})
    audit = audit_table(table, AuditSettings())
    measures = measures_of_table(audit, table)
    shown = Shown.of(measures.added(audit), measures)

    hidden = set(audit.suppressed)
    assert "d" in hidden
    assert all(one["value"] is None for group in hidden for one in shown.groups_json()[group].values())
    assert all(not {gap["highest"], gap["lowest"]} & hidden for gap in shown.gaps_json().values())


def test_a_limit_on_an_area_is_judged_before_release_and_not_in_the_rounds() -> None:
    limit = limit_of(metric="auc", at_most="0.5")
    hook = GateHook([limit])
    table, _ = scored_table()
    audit = audit_table(table, AuditSettings(score_bins=64))
    audit = measures_of_table(audit, table).added(audit)

    assert judge(limit, audit).verdict is Verdict.PASS
    assert hook.check(context_of({"sex": audit}, point=Point.BEFORE_RELEASE)).verdict is Verdict.PASS
    in_a_round = hook.check(context_of(point=Point.ROUND_EVALUATED))
    assert (in_a_round.verdict, in_a_round.findings) == (None, ("limits are judged before release",))


def test_usual_names_stand_for_their_metrics() -> None:
    limits = limits_named("equalized_odds", kind="difference", at_most=0.1)

    assert [limit.metric for limit in limits] == ["true_positive_rate", "false_positive_rate"]
    with pytest.raises(PlanError, match="it is a ratio"):
        limits_named("impact_ratio", kind="difference", at_most=0.1)


def test_a_plan_may_limit_what_is_no_rate() -> None:
    limits = [{"metric": "auc", "at-most": 0.1}, {"metric": "impact_ratio", "kind": "ratio", "at-least": 0.8}]

    plan = RunPlan.from_mapping({"audit": {"sensitive": ["sex"], "limits": limits}})

    assert [limit.metric for limit in plan.audit.limits] == ["auc", "impact_ratio"]
    with pytest.raises(PlanError, match="its ratio has no interval"):
        RunPlan.from_mapping(
            {"audit": {"sensitive": ["sex"], "limits": [{"metric": "auc", "kind": "ratio", "at-least": 0.8}]}}
        )


def test_limits_on_what_cannot_be_measured_are_refused() -> None:
    table = table_of({"a": (1, 1, 1, 1), "b": (1, 1, 1, 1)})

    with pytest.raises(PlanError, match="auc is measured of scores"):
        check_measurable(AuditSettings(limits=(limit_of(metric="auc"),)), {"sex": table})
    check_measurable(AuditSettings(limits=(limit_of(metric="balanced_accuracy"),)), {"sex": table})


def test_a_run_measures_and_judges() -> None:
    plan = {
        "federation": {"clients": 3, "rounds": 1},
        "audit": {"sensitive": ["sex"], "limits": [{"metric": "auc", "at-most": 0.9}]},
        "engine": {"workers": 1},
        "training": {"device": "cpu"},
    }

    found = simulate(TinyTask(rows=600), plan).results.bias

    assert found is not None
    content = found.to_json()
    assert content["verdict"] in ("PASS", "INCONCLUSIVE")
    assert content["findings"][0]["metric"] == "auc"
    assert content["gaps"]["sex"]["auc"]["difference"] is not None


def test_of_noisy_counts_only_rates_are_told() -> None:
    plan = build_private_plan(
        privacy={"evaluation_noise_multiplier": 1.0, "evaluation_loss_bound": 5.0}, audit={"sensitive": ["sex"]}
    )

    content = simulate(TinyTask(rows=2000), plan, out=None).results.bias.to_json()  # type: ignore[union-attr]

    rates = content["groups"]["sex"]["male"]
    assert rates["selection_rate"]["value"] is not None
    assert "impact_ratio" in rates
    assert "auc" not in rates
    assert (content["sites"], content["clients"]) == ({}, None)
    assert (content["calibration"], content["unknown_bounds"]) == ({"sex": {}}, {"sex": {}})


def test_limits_on_what_is_not_measured_of_noisy_counts_are_refused() -> None:
    plan = build_private_plan(
        privacy={"evaluation_noise_multiplier": 1.0, "evaluation_loss_bound": 5.0},
        audit={"sensitive": ["sex"], "limits": [{"metric": "auc", "at-most": 0.2}]},
    )

    with pytest.raises(PlanError, match="auc is not measured of noisy counts"):
        simulate(TinyTask(), plan)
