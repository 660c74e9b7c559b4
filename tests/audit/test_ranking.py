"""Measures of rankings against all orders of equal rows, scikit-learn and closed forms."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from itertools import permutations
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import beta

from fedcore.audit.fairness import audit_table
from fedcore.audit.groups import UNKNOWN, GroupTable
from fedcore.audit.intervals import Interval, ratio_of, square_and_add, student_quantile
from fedcore.audit.limits import Limit
from fedcore.audit.measurable import check_measurable
from fedcore.audit.measures import measures_of_table
from fedcore.audit.ranked_groups import RankedGroups
from fedcore.audit.ranked_lists import Parts, Top, discounts, ranked_cells, tallies
from fedcore.audit.ranking import measure_ranking
from fedcore.audit.ranking_draws import draws_of
from fedcore.audit.rankings import OF_SCORES
from fedcore.audit.settings import AuditSettings
from fedcore.errors import DataError, PlanError
from tests.audit.builders import table_of_selections

GROUPS = ("a", "b", UNKNOWN)


def measured(
    groups: Sequence[int],
    scores: Sequence[float],
    *,
    lists: Sequence[int] | None = None,
    relevance: Sequence[float] | None = None,
    weights: Sequence[int] | None = None,
    top: str = "1",
) -> dict[str, RankedGroups]:
    """Measure rows of groups 0 and 1, one list unless ``lists`` says otherwise."""
    worth = None if relevance is None else np.array(relevance, dtype=np.float64)
    of = np.zeros(len(groups), np.int64) if lists is None else np.array(lists)
    cells, order = ranked_cells(of, np.array(scores, dtype=np.float64), np.array(groups), worth)
    counts = np.ones(len(groups)) if weights is None else np.array(weights, dtype=np.float64)
    drawn = np.random.default_rng(0)
    return measure_ranking(cells, counts[order], Top(places=Fraction(top)), GROUPS, generator=drawn)


def values(found: dict[str, RankedGroups], metric: str) -> list[float | None]:
    return [found[metric].value(0), found[metric].value(1)]


def over_all_orders(rows: dict[str, NDArray[Any]], top: int) -> dict[str, NDArray[np.float64]]:
    """Average places, exposure and pairs won over every order that keeps falling scores, list by list."""
    found = {name: np.zeros(3) for name in ("top", "seen", "won", "won_within")}
    for one in np.unique(rows["lists"]):
        own = np.flatnonzero(rows["lists"] == one).tolist()
        orders = [order for order in permutations(own) if not np.any(np.diff(rows["scores"][list(order)]) > 0)]
        for order in orders:
            for rank, i in enumerate(order, start=1):
                group = rows["groups"][i]
                found["top"][group] += (rank <= top) / len(orders)
                found["seen"][group] += 1 / math.log2(1 + rank) / len(orders)
                beaten = [j for j in order[rank:] if rows["relevance"][i] > rows["relevance"][j]]
                found["won"][group] += len(beaten) / len(orders)
                found["won_within"][group] += sum(rows["groups"][j] == group for j in beaten) / len(orders)
    return found


@pytest.mark.parametrize("seed", range(5))
def test_equal_scores_count_as_the_mean_over_all_their_orders(seed: int) -> None:
    drawn = np.random.default_rng(seed)
    rows = {
        "lists": np.repeat([0, 1], [6, 5]),
        "scores": drawn.integers(0, 3, 11).astype(np.float64),
        "groups": np.concatenate([[0, 1, 2], drawn.integers(0, 3, 8)]),
        "relevance": drawn.integers(0, 3, 11).astype(np.float64),
    }

    cells, order = ranked_cells(**rows)
    found = tallies(cells, np.ones(11), Top(places=Fraction(3)), Parts.by(cells.groups))

    assert sorted(order.tolist()) == list(range(11))
    for name, expected in over_all_orders(rows, 3).items():
        np.testing.assert_allclose(found[name], expected, atol=1e-12, err_msg=name)


def test_a_list_of_four_has_the_exposures_of_its_ranks() -> None:
    found = measured([0, 1, 0, 1], [4, 3, 2, 1], top="2")

    assert values(found, "exposure") == pytest.approx([(1 + 0.5) / 2, (1 / math.log2(3) + 1 / math.log2(5)) / 2])
    assert values(found, "selection_rate_at_k") == [0.5, 0.5]
    assert values(found, "representation_at_k") == [1.0, 1.0]
    assert set(found) == {"selection_rate_at_k", "representation_at_k", "exposure"}


def test_representation_is_the_share_of_the_top_over_the_share_of_the_rows() -> None:
    found = measured([0, 0, 0, 1, 1, 1, 1, 1, 1, 1], list(range(10, 0, -1)), top="4")

    assert values(found, "representation_at_k") == pytest.approx([(3 / 4) / (3 / 10), (1 / 4) / (7 / 10)])


def test_all_equal_scores_leave_no_gap_whatever_the_groups() -> None:
    found = measured([0] * 30 + [1] * 70, [0.5] * 100, top="0.1")

    gap = found["exposure"].gap("g", GROUPS, confidence=0.95)

    assert values(found, "representation_at_k") == pytest.approx([1.0, 1.0])
    assert gap.difference == pytest.approx(0, abs=1e-12)
    assert gap.difference_low == 0


@pytest.mark.parametrize("seed", range(3))
def test_pairwise_accuracy_of_one_list_is_scikit_learn_s_area(seed: int) -> None:
    from sklearn.metrics import roc_auc_score

    drawn = np.random.default_rng(seed)
    group, score, label = drawn.integers(0, 2, 300), drawn.random(300).round(2), drawn.integers(0, 2, 300)

    found = measured(group.tolist(), score.tolist(), relevance=label.tolist())

    for g in (0, 1):
        own, others = group == g, group != g
        within = roc_auc_score(label[own], score[own])
        pairs = (own & (label == 1)) | (others & (label == 0))
        across = roc_auc_score(label[pairs], score[pairs])
        everyone = (own & (label == 1)) | (label == 0)
        assert found["intra_group_pairwise_accuracy"].value(g) == pytest.approx(within, abs=1e-12)
        assert found["inter_group_pairwise_accuracy"].value(g) == pytest.approx(across, abs=1e-12)
        whole = roc_auc_score(label[everyone], score[everyone])
        assert found["pairwise_accuracy"].value(g) == pytest.approx(whole, abs=1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_exposure_of_the_relevant_is_scikit_learn_s_discounted_gain(seed: int) -> None:
    from sklearn.metrics import dcg_score

    drawn = np.random.default_rng(seed)
    group, score, worth = drawn.integers(0, 2, 40), drawn.random(40).round(1), drawn.integers(0, 4, 40)

    found = measured(group.tolist(), score.tolist(), relevance=worth.tolist())

    for g in (0, 1):
        gain = dcg_score([(group == g).astype(float)], [score])  # of ties it takes the mean over their orders, too
        assert found["exposure"].value(g) == pytest.approx(gain / (group == g).sum(), abs=1e-12)
        assert found["exposure_per_relevance"].value(g) == pytest.approx(gain / worth[group == g].sum(), abs=1e-12)


def test_lines_that_stand_for_several_are_as_many_equal_rows() -> None:
    once = measured([0, 1, 0, 1], [4, 3, 2, 1], relevance=[1, 0, 0, 1], weights=[2, 3, 1, 2], top="4")
    repeated = measured([0, 0, 1, 1, 1, 0, 1, 1], [4, 4, 3, 3, 3, 2, 1, 1], relevance=[1, 1, 0, 0, 0, 0, 1, 1], top="4")

    for metric, one in once.items():
        assert values(once, metric) == pytest.approx(values(repeated, metric), abs=1e-12), metric
        gaps = [each.gap("g", GROUPS, confidence=0.95) for each in (one, repeated[metric])]
        assert gaps[0].difference_high == pytest.approx(gaps[1].difference_high, abs=1e-12), metric
        assert gaps[0].ratio_low == pytest.approx(gaps[1].ratio_low, abs=1e-12), metric


def test_without_relevance_in_a_group_it_is_undefined_and_blocks() -> None:
    found = measured([0, 0, 1, 1], [4, 3, 2, 1], relevance=[1, 0, 0, 0])

    gap = found["exposure_per_relevance"].gap("g", GROUPS, confidence=0.95)

    assert values(found, "exposure_per_relevance")[1] is None
    assert values(found, "pairwise_accuracy") == [1.0, None]
    assert (gap.highest, gap.undefined) == (None, ("b",))
    assert found["exposure_per_relevance"].estimates()["b"].measure(0.95).value is None


def test_discounts_of_long_lists_are_those_of_the_sum() -> None:
    ranks = np.array([0, 1, 2, 65_536, 65_537, 300_000])
    exact = np.concatenate([[0.0], np.cumsum(1 / np.log2(np.arange(2, 300_002)))])

    np.testing.assert_allclose(discounts(ranks.astype(np.float64)), exact[ranks], rtol=0, atol=1e-8)


def test_a_share_of_a_list_is_rounded_down_to_one_place_at_least() -> None:
    sizes = np.array([5.0, 10.0, 29.0, 30.0])

    assert Top(places=Fraction("0.1")).of(sizes).tolist() == [1, 1, 2, 3]
    assert Top(places=Fraction(3)).of(sizes).tolist() == [3, 3, 3, 3]


def test_no_place_and_every_place_are_no_certainty() -> None:
    found = measured([0] * 100 + [1] * 100, list(range(200, 0, -1)), top="10")["selection_rate_at_k"]

    first, second = found.interval(0, 0.95), found.interval(1, 0.95)

    assert (found.value(0), found.value(1)) == (0.1, 0.0)
    assert first.low < 0.08
    assert second.high > 0.02


def test_a_group_in_one_of_many_lists_has_no_narrower_interval_than_all_that_is_possible() -> None:
    lists = [q for q in range(25) for _ in range(4)]
    found = measured([1, *[0] * 99], list(range(100)), lists=lists)["exposure"]

    assert found.interval(1, 0.95) == Interval(low=0.0, high=1.0)
    assert found.interval(0, 0.95).high < 1


def test_scores_and_relevance_that_are_no_numbers_are_refused() -> None:
    rows = np.zeros(2, np.int64)
    with pytest.raises(DataError, match="finite scores"):
        ranked_cells(rows, np.array([1.0, np.nan]), rows)
    with pytest.raises(DataError, match="0 or more"):
        ranked_cells(rows, np.array([1.0, 2.0]), rows, np.array([1.0, -1.0]))


def test_limits_are_set_on_what_has_a_scale() -> None:
    assert (
        Limit.of("exposure", kind="ratio", at_least="0.8").words == "exposure ratio over every attribute at least 0.8"
    )
    assert Limit.of("exposure", kind="difference", at_most="0.1").metric == "exposure"
    with pytest.raises(PlanError, match="a difference has no scale; limit its ratio"):
        Limit.of("representation_at_k", kind="difference", at_most="0.1")


@pytest.mark.parametrize(
    ("metric", "settings", "noisy", "message"),
    [
        ("exposure", {}, False, "exposure is measured of rankings; give audit.top"),
        ("pairwise_accuracy", {"top": Fraction(1, 10)}, False, "of ranked lists with relevance, by fedcore audit bias"),
        ("exposure", {"top": Fraction(1, 10)}, True, "of exact counts; leave out privacy.evaluation-noise-multiplier"),
        ("exposure", {"top": Fraction(1, 10), "scored": False}, False, "of scores, which are counted for two labels"),
    ],
)
def test_a_run_refuses_limits_on_rankings_that_it_does_not_measure(
    metric: str, settings: dict[str, Any], noisy: bool, message: str
) -> None:
    table = scored_table(300) if settings.pop("scored", True) else table_of_selections({"a": (1, 2), "b": (1, 2)})
    limits = (Limit.of(metric, kind="ratio", at_least="0.8"),)

    with pytest.raises(PlanError, match=message):
        check_measurable(AuditSettings(limits=limits, **settings), {"sex": table}, noisy=noisy)


def scored_table(n: int) -> GroupTable:
    drawn = np.random.default_rng(2)
    group = drawn.integers(0, 2, n)
    return GroupTable.collect(
        attribute="sex",
        groups=GROUPS,
        labels=("no", "yes"),
        group_codes=group,
        label_codes=drawn.integers(0, 2, n),
        scores=drawn.beta(2 + group, 3, n),
        num_bins=20,
    )


def test_a_run_ranks_the_rows_of_all_clients_by_the_bins_of_their_scores() -> None:
    table = scored_table(300)
    audit = audit_table(table, AuditSettings(score_bins=20, top=Fraction(1, 10)))
    measures = measures_of_table(audit, table)
    groups, bins = np.nonzero(table.counts.sum(axis=1))
    rows = np.repeat(np.stack([groups, bins]), table.counts.sum(axis=1)[groups, bins], axis=1)

    expected = measured(rows[0].tolist(), rows[1].tolist(), top="0.1")

    for metric in OF_SCORES:
        own = [measures.estimates[metric][group].value for group in GROUPS[:2]]
        assert own == pytest.approx(values(expected, metric), abs=1e-12)
        gap, other = measures.added(audit).gaps[metric], expected[metric].gap("sex", GROUPS, confidence=0.95)
        assert gap.ratio == pytest.approx(other.ratio, abs=1e-12)
        assert gap.ratio_low == pytest.approx(other.ratio_low, rel=0.1)  # from 2,000 other draws


def test_without_places_at_the_top_or_with_all_of_them_nothing_is_ranked() -> None:
    table = scored_table(300)
    for top in (None, Fraction(300)):
        audit = audit_table(table, AuditSettings(score_bins=20, top=top))
        assert not set(OF_SCORES) & set(measures_of_table(audit, table).estimates)


def test_correlation_narrows_a_difference_and_one_of_minus_1_adds_both_halves() -> None:
    ends = Interval(low=0.3, high=0.5), Interval(low=0.1, high=0.3)

    apart = square_and_add(0.4, ends[0], 0.2, ends[1], correlation=-1.0)

    assert (apart.low, apart.high) == pytest.approx((0.0, 0.4))  # the sum of both halves
    assert square_and_add(0.4, ends[0], 0.2, ends[1], correlation=1.0).low == pytest.approx(0.2)
    assert square_and_add(0.4, ends[0], 0.2, ends[1]).low == pytest.approx(0.2 - math.hypot(0.1, 0.1))


def test_a_ratio_of_an_end_at_zero_reaches_to_all_that_is_possible() -> None:
    zero, one = Interval(low=0.0, high=0.1), Interval(low=0.2, high=0.4)

    assert ratio_of(0.0, zero, 0.3, one) == Interval(low=0.0, high=0.5)
    assert ratio_of(0.3, one, 0.0, zero) == Interval(low=2.0, high=math.inf)
    assert student_quantile(0.95, 19) == pytest.approx(2.093, abs=5e-4)  # Student's table


def test_lists_of_one_group_alone_add_no_degrees_of_freedom() -> None:
    lists = [q for q in range(40) for _ in range(4)]
    together = measured([0, 1, 0, 1] * 40, list(range(160)), lists=lists)["exposure"]
    apart = measured([0, 1, 0, 1] * 20 + [0] * 80, list(range(160)), lists=lists)["exposure"]

    assert together.degrees[:2] == pytest.approx([39, 39])
    assert apart.degrees[:2] == pytest.approx([19, 19])


def test_a_lower_end_is_no_nearer_than_the_exact_bound_of_one_side() -> None:
    rates = measured([1] * 3 + [0] * 60 + [1] * 37, list(range(100, 0, -1)), top="3")["selection_rate_at_k"]
    trials = rates.value(1) * (1 - rates.value(1)) / rates.covariance[1, 1]  # type: ignore[operator]
    trials *= (1.96 / student_quantile(0.95, rates.degrees[1])) ** 2
    bound = rates.interval(1, 0.95).low

    # At the bound as many places or more are seen with a chance of 5 %, where trials are whole numbers.
    assert beta.cdf(bound, 3 / 40 * trials, 37 / 40 * trials + 1) <= 0.05 + 1e-3


def test_pairs_with_hardly_more_than_one_row_have_all_that_is_possible() -> None:
    # 19 relevant rows with 1 other in the first list, and 1 with 2 in the second: 21 pairs of 20 rows.
    found = measured([0] * 23, list(range(23)), lists=[0] * 20 + [1] * 3, relevance=[1] * 19 + [0, 1, 0, 0], top="2")[
        "intra_group_pairwise_accuracy"
    ]

    assert found.degrees[0] < 1
    assert found.interval(0, 0.95) == Interval(low=0.0, high=1.0)


def test_ranks_put_together_in_long_lists_move_draws_far_less_than_they_spread(monkeypatch):
    """Beyond 512 places; the draws are compared with those in which every rank stays by itself."""
    generator = np.random.default_rng(5)
    groups = (generator.random(4_000) < 0.3).astype(np.int64)
    relevance = (generator.random(4_000) < 0.4).astype(np.float64)
    scores = generator.normal(0.3 * groups + 0.5 * relevance)
    cells, _ = ranked_cells(np.zeros(4_000, np.int64), scores, groups, relevance)

    def draws() -> dict[str, NDArray[np.float64]]:
        drawn = np.random.default_rng(6)
        return draws_of(cells, np.ones(4_000), Top(places=Fraction("0.3")), 2, generator=drawn)

    together = draws()
    monkeypatch.setattr("fedcore.audit.ranking_draws._SINGLE_RANKS", 4_000)
    apart = draws()
    for name, sums in apart.items():
        spread = sums.std(axis=0)
        assert together[name].mean(axis=0) == pytest.approx(sums.mean(axis=0), abs=0.1 * spread.min()), name
        assert together[name].std(axis=0) == pytest.approx(spread, rel=0.05), name
