"""``fedcore audit bias``: what it prints, and the code it ends with."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.audit.bias_table import Command, count_table, options, write_table

UGESP = {"White": (48, 80), "Black": (27, 60), "Hispanic": (24, 50), "Asian": (51, 100)}
HIRED = options(prediction="hired", weight="n", group="race")


@pytest.fixture
def audit(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    return Command(monkeypatch, capsys)


def test_the_four_fifths_example_of_the_guidelines_is_reproduced(audit: Command, tmp_path: Path) -> None:
    told = audit.json(count_table(tmp_path / "t.csv", UGESP), *HIRED)

    assert {g: of["selection_rate"]["value"] for g, of in told["groups"]["race"].items()} == {
        "White": 0.60, "Black": 0.45, "Hispanic": 0.48, "Asian": 0.51,
    }  # fmt: skip
    assert {g: of["impact_ratio"]["value"] for g, of in told["groups"]["race"].items()} == {
        "White": 1.0, "Black": 0.75, "Hispanic": 0.80, "Asian": 0.85,
    }  # fmt: skip
    assert told["gaps"]["race"]["impact_ratio"]["ratio"] == 0.75
    assert told["verdict"] is None


def test_compas_counts_reproduce_propublica_s_rates(audit: Command, tmp_path: Path) -> None:
    # ProPublica (2016), "How we analyzed the COMPAS recidivism algorithm": two-year confusion tables.
    cells = {"Black": (990, 805, 532, 1369), "White": (1139, 349, 461, 505)}  # tn, fp, fn, tp
    columns: dict[str, list[object]] = {"race": [], "again": [], "high": [], "n": []}
    for race, counts in cells.items():
        for (again, high), n in zip([(0, 0), (0, 1), (1, 0), (1, 1)], counts, strict=True):
            for name, value in zip(columns, (race, again, high, n), strict=True):
                columns[name].append(value)
    table = write_table(tmp_path / "compas.csv", columns)

    told = audit.json(table, *options(label="again", prediction="high", weight="n", group="race"))["groups"]["race"]

    printed = {
        "Black": {"false_positive_rate": 44.85, "false_negative_rate": 27.99, "positive_predictive_value": 62.97},
        "White": {"false_positive_rate": 23.45, "false_negative_rate": 47.72, "positive_predictive_value": 59.13},
    }
    for race, rates in printed.items():
        for metric, percent in rates.items():
            assert round(100 * told[race][metric]["value"], 2) == percent, (race, metric)


def test_json_has_exactly_the_shapes_that_are_promised(audit: Command, tmp_path: Path) -> None:
    table = write_table(
        tmp_path / "t.csv", {"y": [0, 1, 1, 0] * 20, "p": [0, 1, 0, 1] * 20, "sex": ["f", "m", "m", "f"] * 20}
    )

    told = audit.json(table, *options(label="y", prediction="p", group="sex"))

    for metrics in told["groups"]["sex"].values():
        for one in metrics.values():
            assert set(one) == {"value", "low", "high", "n"}
    for gap in told["gaps"]["sex"].values():
        assert set(gap) == {
            "difference", "low", "high", "ratio", "ratio_low", "ratio_high", "highest", "lowest",
            "highest_count", "lowest_count", "over_all_pairs",
        }  # fmt: skip
    assert {"demographic_parity", "equal_opportunity", "equalized_odds", "impact_ratio"} <= set(told["gaps"]["sex"])
    assert told["groups"]["sex"]["f"]["true_positive_rate"] == {"value": None, "low": None, "high": None, "n": 0}


def test_a_table_of_rows_and_one_of_counts_say_the_same(audit: Command, tmp_path: Path) -> None:
    counts = audit.json(count_table(tmp_path / "c.csv", UGESP), *HIRED)
    rows = write_table(
        tmp_path / "r.csv",
        {
            "race": [g for g, (_, n) in UGESP.items() for _ in range(n)],
            "hired": ["yes" if i < k else "no" for k, n in UGESP.values() for i in range(n)],
        },
    )

    single = audit.json(rows, *options(prediction="hired", group="race"))

    assert single["groups"] == counts["groups"]
    assert single["gaps"] == counts["gaps"]


def test_four_sixths_over_five_sixths_meets_four_fifths(audit: Command, tmp_path: Path) -> None:
    # (4/6) / (5/6) is 0.7999999999999999 in floating point.
    table = count_table(tmp_path / "t.csv", {"a": (4 * 10**7, 6 * 10**7), "b": (5 * 10**7, 6 * 10**7)})

    told = audit.json(table, *HIRED, *options(limit="impact_ratio>=0.8"))

    assert told["gaps"]["race"]["impact_ratio"]["ratio"] == 0.8
    assert told["verdict"] == "INCONCLUSIVE"  # the estimate meets it; the interval spans it


@pytest.mark.parametrize(
    ("selected", "verdict", "codes"),
    [
        ({"a": (900, 1000), "b": (890, 1000)}, "PASS", (0, 0)),
        ({"a": (900, 1000), "b": (300, 1000)}, "FAIL", (3, 3)),
        ({"a": (9, 20), "b": (7, 20)}, "INCONCLUSIVE", (0, 4)),
    ],
)
def test_the_exit_code_says_what_the_verdict_is(
    audit: Command, tmp_path: Path, selected: dict[str, tuple[int, int]], verdict: str, codes: tuple[int, int]
) -> None:
    table = count_table(tmp_path / "t.csv", selected)
    limited = [*HIRED, *options(limit="demographic_parity>=0.8")]

    assert audit.json(table, *limited, code=codes[0])["verdict"] == verdict
    assert audit.json(table, *limited, "--fail-on-inconclusive", code=codes[1])["verdict"] == verdict


def test_empty_cells_are_the_group_unknown(audit: Command, tmp_path: Path) -> None:
    selected = {"a": (30, 60), "": (10, 20), "Unknown": (5, 20), "b": (20, 60)}

    told = audit.json(count_table(tmp_path / "t.csv", selected), *HIRED)

    assert told["groups"]["race"]["unknown"]["selection_rate"]["value"] == 15 / 40
    assert told["gaps"]["race"]["selection_rate"]["lowest"] == "b"
    assert any("40 rows of unknown group" in note for note in told["notes"])
    assert told["unknown_bounds"]["race"]["a"] == {"low": 30 / (60 + 25), "high": (30 + 15) / (60 + 15)}


def test_a_small_group_is_null_and_cannot_be_computed_from_the_rest(audit: Command, tmp_path: Path) -> None:
    selected = {"a": (30, 60), "b": (20, 60), "c": (10, 40), "tiny": (1, 4)}

    told = audit.json(count_table(tmp_path / "t.csv", selected), *HIRED, *options(min_cell=10))

    hidden = {g for g, of in told["groups"]["race"].items() if of["selection_rate"]["n"] is None}
    assert "tiny" in hidden
    assert len(hidden) == 2
    for group in hidden:
        assert set(told["groups"]["race"][group]["selection_rate"].values()) == {None}
    assert set(told["suppressed"]["race"]) == hidden
    assert any("not shown" in note and "tiny" in note for note in told["notes"])
    shown = audit(count_table(tmp_path / "t.csv", selected), *HIRED, *options(min_cell=10))
    assert [line.split() for line in shown.splitlines() if line.startswith("tiny")] == [["tiny", "not", "shown"]]


def test_many_hidden_groups_take_one_line(audit: Command, tmp_path: Path) -> None:
    selected = {"a": (30, 60), "b": (20, 60)} | {f"small {i}": (1, 3) for i in range(30)}

    shown = audit(count_table(tmp_path / "t.csv", selected), *HIRED, *options(min_cell=10))

    assert "30 further groups  not shown" in shown
    assert "and 10 more" in shown


def test_no_figure_of_a_hidden_group_is_in_what_is_printed(audit: Command, tmp_path: Path) -> None:
    # Every hidden group has a rate, and a size, that nothing else has.
    drawn = [("a", 97, 0.5), ("b", 103, 0.4), ("c", 89, 0.6), ("tiny", 7, 3 / 7)]
    columns: dict[str, list[object]] = {"g": [], "y": [], "s": [], "site": []}
    for group, rows, share in drawn:
        for i in range(rows):
            label = int(i < share * rows)
            for name, value in zip(columns, (group, label, (i * 37 % rows) / rows, "xy"[i % 2]), strict=True):
                columns[name].append(value)
    table = write_table(tmp_path / "t.csv", columns)
    named = {"label": "y", "score": "s", "group": "g", "site": "site", "limit": "accuracy<=0.3"}
    given = options(**named, profile="us-four-fifths", min_cell=10)

    told = audit.json(table, *given)

    hidden = set(told["suppressed"]["g"])
    assert "tiny" in hidden
    for group in hidden:
        assert {value for one in told["groups"]["g"][group].values() for value in one.values()} == {None}
        assert all(group not in pair for pair in told["cross_group_auc"]["g"].values())
        assert group not in told["cross_group_auc"]["g"]
        assert group not in {line["category"] for line in told["profile"]["tables"]["g"]}
        for gap in told["gaps"]["g"].values():
            assert group not in {gap["highest"], gap["lowest"]}


def test_crossed_columns_have_the_combinations_that_occur(audit: Command, tmp_path: Path) -> None:
    table = write_table(
        tmp_path / "t.csv",
        {"sex": ["f", "m", "m", ""] * 30, "race": ["x", "x", "y", "y"] * 30, "hired": [0, 1, 1, 0] * 30},
    )

    told = audit.json(table, *options(prediction="hired", group=["sex", "race", "sex*race"]))

    assert list(told["groups"]["sex*race"]) == ["f & x", "m & x", "m & y", "unknown"]


def test_scores_are_cut_where_the_threshold_says_and_not_at_a_bin(audit: Command, tmp_path: Path) -> None:
    table = write_table(
        tmp_path / "t.csv",
        {"s": [0.1234, 0.1235, 0.1236, 0.9] * 10, "y": [0, 1, 0, 1] * 10, "g": ["a", "a", "b", "b"] * 10},
    )

    told = audit.json(table, *options(label="y", score="s", group="g", threshold=0.1235))

    assert told["groups"]["g"]["a"]["selection_rate"]["value"] == 0.5
    assert told["groups"]["g"]["b"]["selection_rate"]["value"] == 1.0
    assert told["threshold"] == 0.1235


def test_scores_of_another_range_need_to_say_so(audit: Command, tmp_path: Path) -> None:
    table = write_table(tmp_path / "t.csv", {"s": [1, 4, 7, 10] * 10, "g": ["a", "a", "b", "b"] * 10})

    told = audit.json(table, *options(score="s", group="g", score_range="1,10", threshold=5))

    assert told["groups"]["g"]["a"]["selection_rate"]["value"] == 0.0
    assert "--score-range LOW,HIGH" in audit.refused(table, *options(score="s", group="g"))


def test_parquet_says_what_csv_says(audit: Command, tmp_path: Path) -> None:
    pandas, _ = pytest.importorskip("pandas"), pytest.importorskip("pyarrow")
    table = count_table(tmp_path / "t.csv", UGESP)
    pandas.read_csv(table).to_parquet(tmp_path / "t.parquet")

    assert audit.json(tmp_path / "t.parquet", *HIRED)["gaps"] == audit.json(table, *HIRED)["gaps"]


def test_the_text_says_the_direction_in_words_and_the_files_are_kept(audit: Command, tmp_path: Path) -> None:
    shown = audit(count_table(tmp_path / "t.csv", UGESP), *HIRED, *options(out=tmp_path / "out"), "--all")

    assert "selection rate: White 60.0 % (48 of 80) over Black 45.0 % (27 of 60), 15.0 points" in shown
    assert "verdict: none, because no limit was given" in shown
    assert (tmp_path / "out/bias.txt").read_text(encoding="utf-8") == shown
    assert (tmp_path / "out/bias.json").is_file()


def test_the_command_needs_no_torch() -> None:
    import subprocess
    import sys

    code = (
        "import sys, fedcore_simulations.commands.audit, fedcore.commands.audit_bias_run;"
        "print('torch' in sys.modules, 'flwr' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == (
        "False False\n"
    )


def test_numbers_are_put_into_bands(audit: Command, tmp_path: Path) -> None:
    ages = [20, 30, 49.5, 50, "", "unknown"]
    table = write_table(tmp_path / "t.csv", {"age": ages * 20, "sex": ["f", "m"] * 60, "hired": [0, 1, 1, 0] * 30})

    told = audit.json(table, *options(prediction="hired", group=["age", "age*sex"], bands="age=30,50"))

    sizes = {group: of["selection_rate"]["n"] for group, of in told["groups"]["age"].items()}
    assert sizes == {"below 30": 20, "30 to 50": 40, "50 and above": 20, "unknown": 40}
    assert "30 to 50 & m" in told["groups"]["age*sex"]
    given: dict[str, object] = {"prediction": "hired", "group": "sex"}
    assert "not a column given as --group" in audit.refused(table, *options(**given, bands="age=30"))
    assert "COL=EDGE,EDGE" in audit.refused(table, *options(**given, bands="age=x"))
    assert "rising numbers" in audit.refused(table, *options(**given, bands="sex=3,1"))
    assert "cannot split it into bands" in audit.refused(table, *options(**given, bands="sex=1"))


def test_many_numbers_as_groups_are_pointed_out(audit: Command, tmp_path: Path) -> None:
    table = write_table(tmp_path / "t.csv", {"age": list(range(20, 50)) * 12, "hired": [0, 1] * 180})

    assert "--bands makes fewer of them" in audit(table, *options(prediction="hired", group="age"))


@pytest.mark.parametrize("seed", range(3))
def test_a_random_table_s_figures_are_fairlearn_s(audit: Command, tmp_path: Path, seed: int) -> None:
    import numpy as np
    from fairlearn import metrics as fairlearn
    from sklearn import metrics as sklearn

    drawn = np.random.default_rng(seed)
    group, score = drawn.choice(["a", "b", "c"], 500), drawn.random(500).round(3)
    label = (drawn.random(500) < score).astype(int)
    table = write_table(tmp_path / "t.csv", {"y": label.tolist(), "s": score.tolist(), "g": group.tolist()})
    told = audit.json(table, *options(label="y", score="s", group="g", threshold=0.4))
    rows = {"y_true": label, "y_pred": (score >= 0.4).astype(int), "sensitive_features": group}

    rates = {
        "selection_rate": fairlearn.selection_rate,
        "true_positive_rate": fairlearn.true_positive_rate,
        "false_positive_rate": fairlearn.false_positive_rate,
        "true_negative_rate": fairlearn.true_negative_rate,
        "false_negative_rate": fairlearn.false_negative_rate,
        "accuracy": sklearn.accuracy_score,
        "balanced_accuracy": sklearn.balanced_accuracy_score,
        "positive_predictive_value": sklearn.precision_score,
    }
    oracle = fairlearn.MetricFrame(metrics=rates, **rows)
    for metric in rates:
        for name in "abc":
            value = told["groups"]["g"][name][metric]["value"]
            assert value == pytest.approx(oracle.by_group[metric][name], abs=1e-12), metric
        of_any = told["gaps"]["g"][metric]["over_all_pairs"]
        assert of_any["difference"] == pytest.approx(oracle.difference()[metric], abs=1e-12)
        assert of_any["ratio"] == pytest.approx(oracle.ratio()[metric], abs=1e-12)
    for name in ("demographic_parity", "equal_opportunity", "equalized_odds"):
        gap = told["gaps"]["g"][name]["over_all_pairs"]
        assert gap["difference"] == pytest.approx(getattr(fairlearn, f"{name}_difference")(**rows), abs=1e-12)
        assert gap["ratio"] == pytest.approx(getattr(fairlearn, f"{name}_ratio")(**rows), abs=1e-12)
    for name in "abc":
        area = sklearn.roc_auc_score(label[group == name], score[group == name])
        assert told["groups"]["g"][name]["auc"]["value"] == pytest.approx(area, abs=1e-12)


@pytest.mark.parametrize(("true", "false"), [("True", "False"), (1, 0)])
def test_true_and_1_are_the_same_label(audit: Command, tmp_path: Path, true: object, false: object) -> None:
    labels = {True: "True", False: "False"} if true == 1 else {True: "1", False: "0"}
    columns = {
        "y": [labels[i % 3 == 0] for i in range(60)],
        "p": [true if i % 2 else false for i in range(60)],
        "g": ["a", "b", "b"] * 20,
    }

    told = audit.json(write_table(tmp_path / "t.csv", columns), *options(label="y", prediction="p", group="g"))

    assert told["overall"]["accuracy"]["value"] == 0.5


def test_one_group_has_no_gaps_and_the_text_says_so_once(audit: Command, tmp_path: Path) -> None:
    shown = audit(count_table(tmp_path / "t.csv", {"a": (30, 60)}), *HIRED)

    assert shown.count("no gap") == 1


def test_a_limit_on_what_is_no_rate_is_judged(audit: Command, tmp_path: Path) -> None:
    label = [0, 1] * 300
    ranked = [y if i < 300 else 1 - y for i, y in enumerate(label)]  # right in group a, the wrong way round in b
    columns = {"y": label, "s": ranked, "g": ["a"] * 300 + ["b"] * 300}
    given = options(label="y", score="s", group="g", limit="auc<=0.5")

    table = write_table(tmp_path / "t.csv", columns)

    assert audit.json(table, *given, code=3)["findings"][0]["reason"].startswith(
        "auc difference over g at most 0.5: FAIL; auc: a 1.000 (300 rows) over b 0.000 (300 rows), 1.000 (0.9"
    )


def test_a_limit_that_is_given_twice_is_judged_once(audit: Command, tmp_path: Path) -> None:
    table = count_table(tmp_path / "t.csv", UGESP)
    limits = ["impact_ratio>=0.8", "selection_rate>=0.80", "race:demographic_parity>=0.8"]

    told = audit.json(table, *HIRED, *options(limit=limits))

    assert [finding["limit"] for finding in told["findings"]] == [
        "selection rate ratio over every attribute at least 0.8"
    ]


@pytest.mark.parametrize("given", [[], options(profile="model-card"), ["--json"]])
def test_a_command_in_a_group_s_name_is_shown_and_not_obeyed(audit: Command, tmp_path: Path, given: list[str]) -> None:
    selected = {"a\x1b[2J": (30, 60), "b\x9b2J": (20, 60), "c\nverdict: PASS": (25, 60)}

    shown = audit(count_table(tmp_path / "t.csv", selected), *HIRED, *given)

    assert (audit.code, audit.error) == (0, "")
    assert not set(shown) & {"\x1b", "\x9b"}
    assert not [line for line in shown.splitlines() if line.startswith("verdict: PASS")]
