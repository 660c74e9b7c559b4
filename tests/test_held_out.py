"""Which rows are held out, and what that depends on."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fedcore import Attribute, Examples
from fedcore.data.held_out import choose_held_out, held_out_by_content
from fedcore_simulations.preparation import prepare
from tests.builders import TinyTask, build_plan, build_private_plan


@st.composite
def tables(draw):
    """Two columns of few values, so that equal rows are common; a third as floats of every kind."""
    rows = draw(st.lists(st.tuples(st.integers(0, 3), st.booleans(), st.floats(width=32)), min_size=1, max_size=40))
    whole, flags, numbers = zip(*rows, strict=True)
    return Examples(
        columns={
            "inputs": torch.tensor([[value, -value] for value in whole]),
            "flags": torch.tensor(flags),
            "numbers": torch.tensor(numbers, dtype=torch.float32),
        }
    )


@given(tables(), st.data(), st.integers(0, 2**62), st.floats(0.05, 0.95))
@settings(max_examples=150, deadline=None)
def test_taking_one_record_away_leaves_every_other_on_its_side(table, data, seed, share):
    away = data.draw(st.integers(0, len(table) - 1))
    rest = torch.arange(len(table)) != away
    whole = held_out_by_content(table, share, seed, owner="north")
    less = held_out_by_content(table.select(rest.nonzero().flatten()), share, seed, owner="north")
    assert torch.equal(whole[rest], less)


@given(tables(), st.integers(0, 2**62), st.randoms())
@settings(max_examples=50, deadline=None)
def test_the_order_of_the_rows_does_not_matter_and_equal_rows_fall_alike(table, seed, random):
    order = list(range(len(table)))
    random.shuffle(order)
    marked = held_out_by_content(table, 0.5, seed)
    assert torch.equal(held_out_by_content(table.select(torch.tensor(order)), 0.5, seed), marked[order])
    side = {}
    for row, held_out in zip(table.rows_as_bytes(), marked.tolist(), strict=True):
        assert side.setdefault(row, held_out) == held_out


@given(tables(), st.integers(0, 2**62))
@settings(max_examples=50, deadline=None)
def test_a_larger_share_holds_out_the_same_rows_and_more(table, seed):
    marked = [held_out_by_content(table, share, seed) for share in (0.1, 0.4, 0.8)]
    assert bool((marked[0] <= marked[1]).all())
    assert bool((marked[1] <= marked[2]).all())


def many(rows=20_000):
    return Examples(columns={"inputs": torch.arange(rows)[:, None].float()})


@pytest.mark.parametrize("share", [0.02, 0.2, 0.75])
def test_each_row_is_held_out_with_the_share_as_its_probability(share):
    marked = held_out_by_content(many(), share, 3).double()
    error = (share * (1.0 - share) / len(marked)) ** 0.5
    assert abs(float(marked.mean()) - share) < 5.0 * error
    centred = marked - share
    assert abs(float(centred[1:] @ centred[:-1])) / len(marked) < 5.0 * error**2 * len(marked) ** 0.5


def test_seeds_owners_and_columns_count_and_attributes_do_not():
    rows = many(400)
    marked = held_out_by_content(rows, 0.5, 3, owner="north")
    for other in (held_out_by_content(rows, 0.5, 4, owner="north"), held_out_by_content(rows, 0.5, 3, owner="south")):
        assert 100 < int((other != marked).sum()) < 300
    sex = Attribute.from_values(["f", "m"] * 200, vocabulary=("f", "m"))
    audited = Examples(columns=rows.columns, attributes={"sex": sex})
    assert torch.equal(held_out_by_content(audited, 0.5, 3, owner="north"), marked)


def test_the_split_of_these_rows_is_the_one_of_every_version():
    marked = held_out_by_content(many(16), 0.5, 3, owner="north")
    assert "".join(str(int(each)) for each in marked) == "0011011101100000"


def test_the_plans_relation_says_which_way_is_gone():
    rows = many(500)
    secret, public = build_private_plan(privacy={"relation": "add-remove"}), build_private_plan()
    assert torch.equal(choose_held_out(rows, secret, 3), held_out_by_content(rows, 0.2, 3))
    for plan in (public, build_private_plan(privacy={"relation": "replace-one"}), build_plan()):
        assert int(choose_held_out(rows, plan, 3).sum()) == 100


@pytest.mark.parametrize(("relation", "moves"), [("add-remove", False), ("zero-out", True)])
def test_in_a_simulation_one_record_less_moves_others_only_where_the_size_is_public(relation, moves):
    plan = build_private_plan(privacy={"relation": relation}, federation={"clients": 3})
    task = TinyTask()
    kept, rows = set(), task.load_data(None)
    for fewer in (0, 1):
        task.load_data = lambda path, fewer=fewer: rows.select(torch.arange(fewer, len(rows)))
        clients = prepare(task, plan).clients
        kept ^= {row for client in clients if client.held_out for row in client.held_out.rows_as_bytes()}
    assert (len(kept) > 1) is moves
