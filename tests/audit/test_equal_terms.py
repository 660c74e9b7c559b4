"""The variance of a group's places on equal terms against all orders of its rows, and what it is taken to be else."""

from __future__ import annotations

from fractions import Fraction
from itertools import combinations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import hypergeom

from fedcore.audit.equal_terms import EqualTerms, equal_terms
from fedcore.audit.ranked_lists import Parts, Top, ranked_cells

Codes = NDArray[np.int64]


def terms_of(
    groups: Codes, scores: NDArray[np.float64], *, top: int, lists: Codes | None = None
) -> dict[str, EqualTerms]:
    """Return the terms of rows of groups 0 and 1, one list unless ``lists`` says otherwise."""
    of = np.zeros(len(groups), np.int64) if lists is None else lists
    cells, _ = ranked_cells(of, scores, groups)
    parts = Parts.by(cells.lists * 2 + cells.groups)
    return equal_terms(cells, np.ones(len(groups)), Top(places=Fraction(top)), parts, num_groups=2)


def test_on_equal_terms_exposure_varies_as_over_all_ways_to_place_a_group() -> None:
    groups = np.array([0, 0, 1, 1, 1, 0, 1, 1])
    seen = 1 / np.log2(1 + np.arange(1, 9))
    over_all = np.var([seen[list(places)].sum() for places in combinations(range(8), 3)])

    found = terms_of(groups, -np.arange(8.0), top=3)["seen"].by_part

    assert found == pytest.approx([over_all, over_all])  # what one group gains the other loses


def test_on_equal_terms_places_at_the_top_are_hypergeometric() -> None:
    groups, scores = np.repeat([0, 1], [30, 70]), np.random.default_rng(0).random(100)

    found = terms_of(groups, scores, top=10)["top"].by_part

    assert found == pytest.approx([hypergeom(100, 30, 10).var()] * 2)


def test_the_least_variance_of_groups_with_equal_shares_is_that_of_equal_terms() -> None:
    scores = np.repeat(np.arange(50.0), 2)  # both groups at every score

    for name, found in terms_of(np.tile([0, 1], 50), scores, top=20).items():
        assert found.least == pytest.approx(found.by_part), name


def test_a_group_that_is_lower_has_less_variance_than_on_equal_terms_but_never_none() -> None:
    groups, scores = np.repeat([0, 1], 50), -np.arange(100.0)

    for name, found in terms_of(groups, scores, top=10).items():
        assert (found.least > 0).all(), name
        assert (found.least < found.by_part).all(), name


def test_a_list_of_one_group_alone_has_no_variance_on_equal_terms() -> None:
    lists, groups = np.repeat([0, 1], 4), np.array([0, 1, 0, 1, 0, 0, 0, 0])

    found = terms_of(groups, -np.arange(8.0), top=2, lists=lists)["seen"]

    assert found.by_part[:2] == pytest.approx(found.by_part[0])
    assert found.by_part[2] == pytest.approx(0, abs=1e-15)


def test_one_group_alone_has_none_at_all() -> None:
    found = terms_of(np.zeros(6, np.int64), -np.arange(6.0), top=2)

    assert [one.least.tolist() for one in found.values()] == [[0.0, 0.0], [0.0, 0.0]]
