"""``bias.md``: every heading that can be filled, the figures of ``bias.json``, and no claim."""

from __future__ import annotations

import re
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from fedcore.audit.metrics.clients import client_spread
from fedcore.audit.metrics.measures import measures_of_table
from fedcore.audit.metrics.rates import Rate, group_rates
from fedcore.audit.sites.site_splits import splits_of
from fedcore.audit.verdict.fairness import audit_tables
from fedcore.audit.verdict.report import BiasReport
from fedcore.audit.verdict.settings import AuditSettings
from fedcore.report.model_card.documents import model_card
from fedcore_simulations import simulate
from tests.audit.builders import limit_of, table_of
from tests.builders import TinyTask

SUMMARY = {
    "task": "hiring|2026",
    "rounds": 3,
    "clients": 4,
    "examples": 900,
    "model_sha256": "ab" * 32,
    "fedcore_version": "0.1.0",
    "warnings": ["no privacy: updates carry no guarantee"],
    "withheld": None,
}
SEX = {"female": (40, 10, 10, 40), "male": (30, 20, 5, 45)}
BOTH = {
    "female & a": (20, 5, 5, 20),
    "female & b": (20, 5, 5, 20),
    "male & a": (29, 19, 4, 42),
    "male & b": (1, 1, 1, 3),
}


def card_of(summary: dict[str, Any] | None = None, **settings: Any) -> tuple[str, dict[str, Any]]:
    tables = {"sex": table_of(SEX), "sex*ward": table_of(BOTH, attribute="sex*ward")}
    read = AuditSettings(limits=(limit_of(at_most="0.5"),), **settings)
    audits = audit_tables(tables.values(), read)
    measures = {name: measures_of_table(audit, tables[name]) for name, audit in audits.items()}
    by_site = {
        f"hospital-{k}": group_rates(table_of({g: [n + k for n in of] for g, of in SEX.items()})) for k in range(4)
    }
    content = BiasReport(
        plan_sha256="cd" * 32,
        round=3,
        settings=read,
        audits={name: measures[name].added(audit) for name, audit in audits.items()},
        measures=measures,
        sites={"sex": splits_of(audits["sex"], by_site, ["selection_rate"])},
        clients=client_spread({f"hospital-{k}": Rate.of(30 + k, 50, confidence=0.95) for k in range(4)}, min_cell=10),
    ).to_json()
    return model_card(content, {**SUMMARY, **(summary or {})}, day=date(2026, 11, 23)), content


def test_the_card_has_the_headings_that_it_can_fill() -> None:
    card, _ = card_of()

    headings = [line for line in card.splitlines() if line.startswith("#")]
    assert headings == [
        "# Bias audit: hiring\\|2026",
        "## Model details",
        "## Factors",
        "## Metrics",
        "## Evaluation data",
        "## Quantitative analyses",
        "### Unitary results",
        "### Intersectional results",
        "### Gaps within and between clients",
        "### Performance over clients",
        "## Verdict",
        "## Caveats and recommendations",
        "## EU AI Act: headings of the technical documentation",
        "### 2(d) Data: main characteristics",
        "### 2(g) Validation and testing: metrics, potentially discriminatory impacts",
        "### 3 Capabilities and limitations: accuracy for groups of persons",
        "## NIST AI RMF: MEASURE 2.11",
    ]


def test_figures_are_those_of_the_json_with_their_intervals() -> None:
    card, content = card_of()

    rate = content["groups"]["sex"]["female"]["true_positive_rate"]
    assert f"{100 * rate['value']:.1f} % ({100 * rate['low']:.1f} to {100 * rate['high']:.1f})" in card
    gap = content["gaps"]["sex"]["balanced_accuracy"]
    assert gap["difference"] is not None
    odds = content["gaps"]["sex"]["equalized_odds"]
    sides = (odds[side] + " ({counted} of {of})".format(**odds[f"{side}_count"]) for side in ("highest", "lowest"))
    assert f"| equalized odds | {' over '.join(sides)} | {100 * odds['difference']:.1f} points" in card
    clients = content["clients"]
    ends = {name: (100 * clients[name]["low"], 100 * clients[name]["high"]) for name in ("mean", "worst_decile")}
    assert "mean 63.0 % ({:.1f} to {:.1f}), of the worst tenth".format(*ends["mean"]) in card
    assert "60.0 % ({:.1f} to {:.1f}).".format(*ends["worst_decile"]) in card
    assert f"- Gini coefficient of accuracy 0.020 (0.000 to {clients['gini']['high']:.3f})." in card


def test_clients_over_a_limit_are_told_by_estimate_and_beyond_chance() -> None:
    card, content = card_of()

    (over,) = content["sites"]["sex"]["selection_rate"]["over_limit"]
    assert over["sites"] == 0
    beyond = f"{over['sites']} of 4, 0 of them beyond chance; within it beyond chance: {over['within_beyond_chance']}."
    assert beyond in card


def test_a_ratio_is_told_with_its_interval() -> None:
    card, content = card_of()
    gaps = content["gaps"]["sex"]
    rate, impact = gaps["selection_rate"], gaps["impact_ratio"]

    def ratio_of(name: str) -> str:
        (line,) = (line for line in card.split("By sex\\*ward")[0].splitlines() if line.startswith(f"| {name} | "))
        return line.split(" | ")[-1]

    assert rate["ratio_low"] < rate["ratio"] < rate["ratio_high"]
    told = f"{rate['ratio']:.3f} ({rate['ratio_low']:.3f} to {rate['ratio_high']:.3f}) |"
    assert ratio_of("selection rate") == told
    assert ratio_of("impact ratio") == told  # the same ratio, and the interval of the same two groups
    assert impact["ratio"] == rate["ratio"]
    assert ratio_of("equalized odds") == "0.500 (0.237 to 1.000) |"


def test_no_line_ends_in_a_blank() -> None:
    assert not re.findall(r" +$", card_of()[0], re.M)


def test_every_table_has_as_many_cells_in_each_row() -> None:
    card, _ = card_of()

    for block in re.findall(r"(?:^\|.*\n)+", card, re.M):
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in block.splitlines()}) == 1


def test_nothing_claims_that_a_rule_is_met() -> None:
    assert "complian" not in card_of()[0].lower()


def test_a_small_group_and_a_client_are_not_told() -> None:
    card, content = card_of()

    assert content["suppressed"]["sex*ward"]
    for group in content["suppressed"]["sex*ward"]:
        lines = [line for line in card.splitlines() if line.startswith(f"| {group} ")]
        assert lines
        assert all(set(line.split(" | ")[1:]) <= {"not shown", "not shown |"} for line in lines)
    assert "hospital" not in card


def test_without_limits_nothing_was_judged_and_without_numbers_of_rows_none_are_told() -> None:
    bias = BiasReport(
        plan_sha256="", round=1, settings=AuditSettings(), audits=audit_tables([table_of(SEX)], AuditSettings())
    )

    card = model_card(bias.to_json(), {**SUMMARY, "examples": None}, day=date(2026, 11, 23))

    assert "Nothing was judged: no limits were declared." in card
    assert "900 rows" not in card
    assert "### Intersectional results" not in card


def test_a_run_without_an_audit_says_so(tmp_path: Path) -> None:
    plan = {"federation": {"clients": 2, "rounds": 1}, "engine": {"workers": 1}, "training": {"device": "cpu"}}
    simulate(TinyTask(rows=60), plan, out=tmp_path / "run")

    assert (
        (tmp_path / "run/bias.md").read_text().endswith("Nothing was audited: the plan names no sensitive attribute.\n")
    )


@pytest.mark.parametrize("favourable", [None, "yes"])
def test_a_run_writes_its_card(tmp_path: Path, favourable: str | None) -> None:
    plan = {
        "federation": {"clients": 2, "rounds": 1},
        "audit": {"sensitive": ["sex"], **({"favourable": favourable} if favourable else {})},
        "engine": {"workers": 1},
        "training": {"device": "cpu"},
    }
    simulate(TinyTask(rows=300), plan, out=tmp_path / "run")

    card = (tmp_path / "run/bias.md").read_text()
    assert f"Favourable label: {favourable or 'the second of two'}" in card
    assert "| male |" in card
