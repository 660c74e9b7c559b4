"""Several labels: each class against the others, and the class served worst."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from fedcore.audit.metrics.classes import with_classes, worst_classes
from fedcore.audit.metrics.estimators.class_accuracy import balanced_accuracy, worst_class_accuracy
from fedcore.audit.tables.groups import UNKNOWN, GroupTable
from fedcore.audit.verdict.attribute_audit import AttributeAudit
from fedcore.audit.verdict.fairness import audit_table
from fedcore.audit.verdict.gate import Verdict, judge
from fedcore.audit.verdict.limits import Limit
from fedcore.audit.verdict.settings import AuditSettings
from tests.audit.bias_table import Command, options, write_table

GROUPS, LABELS = ("f", "m", UNKNOWN), ("low", "mid", "high")


@pytest.fixture
def audit(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    return Command(monkeypatch, capsys)


def rows(seed: int, n: int = 900) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Groups, labels and predictions; the second group is served worse."""
    drawn = np.random.default_rng(seed)
    group, label = drawn.integers(0, 2, n), drawn.integers(0, 3, n)
    right = drawn.random(n) < np.where(group == 0, 0.85, 0.65)
    return group, label, np.where(right, label, drawn.integers(0, 3, n))


def table_of_rows(group: NDArray[np.int64], label: NDArray[np.int64], predicted: NDArray[np.int64]) -> GroupTable:
    return GroupTable.collect(
        attribute="sex", groups=GROUPS, labels=LABELS, group_codes=group, label_codes=label, predictions=predicted
    )


def audited(table: GroupTable, **settings: object) -> AttributeAudit:
    return with_classes(audit_table(table, AuditSettings(**settings)), table)  # type: ignore[arg-type]


@pytest.mark.parametrize("seed", range(5))
def test_each_class_against_the_others_is_fairlearn_s(seed: int) -> None:
    import fairlearn.metrics as oracle

    group, label, predicted = rows(seed)
    found = audited(table_of_rows(group, label, predicted)).classes

    for code, name in enumerate(LABELS):
        told = {"y_true": label == code, "y_pred": predicted == code, "sensitive_features": group}
        for metric, function in (
            ("selection_rate", oracle.selection_rate),
            ("true_positive_rate", oracle.true_positive_rate),
            ("false_positive_rate", oracle.false_positive_rate),
        ):
            frame = oracle.MetricFrame(metrics=function, **told)
            own = [found[name].groups[metric][g].value for g in GROUPS[:2]]
            assert own == pytest.approx(frame.by_group.tolist(), abs=1e-12)
            assert found[name].gaps[metric].difference == pytest.approx(frame.difference(), abs=1e-12)
            assert found[name].gaps[metric].ratio == pytest.approx(frame.ratio(), abs=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_the_widest_gap_is_the_largest_over_the_classes(seed: int) -> None:
    import fairlearn.metrics as oracle

    group, label, predicted = rows(seed)
    found = worst_classes(audited(table_of_rows(group, label, predicted)))

    odds = [
        oracle.equalized_odds_difference(label == code, predicted == code, sensitive_features=group)
        for code in range(3)
    ]
    ratios = [
        oracle.demographic_parity_ratio(label == code, predicted == code, sensitive_features=group) for code in range(3)
    ]
    of_any = {name: found[name].parity.over_all_pairs for name in ("equalized_odds", "impact_ratio")}
    assert of_any["equalized_odds"]["difference"] == pytest.approx(max(odds), abs=1e-12)
    assert of_any["impact_ratio"]["ratio"] == pytest.approx(min(ratios), abs=1e-12)


def test_the_accuracies_of_classes_are_scikit_learn_s() -> None:
    from sklearn.metrics import balanced_accuracy_score, recall_score

    _, label, predicted = rows(7)
    confusion = np.zeros((3, 3), dtype=np.int64)
    np.add.at(confusion, (label, predicted), 1)
    mean, least = balanced_accuracy(confusion), worst_class_accuracy(confusion)

    assert mean.value == pytest.approx(balanced_accuracy_score(label, predicted), abs=1e-12)
    assert least.value == pytest.approx(min(recall_score(label, predicted, average=None)), abs=1e-12)


@pytest.mark.parametrize(("shares", "sizes"), [([0.9, 0.9, 0.9, 0.7], 80), ([0.99] * 10, 30), ([0.995] * 6, 100)])
def test_the_intervals_of_classes_hold_together(shares: list[float], sizes: int) -> None:
    """False alarm: 95 % nominal over 400 draws; fewer than 93 % has chance 0.03 were it exact, and it is wider."""
    drawn, classes, held = np.random.default_rng(5), np.arange(len(shares)), {"mean": 0, "least": 0}
    for hits in drawn.binomial(sizes, shares, size=(400, len(shares))):
        confusion = np.diag(hits)
        confusion[classes, (classes + 1) % len(shares)] = sizes - hits
        mean, least = (one(confusion).measure(0.95) for one in (balanced_accuracy, worst_class_accuracy))
        held["mean"] += (mean.low or 0) <= np.mean(shares) <= (mean.high or 0)
        held["least"] += (least.low or 0) <= min(shares) <= (least.high or 0)

    assert min(held.values()) >= 0.93 * 400, held


def test_of_alike_groups_the_widest_of_many_classes_is_within_chance() -> None:
    """All 5 classes hold together in 95 % of draws or more: of 200 draws fewer than 91 % has a chance under 1 %."""
    drawn, null = np.random.default_rng(1), {"selection_rate": 0, "false_positive_rate": 0, "equalized_odds": 0}
    labels = tuple("abcde")
    for _ in range(200):
        group, label, predicted = (drawn.integers(0, most, 800) for most in (2, 5, 5))
        table = GroupTable.collect(
            attribute="sex", groups=GROUPS, labels=labels, group_codes=group, label_codes=label, predictions=predicted
        )
        found = worst_classes(audited(table))
        for name in null:
            null[name] += found[name].parity.low == 0

    assert min(null.values()) >= 0.91 * 200, null


def test_a_limit_holds_for_every_class() -> None:
    found = audited(table_of_rows(*rows(0, n=20_000)))
    wide = Limit.of("true_positive_rate", kind="difference", at_most=0.5)
    narrow = Limit.of("true_positive_rate", kind="difference", at_most=0.02)

    assert judge(wide, found).verdict is Verdict.PASS
    failed = judge(narrow, found)
    assert failed.verdict is Verdict.FAIL
    assert "true positive rate of " in failed.reason


def test_a_class_that_no_group_has_leaves_a_limit_open() -> None:
    group, label, predicted = rows(0)
    seen = label != 2
    found = audited(table_of_rows(group[seen], label[seen], np.minimum(predicted[seen], 1)))

    finding = judge(Limit.of("true_positive_rate", kind="difference", at_most=0.9), found)

    assert finding.verdict is Verdict.INCONCLUSIVE
    assert "high" in finding.reason


def test_a_class_without_a_gap_is_named_beside_the_widest() -> None:
    group, label, predicted = rows(0)
    seen = (label != 2) | (group == 1)
    found = worst_classes(audited(table_of_rows(group[seen], label[seen], predicted[seen]), min_cell=1))

    assert found["true_positive_rate"].undefined == ("high",)
    assert found["equalized_odds"].undefined == ("high",)
    assert found["selection_rate"].undefined == ()


def test_a_favourable_label_and_two_labels_need_no_classes() -> None:
    table = table_of_rows(*rows(0))

    assert audited(table, favourable="mid").classes == {}
    assert set(audited(table).classes) == set(LABELS)


def test_a_group_that_is_not_shown_is_in_no_class_either(audit: Command, tmp_path: Path) -> None:
    group, label, predicted = rows(0)
    names = np.array(["f", "m"])[group].tolist() + ["x"] * 4
    columns = {
        "sex": names,
        "y": [*np.array(LABELS)[label].tolist(), "low", "mid", "high", "low"],
        "p": np.array(LABELS)[predicted].tolist() + ["low"] * 4,
    }
    content = audit.json(
        write_table(tmp_path / "t.csv", columns), *options(label="y", prediction="p", group="sex", min_cell=10)
    )

    assert "x" in content["suppressed"]["sex"]
    for one in content["by_class"]["sex"]["classes"].values():
        assert one["groups"]["x"]["true_positive_rate"] == {"value": None, "low": None, "high": None, "n": None}


def test_the_command_names_the_class_of_the_clearest_gap_of_every_gap(audit: Command, tmp_path: Path) -> None:
    group, label, predicted = rows(3)
    columns = {
        "sex": np.array(["f", "m"])[group].tolist(),
        "y": np.array(LABELS)[label].tolist(),
        "p": np.array(LABELS)[predicted].tolist(),
    }
    table = write_table(tmp_path / "t.csv", columns)
    content = audit.json(table, *options(label="y", prediction="p", group="sex", limit="equalized_odds<=0.9"))
    classes = content["by_class"]["sex"]["classes"]
    gaps = {name: of["gaps"]["true_positive_rate"] for name, of in classes.items()}
    clearest = max(gaps, key=lambda name: (gaps[name]["low"], gaps[name]["difference"]))

    assert content["favourable"] is None
    assert content["by_class"]["sex"]["worst"]["true_positive_rate"] == clearest
    own, of_class = content["gaps"]["sex"]["true_positive_rate"], classes[clearest]["gaps"]["true_positive_rate"]
    assert own["difference"] == of_class["difference"]
    assert (own["highest"], own["lowest"]) == (of_class["highest"], of_class["lowest"])
    assert content["verdict"] == "PASS"
    text = audit(table, *options(label="y", prediction="p", group="sex"))
    assert f"clearest of all classes: true positive rate of {clearest}: " in text
    assert "3 labels, none favourable: each against the others" in text
