"""What a run tells of clients: a gap's split over them without their names, and how evenly they are served."""

from __future__ import annotations

import json
from collections.abc import Mapping
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fedcore.audit.metrics.clients import client_spread, gini
from fedcore.audit.metrics.rates import Rate, group_rates
from fedcore.audit.sites.site_splits import splits_of, unnamed_json
from fedcore.audit.verdict.attribute_audit import AttributeAudit
from fedcore.audit.verdict.fairness import audit_table
from fedcore.audit.verdict.settings import AuditSettings
from fedcore.plan import RunPlan
from fedcore_simulations import simulate
from tests.audit.bias_table import write_table
from tests.audit.builders import limit_of, table_of_selections
from tests.tasks.builders import shared_file

THREE = {
    "north": {"f": (10, 40), "m": (30, 60)},
    "south": {"f": (33, 50), "m": (30, 40)},
    "west": {"f": (5, 30), "m": (20, 50)},
}


def split_of(
    sites: Mapping[str, Mapping[str, tuple[int, int]]], **settings: Any
) -> tuple[AttributeAudit, dict[str, Any]]:
    tables = {site: table_of_selections(groups) for site, groups in sites.items()}
    first, *others = tables.values()
    audit = audit_table(sum(others, start=first), AuditSettings(**settings))
    by_site = {site: group_rates(table) for site, table in tables.items()}
    return audit, unnamed_json(audit, splits_of(audit, by_site, ["selection_rate"]))["selection_rate"]


def numbers_in(content: Any) -> list[float]:
    if isinstance(content, Mapping):
        return [*chain.from_iterable(map(numbers_in, content.values()))]
    if isinstance(content, list):
        return [*chain.from_iterable(map(numbers_in, content))]
    return [float(content)] if isinstance(content, int | float) and not isinstance(content, bool) else []


def test_the_parts_told_sum_to_the_gap_and_are_those_of_the_formula() -> None:
    audit, told = split_of(THREE)

    rates = {site: [Fraction(*of) for of in groups.values()] for site, groups in THREE.items()}
    shares = {
        site: [Fraction(f[1], 120), Fraction(m[1], 150)]
        for site, (f, m) in ((s, tuple(g.values())) for s, g in THREE.items())
    }
    within = sum((shares[s][1] + shares[s][0]) / 2 * (rates[s][1] - rates[s][0]) for s in THREE)
    assert told["highest"] == "m"
    assert told["within"] == round(float(within), 3)
    assert told["within"] + told["between"] + told["no_overlap"] == pytest.approx(told["gap"], abs=1e-15)
    assert told["gap"] == audit.gaps["selection_rate"].difference


def test_no_site_is_named_and_no_gap_of_one_told() -> None:
    _, told = split_of(THREE, limits=(limit_of(at_most="0.2"),))

    own = [abs(Fraction(*m) - Fraction(*f)) for f, m in (of.values() for of in THREE.values())]
    assert not set(THREE) & set(json.dumps(told).replace('"', " ").split())
    assert not {round(float(gap), 3) for gap in own} & {round(abs(number), 3) for number in numbers_in(told)}
    assert told["over_limit"] == [
        {
            "limit": "selection rate difference over sex at most 0.2",
            "sites": sum(gap > 0.2 for gap in own),
            "over_beyond_chance": 0,
            "within_beyond_chance": 0,
            "judged": 3,
        }
    ]


def test_no_site_s_gap_can_be_read_even_by_whoever_knows_how_many_rows_each_has() -> None:
    _, told = split_of(THREE)
    (a_n, b_n), (a, b) = ([[of[group][place] for of in THREE.values()] for group in "fm"] for place in (1, 0))
    p, q = np.array(a_n) / sum(a_n), np.array(b_n) / sum(b_n)
    # all successes that the pooled counts allow, site by site
    first, second = (
        np.array(
            [(x, y, sum(k) - x - y) for x in range(n[0] + 1) for y in range(n[1] + 1) if 0 <= sum(k) - x - y <= n[2]]
        )
        for k, n in ((a, a_n), (b, b_n))
    )
    r, s = first / a_n, second / b_n
    within = (s @ ((p + q) / 2))[None, :] - (r @ ((p + q) / 2))[:, None]
    weights = 1 / (np.array(a_n) + b_n)
    above = (a_n - first) * weights @ second.T
    below = first * weights @ (b_n - second).T
    alike = (within.round(3) == told["within"]) & (
        np.divide(above, below, where=below > 0, out=np.zeros_like(above)).round(2) == told["odds_ratio"]["value"]
    )
    pairs = np.argwhere(alike)
    kept = [
        s[y] - r[x]
        for x, y in np.random.default_rng(1).permutation(pairs)[:300]
        if split_of(
            {site: {"f": (int(first[x, k]), a_n[k]), "m": (int(second[y, k]), b_n[k])} for k, site in enumerate(THREE)}
        )[1]
        == told
    ]

    assert len(kept) >= 10
    assert np.ptp(np.array(kept), axis=0).min() > 0.1  # every site's gap could be another by 10 points and more


def test_two_sites_are_not_split_for_each_could_subtract_itself() -> None:
    assert split_of({site: THREE[site] for site in ("north", "south")})[1] is None
    assert split_of(THREE)[1] is not None


def test_sites_that_cannot_be_judged_are_a_number() -> None:
    sites = {**THREE, "few": {"f": (2, 3), "m": (20, 40)}, "alone": {"f": (0, 0), "m": (12, 30)}}

    _, told = split_of(sites, limits=(limit_of(at_most="0.2"),))

    assert told["not_judged"] == {"one_group_only": 1, "too_few_rows": 1}
    assert told["judged"] == 3


def test_fewer_than_three_judged_sites_are_not_counted_against_a_limit() -> None:
    sites = {"a": THREE["north"], "b": THREE["south"], "c": {"f": (2, 3), "m": (20, 40)}}

    _, told = split_of(sites, limits=(limit_of(at_most="0.2"),))

    (over,) = told["over_limit"]
    assert (over["sites"], over["over_beyond_chance"], over["within_beyond_chance"]) == (None, None, None)
    assert over["judged"] == 2


def test_a_part_that_rests_on_a_small_cell_is_not_told() -> None:
    assert split_of({**THREE, "tiny": {"f": (0, 0), "m": (1, 4)}})[1] is None


def rate(successes: int, n: int) -> Rate:
    return Rate.of(successes, n, confidence=0.95)


def test_the_spread_over_clients_is_that_of_the_formula() -> None:
    random = np.random.default_rng(2)
    counts = {f"c{k}": (int(random.integers(10, 50)), 50) for k in range(25)}
    values = sorted(k / n for k, n in counts.values())

    found = client_spread({name: rate(*of) for name, of in counts.items()}, min_cell=10)

    pairs = sum(abs(a - b) for a in values for b in values)
    assert found.gini is not None
    assert found.worst_decile is not None
    assert found.gini.value == pytest.approx(pairs / (2 * 25**2 * np.mean(values)), abs=1e-12)
    assert found.worst_decile.value == pytest.approx(np.mean(values[:3]), abs=1e-12)
    assert found.worst is not None
    assert found.worst[1].value == values[0]
    assert gini([0.5, 0.5, 0.5]) == pytest.approx(0)
    assert gini([0.0, 0.0]) is None


def test_a_client_of_few_rows_is_a_number_only() -> None:
    content = client_spread({"a": rate(40, 50), "b": rate(30, 50), "tiny": rate(0, 3)}, min_cell=10).to_json()

    assert (content["judged"], content["too_few_rows"]) == (2, 1)
    assert "tiny" not in json.dumps(content)
    assert content["worst"]["client"] == "b"
    assert content["worst"]["low"] < 0.6 < content["worst"]["high"]
    for figure in ("mean", "worst_decile", "gini"):
        assert set(content[figure]) == {"value", "low", "high"}  # the totals less these rows would be the tiny one's
        assert all(round(1000 * content[figure][end], 9) % 1 == 0 for end in ("low", "high"))


def test_without_a_client_of_enough_rows_there_is_no_figure() -> None:
    content = client_spread({"tiny": rate(0, 3)}, min_cell=10).to_json()

    assert content == {
        "metric": "accuracy", "judged": 0, "too_few_rows": 1, "mean": None, "worst_decile": None, "gini": None,
        "best": None, "worst": None,
    }  # fmt: skip


HOSPITALS = ("cleveland", "hungarian", "switzerland", "va")


@pytest.mark.data
def test_four_hospitals_are_split_in_a_run(tmp_path: Path) -> None:
    rows = [
        (hospital, "male" if float(cells[1]) == 1 else "female", float(cells[0]), float(cells[2]),
         "yes" if float(cells[13]) > 0 else "no")
        for hospital in HOSPITALS
        for line in shared_file(f"heart/processed.{hospital}.data").read_text(encoding="utf-8").split()
        if len(cells := line.split(",")) == 14
    ]  # fmt: skip
    columns = dict(zip(("hospital", "sex", "age", "pain", "disease"), zip(*rows, strict=True), strict=True))
    plan = RunPlan.from_mapping(
        {
            "task": {
                "name": "tabular",
                "data": str(write_table(tmp_path / "heart.csv", columns)),
                "options": {"label": "disease"},
            },
            "federation": {"partition": "by:hospital", "rounds": 2, "held-out": 0.5},
            "audit": {"sensitive": ["sex"], "limits": [{"metric": "selection_rate", "at-most": 0.2}]},
            "training": {"device": "cpu"},
            "engine": {"workers": 1},
        }
    )

    bias = simulate(plan=plan).results.bias

    assert bias is not None
    told = bias.to_json()["sites"]["sex"]
    for metric, split in bias.sites["sex"].items():
        if split is not None:
            assert split.gap == split.within + split.between + split.no_overlap
            pair = bias.audits["sex"].shown_gaps[metric].pair
            assert pair is not None
            assert split.gap == pair.apart
    selection = told["selection_rate"]
    assert selection["judged"] + sum(selection["not_judged"].values()) == 4
    assert selection["not_judged"]["too_few_rows"] >= 1  # hardly a woman at one of them
    assert not any(f'"{hospital}"' in json.dumps(told) for hospital in HOSPITALS)
