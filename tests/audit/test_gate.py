from __future__ import annotations

import numpy as np
import pytest

from fedcore.audit.metrics.catalogue import CATALOGUE
from fedcore.audit.metrics.group_gaps import gap_between
from fedcore.audit.metrics.rates import Rate
from fedcore.audit.tables.groups import UNKNOWN
from fedcore.audit.verdict.attribute_audit import AttributeAudit
from fedcore.audit.verdict.evidence import detectable_difference
from fedcore.audit.verdict.gate import Verdict, judge, judge_all, overall
from fedcore.audit.verdict.settings import AuditSettings
from fedcore.errors import PlanError
from tests.audit.builders import audit_of_selections, limit_of


def light_audit(selected: list[int], n: int) -> AttributeAudit:
    """Return an audit of one metric, which is what the simulations need thousands of."""
    rates = {str(i): Rate.of(int(k), n, confidence=0.95) for i, k in enumerate(selected)}
    gaps = {"selection_rate": gap_between("sex", "selection_rate", rates, confidence=0.95)}
    return AttributeAudit(
        attribute="sex",
        settings=AuditSettings(),
        sizes=dict.fromkeys(rates, n),
        overall={},
        groups={"selection_rate": rates},
        gaps=gaps,
        shown_gaps=gaps,
        small=(),
        suppressed=(),
    )


@pytest.mark.parametrize(
    ("kind", "groups", "verdict"),
    [
        ("difference", {"female": (3000, 10000), "male": (3100, 10000)}, Verdict.PASS),
        ("difference", {"female": (1000, 10000), "male": (3100, 10000)}, Verdict.FAIL),
        ("difference", {"female": (30, 100), "male": (31, 100)}, Verdict.INCONCLUSIVE),
        ("difference", {"female": (10, 100), "male": (31, 100)}, Verdict.INCONCLUSIVE),
        ("ratio", {"female": (3000, 10000), "male": (3100, 10000)}, Verdict.PASS),
        ("ratio", {"female": (1000, 10000), "male": (3100, 10000)}, Verdict.FAIL),
        ("ratio", {"female": (30, 100), "male": (31, 100)}, Verdict.INCONCLUSIVE),
    ],
)
def test_a_verdict_needs_the_whole_interval(kind: str, groups: dict[str, tuple[int, int]], verdict: Verdict) -> None:
    assert judge(limit_of(kind=kind), audit_of_selections(groups)).verdict is verdict


def test_a_group_without_a_rate_blocks_a_pass_and_is_named() -> None:
    groups = {"female": (3000, 10000), "male": (3100, 10000), "other": (0, 0)}

    finding = judge(limit_of(), audit_of_selections(groups))

    assert finding.verdict is Verdict.INCONCLUSIVE
    assert finding.reason.endswith("; the rate is undefined for other")


def test_a_group_without_a_rate_does_not_hide_a_failure() -> None:
    groups = {"female": (1000, 10000), "male": (3100, 10000), "other": (0, 0)}

    assert judge(limit_of(), audit_of_selections(groups)).verdict is Verdict.FAIL


def test_rows_of_unknown_group_are_not_compared() -> None:
    groups = {"female": (3000, 10000), "male": (3100, 10000), UNKNOWN: (0, 10000)}

    assert judge(limit_of(), audit_of_selections(groups)).verdict is Verdict.PASS


def test_a_ratio_of_rates_that_are_all_zero_cannot_pass() -> None:
    finding = judge(limit_of(kind="ratio"), audit_of_selections({"female": (0, 10**6), "male": (0, 10**6)}))

    assert finding.verdict is Verdict.INCONCLUSIVE
    assert "the ratio is undefined, because every rate is 0" in finding.reason
    assert finding.estimate_meets is None


def test_the_estimate_is_compared_exactly() -> None:
    audit = audit_of_selections({"female": (4, 6), "male": (5, 6)}, min_cell=1)

    assert judge(limit_of(kind="ratio", at_least=0.8), audit).estimate_meets is True
    assert judge(limit_of(kind="ratio", at_least="0.80001"), audit).estimate_meets is False
    # In floating point 0.8 - 0.7 is more than 0.1.
    audit = audit_of_selections({"female": (70, 100), "male": (80, 100)})
    assert judge(limit_of(at_most=0.1), audit).estimate_meets is True


def test_too_few_examples_say_what_they_could_detect() -> None:
    finding = judge(limit_of(), audit_of_selections({"female": (30, 100), "male": (31, 100)}))

    assert finding.reason == (
        "selection rate difference over sex at most 0.1: INCONCLUSIVE; "
        "selection rate: male 31.0 % (31 of 100) over female 30.0 % (30 of 100), 1.0 points (0.0 to 14.3); "
        "this many examples can detect a gap of 18.3 points or more; "
        "at the rates seen a PASS needs about 220 rows of each group; female has 100"
    )


def test_a_finding_tells_no_number_of_a_hidden_group() -> None:
    groups = {"female": (1, 4), "male": (31, 200), "other": (30, 100)}

    finding = judge(limit_of(), audit_of_selections(groups, min_cell=10))

    assert finding.reason == (
        "selection rate difference over sex at most 0.1: INCONCLUSIVE; "
        "judged with groups too small to be shown (female, other), so without numbers here"
    )


def test_the_detectable_difference_is_found_in_four_of_five_samples() -> None:
    # 500 samples; at a true power of 0.8 a share outside 0.74 to 0.86 has a probability of 1e-3.
    audit = light_audit([200, 200], 500)
    rates, gap = audit.groups["selection_rate"], audit.gaps["selection_rate"]
    smallest = detectable_difference(rates, gap, confidence=0.95)
    assert smallest is not None

    generator = np.random.default_rng(5)
    samples = generator.binomial(500, [0.4 - smallest / 2, 0.4 + smallest / 2], size=(500, 2)).tolist()
    found = [(light_audit(sample, 500).gaps["selection_rate"].difference_low or 0) > 0 for sample in samples]

    assert 0.74 < np.mean(found) < 0.86


def test_a_handful_of_examples_can_detect_nothing() -> None:
    finding = judge(limit_of(), audit_of_selections({"female": (1, 2), "male": (1, 2)}, min_cell=1))

    assert "so few examples can detect no gap at all" in finding.reason


def test_six_equal_groups_fail_the_four_fifths_rule_hardly_ever() -> None:
    # 2,000 runs. Were the rate of false FAILs 1 %, fewer than 10 would have a probability of 0.005; at 0.1 %,
    # 10 or more have one of 5e-5. The rule on point estimates fails nine runs of ten.
    generator = np.random.default_rng(1)
    limit = limit_of(kind="ratio", at_least=0.8)
    findings = [judge(limit, light_audit(k, 100)) for k in generator.binomial(100, 0.3, size=(2000, 6)).tolist()]

    assert sum(finding.verdict is Verdict.FAIL for finding in findings) < 10
    assert not any(finding.verdict is Verdict.PASS for finding in findings)
    assert np.mean([finding.estimate_meets is False for finding in findings]) > 0.85


def test_a_limit_on_every_attribute_is_judged_for_each() -> None:
    audits = {
        "sex": audit_of_selections({"female": (3000, 10000), "male": (3100, 10000)}),
        "race": audit_of_selections({"a": (1000, 10000), "b": (3100, 10000)}, attribute="race"),
    }

    findings = judge_all([limit_of()], audits)

    assert [(finding.attribute, finding.verdict) for finding in findings] == [
        ("sex", "PASS"),
        ("race", "FAIL"),
    ]


def test_a_limit_on_what_is_not_measured_is_inconclusive() -> None:
    audit = audit_of_selections({"female": (3000, 10000), "male": (3100, 10000)})
    (unaudited,) = judge_all([limit_of(attribute="race")], {"sex": audit})
    (nothing,) = judge_all([limit_of()], {})

    assert (unaudited.verdict, unaudited.reason) == (Verdict.INCONCLUSIVE, "attribute 'race' is not audited")
    assert (nothing.verdict, nothing.reason) == (Verdict.INCONCLUSIVE, "no attribute is audited")


def test_the_worst_verdict_is_the_verdict_and_no_limit_is_none() -> None:
    audits = {
        "pass": audit_of_selections({"a": (3000, 10000), "b": (3100, 10000)}),
        "fail": audit_of_selections({"a": (1000, 10000), "b": (3100, 10000)}),
        "open": audit_of_selections({"a": (30, 100), "b": (31, 100)}),
    }
    found = {name: judge(limit_of(), audit).verdict for name, audit in audits.items()}

    assert overall(found.values()) is Verdict.FAIL
    assert overall([found["pass"], found["open"]]) is Verdict.INCONCLUSIVE
    assert overall([found["pass"], found["pass"]]) is Verdict.PASS
    assert overall([]) is None


@pytest.mark.parametrize("metric", [name for name, metric in CATALOGUE.items() if metric.instead])
def test_a_metric_without_a_limit_names_one_that_has(metric: str) -> None:
    instead = CATALOGUE[metric].instead
    with pytest.raises(PlanError, match=f"'{metric}' is reported, and has no limit; set one on '{instead[0][0]}'"):
        limit_of(metric=metric)
    for other, kind in instead:
        assert limit_of(metric=other, kind=kind, at_most="0.5", at_least=None).metric == other
