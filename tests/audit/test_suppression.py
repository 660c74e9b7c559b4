from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from fedcore.audit.tables.crossing import cross
from fedcore.audit.tables.groups import UNKNOWN
from fedcore.audit.verdict.suppression import suppressed_groups

SEXES, RACES = ("female", "male"), ("Asian", "Black", "Native", "white")
cells = st.lists(st.one_of(st.just(0), st.integers(1, 12), st.integers(13, 400)), min_size=15, max_size=15)


def hidden(sizes: Mapping[str, int], min_cell: int = 10) -> set[str]:
    return set(suppressed_groups({"race": sizes}, min_cell=min_cell)["race"])


def test_a_group_that_is_large_enough_is_shown() -> None:
    assert hidden({"a": 10, "b": 500, UNKNOWN: 0}) == set()


def test_a_single_small_group_takes_the_next_smallest_with_it() -> None:
    assert hidden({"a": 9, "b": 500, "c": 40, UNKNOWN: 200}) == {"a", "c"}


def test_two_small_groups_hide_one_another_if_together_they_are_large_enough() -> None:
    assert hidden({"a": 9, "b": 8, "c": 40, UNKNOWN: 0}) == {"a", "b"}
    assert hidden({"a": 4, "b": 5, "c": 40, UNKNOWN: 70}) == {"a", "b", "c"}


def test_unknown_is_a_group_that_can_be_small_too() -> None:
    assert hidden({"a": 300, "b": 500, UNKNOWN: 3}) == {"a", UNKNOWN}


def test_a_group_without_rows_is_no_cover() -> None:
    assert hidden({"a": 9, "b": 0, "c": 40, UNKNOWN: 0}) == {"a", "c"}


def test_with_nobody_left_to_hide_behind_all_are_hidden() -> None:
    assert hidden({"a": 9, UNKNOWN: 0}) == {"a"}


def test_a_small_cell_of_a_crossing_is_not_given_back_by_its_margins() -> None:
    crossed = {"female & a": 4, "female & b": 100, "male & a": 60, "male & b": 200, UNKNOWN: 0}
    sizes = {
        "sex*race": crossed,
        "sex": {"female": 104, "male": 260, UNKNOWN: 0},
        "race": {"a": 64, "b": 300, UNKNOWN: 0},
    }

    # Any three of the four cells and the margins give the fourth.
    assert suppressed_groups(sizes, min_cell=10) == {
        "sex*race": frozenset(crossed) - {UNKNOWN},
        "sex": frozenset(),
        "race": frozenset(),
    }
    assert suppressed_groups({"sex*race": crossed}, min_cell=10)["sex*race"] == {"female & a", "male & a"}


@settings(max_examples=300, deadline=None)
@given(cells)
def test_suppression_cannot_be_undone_from_margins(counts: list[int]) -> None:
    truth = np.array(counts).reshape(3, 5)  # sexes and races, "unknown" last in each
    tables = _tables(truth)
    hidden = suppressed_groups(
        {name: {group: int((truth * cells).sum()) for group, cells in table.items()} for name, table in tables.items()},
        min_cell=10,
    )
    shown = [np.ones_like(truth)]
    for name, table in tables.items():
        for group, cells in table.items():
            if not (truth * cells).any():  # shown as empty, so the reader knows each of its cells
                shown += [one.reshape(3, 5) for one in np.eye(15, dtype=int)[np.flatnonzero(cells)]]
            elif group not in hidden[name]:
                shown.append(cells)
    known = np.array([cells.ravel() for cells in shown], dtype=float)

    for name, table in tables.items():
        for group in hidden[name]:
            size = (truth * table[group]).sum()
            if 0 < size < 10 and truth.sum() > size:
                assert not _follows_from(known, table[group].ravel()), (name, group, hidden)


def test_two_small_cells_are_not_hidden_in_a_margin_that_tells_their_sum() -> None:
    crossed = {"F & A": 3, "F & B": 4, "F & C": 140, "M & A": 140, "M & B": 140, "M & C": 140, UNKNOWN: 0}
    sizes = {
        "sex": {"F": 147, "M": 420, UNKNOWN: 0},
        "race": {"A": 143, "B": 144, "C": 280, UNKNOWN: 0},
        "sex*race": crossed,
    }
    hidden = suppressed_groups(sizes, min_cell=10)

    # Of women, "F & C" would leave the 7 of race A or B; and "M & C" would leave "F & C" by race.
    assert {"F & A", "F & B", "F & C", "M & C"} <= hidden["sex*race"]


def test_women_of_unknown_race_are_not_what_the_known_races_leave() -> None:
    crossed = {"F & A": 97, "F & B": 140, "M & A": 140, "M & B": 140, UNKNOWN: 23}
    sizes = {"sex": {"F": 240, "M": 300, UNKNOWN: 0}, "sex*race": crossed}  # 3 of these are women, 20 men

    # They are also the unknown ones without what men leave.
    assert suppressed_groups(sizes, min_cell=10)["sex*race"] == {"F & A", UNKNOWN}


@settings(max_examples=300, deadline=None)
@given(cells)
def test_what_the_shown_parts_of_a_shown_total_leave_is_never_small(counts: list[int]) -> None:
    truth = np.array(counts).reshape(3, 5)
    tables = _tables(truth)
    sizes = {name: {g: int((truth * cells).sum()) for g, cells in table.items()} for name, table in tables.items()}
    hidden = suppressed_groups(sizes, min_cell=10)
    shown = {name: [c for g, c in table.items() if g not in hidden[name]] for name, table in tables.items()}

    for name, parts in shown.items():
        for total in [np.ones_like(truth), *(cells for other in shown if other != name for cells in shown[other])]:
            inside = [cells for cells in parts if (cells <= total).all() and (truth * cells).any()]
            left = int((truth * (total - sum(inside))).sum())
            assert not (inside and 0 < left < 10), (name, total, hidden)


def _tables(truth: np.ndarray) -> dict[str, dict[str, np.ndarray]]:
    """Return for each table and group which of the finest cells it sums."""
    sex = {name: np.zeros_like(truth) for name in (*SEXES, UNKNOWN)}
    race = {name: np.zeros_like(truth) for name in (*RACES, UNKNOWN)}
    both = {name: np.zeros_like(truth) for name in cross({"sex": (*SEXES, UNKNOWN), "race": (*RACES, UNKNOWN)})}
    for (i, j), _ in np.ndenumerate(truth):
        pair = ((*SEXES, UNKNOWN)[i], (*RACES, UNKNOWN)[j])
        sex[pair[0]][i, j] = race[pair[1]][i, j] = 1
        both[UNKNOWN if UNKNOWN in pair else " & ".join(pair)][i, j] = 1
    return {"sex": sex, "sex*race": both, "race": race}


def _follows_from(known: np.ndarray, wanted: np.ndarray) -> bool:
    """Tell whether a sum of cells is a combination of known sums."""
    rank = np.linalg.matrix_rank(known)
    return bool(np.linalg.matrix_rank(np.vstack([known, wanted])) == rank)


def test_no_more_is_hidden_than_needed() -> None:
    crossed = {"f & a": 4, "f & b": 100, "m & a": 60, "m & b": 200, UNKNOWN: 0}
    sizes = {"sex*race": crossed, "sex": {"f": 104, "m": 260, UNKNOWN: 0}}

    # Hiding the smallest other cell, "m & a", would not help: the rest of "f" is "f & a".
    assert suppressed_groups(sizes, min_cell=10)["sex*race"] == {"f & a", "f & b"}


def test_attributes_that_are_not_crossed_are_hidden_by_themselves() -> None:
    sizes = {"race": {"a": 4, "b": 20, "c": 400, UNKNOWN: 0}, "site": {"x": 200, "y": 224, UNKNOWN: 0}}

    assert suppressed_groups(sizes, min_cell=10) == {"race": {"a", "b"}, "site": frozenset()}
