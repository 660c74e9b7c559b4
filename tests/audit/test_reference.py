"""Groups compared with one of them, and limits on what every group gets."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fedcore.audit.attribute_audit import AttributeAudit
from fedcore.audit.fairness import audit_table
from fedcore.audit.gate import Verdict, judge
from fedcore.audit.limits import Limit
from fedcore.audit.measures import measures_of_table
from fedcore.audit.rate_gaps import gap_between
from fedcore.audit.rates import Rate
from fedcore.audit.settings import AuditSettings
from fedcore.errors import PlanError
from tests.audit.bias_table import Command, count_table, options
from tests.audit.builders import table_of, table_of_selections

THREE = {"a": (600, 1000), "b": (450, 1000), "c": (300, 1000)}


@pytest.fixture
def audit(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    return Command(monkeypatch, capsys)


def audited(**references: str) -> AttributeAudit:
    return audit_table(table_of_selections(THREE), AuditSettings(references=references))


def test_every_other_group_is_compared_with_the_reference_alone() -> None:
    found = audited(sex="b")
    rates = found.groups["selection_rate"]

    assert set(found.to_reference) == {"a", "c"}
    one = found.to_reference["c"]["selection_rate"]
    assert (one.highest, one.lowest, one.difference) == ("b", "c", pytest.approx(0.15))
    # Two comparisons instead of three pairs, so that each is held at half the error.
    alone = gap_between("sex", "selection_rate", {"b": rates["b"], "c": rates["c"]}, confidence=0.975)
    assert (one.difference_low, one.ratio_high) == (alone.difference_low, alone.ratio_high)


def test_with_a_reference_limits_are_on_the_gaps_to_it() -> None:
    limit = Limit.of("selection_rate", kind="difference", at_most=0.2)

    assert judge(limit, audited()).verdict is Verdict.FAIL  # a over c: 30 points
    assert judge(limit, audited(sex="b")).verdict is Verdict.PASS  # 15 points either way
    assert judge(Limit.of("selection_rate", kind="ratio", at_least=0.55), audited(sex="b")).verdict is Verdict.PASS


def test_the_gap_over_all_groups_is_told_beside_it() -> None:
    assert audited(sex="b").gaps == audited().gaps


def test_measures_that_are_no_rates_are_compared_with_it_too() -> None:
    table = table_of({"a": (40, 10, 10, 40), "b": (30, 20, 10, 40)})
    plain = audit_table(table, AuditSettings(references={"sex": "a"}))

    found = measures_of_table(plain, table).added(plain)

    assert found.to_reference["b"]["balanced_accuracy"].difference == pytest.approx(0.8 - 0.7)


def test_a_reference_that_is_kept_back_gives_nothing_away() -> None:
    table = table_of_selections({"a": (3, 5), "b": (450, 1000), "c": (300, 1000)})
    found = audit_table(table, AuditSettings(references={"sex": "a"}))

    assert set(found.to_reference) == {"b", "c"}
    assert found.as_shown().to_reference == {}


def test_the_command_compares_with_a_reference(audit: Command, tmp_path: Path) -> None:
    table = count_table(tmp_path / "t.csv", THREE)
    given = options(prediction="hired", weight="n", group="race", reference="race=a", limit="selection_rate>=0.8")
    content = audit.json(table, *given, code=3)

    told = content["to_reference"]["race"]
    assert told["reference"] == "a"
    assert told["gaps"]["c"]["selection_rate"]["ratio"] == pytest.approx(0.5)
    assert "against a:" in audit(table, *given)


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("race=x", "reference of 'race': 'x' is none of its groups, a, b, c"),
        ("race=unknown", "'unknown' is none of its groups"),
        ("sex=a", "--reference sex: it is nothing given as --group"),
        ("race", "--reference must be COL=GROUP, as sex=female, not 'race'"),
        (["race=a", "race=b"], "--reference race is given more than once"),
    ],
)
def test_a_reference_that_is_none_is_refused(audit: Command, tmp_path: Path, reference: object, message: str) -> None:
    table = count_table(tmp_path / "t.csv", THREE)

    assert message in audit.refused(table, *options(prediction="hired", weight="n", group="race", reference=reference))


@pytest.mark.parametrize(
    ("bound", "verdict"),
    [
        ({"at_least": 0.2}, Verdict.PASS),
        ({"at_least": 0.3}, Verdict.INCONCLUSIVE),
        ({"at_least": 0.4}, Verdict.FAIL),
        ({"at_most": 0.7}, Verdict.PASS),
        ({"at_most": 0.5}, Verdict.FAIL),
    ],
)
def test_a_limit_may_be_on_what_every_group_gets(bound: dict[str, float], verdict: Verdict) -> None:
    finding = judge(Limit.of("selection_rate", kind="worst-group", **bound), audited())

    assert finding.verdict is verdict
    assert finding.reason.startswith("selection rate in every group of sex at ")
    assert "; selection rate: " + ("c 30.0 % (" if "at_least" in bound else "a 60.0 % (") in finding.reason


def test_the_interval_of_the_worst_group_holds_for_all_groups_at_once() -> None:
    """False alarm: of 300 draws at nominal 95 % fewer than 93 % has chance 0.06 were it exact, and it is wider."""
    drawn, held = np.random.default_rng(2), 0
    for hits in drawn.binomial(300, 0.998, size=(300, 5)):
        rates = {f"g{i}": Rate.of(int(hit), 300, confidence=0.95) for i, hit in enumerate(hits)}
        gap = gap_between("race", "selection_rate", rates, confidence=0.95)
        assert gap.lowest_ends is not None
        held += gap.lowest_ends[0] <= 0.998 <= gap.lowest_ends[1]

    assert held >= 0.93 * 300


@pytest.mark.parametrize(
    ("limit", "message"),
    [
        ("min(selection_rate)<=0.2", "no group may have less than min(METRIC)>=NUMBER"),
        ("max(selection_rate)>=0.2", "nor more than max(METRIC)<=NUMBER"),
        ("min(demographic_parity)>=0.2", "it is a gap, which no group has by itself; name a rate"),
        ("mean(selection_rate)>=0.2", "expected METRIC<=NUMBER for a difference"),
    ],
)
def test_a_limit_on_the_worst_group_that_says_nothing_is_refused(
    audit: Command, tmp_path: Path, limit: str, message: str
) -> None:
    table = count_table(tmp_path / "t.csv", THREE)

    assert message in audit.refused(table, *options(prediction="hired", weight="n", group="race", limit=limit))


def test_the_command_holds_every_group_to_a_limit(audit: Command, tmp_path: Path) -> None:
    table, given = count_table(tmp_path / "t.csv", THREE), options(prediction="hired", weight="n", group="race")

    content = audit.json(table, *given, *options(limit=["min(selection_rate)>=0.2", "max(selection_rate)<=0.7"]))
    assert content["verdict"] == "PASS"
    assert audit.json(table, *given, "--limit", "min(selection_rate)>=0.4", code=3)["verdict"] == "FAIL"


def test_a_limit_on_the_worst_group_takes_one_bound() -> None:
    with pytest.raises(PlanError, match="a worst-group takes either at-most or at-least"):
        Limit.of("accuracy", kind="worst-group", at_most=0.9, at_least=0.1)
