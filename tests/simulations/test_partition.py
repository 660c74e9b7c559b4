"""Every way to split rows, and what each promises."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fedcore import Attribute, Examples
from fedcore.errors import DataError, PlanError
from fedcore.held_out import held_out_rows
from fedcore.plan import FederationSection
from fedcore_simulations.partition import partition

SPECIFICATIONS = ["iid", "dirichlet:0.5", "dirichlet:100", "shards:2", "sizes:lognormal"]


def examples(rows=500, classes=5):
    targets = torch.arange(rows) % classes
    ward = Attribute.from_values([("a", "b", None)[row % 3] for row in range(rows)], vocabulary=("a", "b", "c"))
    return Examples(columns={"inputs": torch.zeros(rows, 1), "targets": targets}, attributes={"ward": ward})


def split(specification, *, rows=500, clients=8, seed=0, classes=5):
    held_out = held_out_rows(rows, 0.2, seed).numpy()
    section = FederationSection.model_validate({"partition": specification, "clients": clients, "seed": seed})
    return partition(examples(rows, classes), held_out, section), held_out


@given(st.sampled_from(SPECIFICATIONS), st.integers(1, 12), st.integers(0, 10**6))
@settings(max_examples=60, deadline=None)
def test_every_row_has_one_owner_and_every_client_a_row_to_train_on(specification, clients, seed):
    division, held_out = split(specification, clients=clients, seed=seed)
    assert len(division.owner) == 500
    assert len(division.names) == clients
    assert set(division.owner[~held_out]) == set(range(clients))


@pytest.mark.parametrize("specification", SPECIFICATIONS)
def test_the_split_is_the_same_for_the_same_seed_and_another_for_another(specification):
    one, two, other = (split(specification, seed=seed)[0].owner for seed in (1, 1, 2))
    assert np.array_equal(one, two)
    assert not np.array_equal(one, other)


def test_iid_gives_everyone_the_same_number():
    sizes = np.bincount(split("iid", rows=803)[0].owner)
    assert sizes.max() - sizes.min() <= 1


def test_a_small_concentration_skews_classes_more_than_a_large_one():
    def skew(specification):
        owner = split(specification, rows=2000)[0].owner
        counts = np.zeros((8, 5))
        np.add.at(counts, (owner, np.arange(2000) % 5), 1)
        shares = counts / counts.sum(1, keepdims=True)
        return float(np.abs(shares - 0.2).mean())

    assert skew("dirichlet:0.1") > 2 * skew("dirichlet:10") > skew("iid")


def test_shards_give_each_client_few_classes():
    owner = split("shards:2", rows=1000, classes=10)[0].owner
    classes = [len(np.unique((np.arange(1000) % 10)[owner == client])) for client in range(8)]
    assert max(classes) <= 4


def test_by_column_makes_a_client_of_each_value_that_occurs():
    division, _ = split("by:ward")
    assert division.names == ("a", "b", "unknown")
    assert np.bincount(division.owner).tolist() == [167, 167, 166]


@pytest.mark.parametrize(
    "specification",
    [
        "idd",
        "dirichlet",
        "dirichlet:0",
        "dirichlet:-1",
        "dirichlet:x",
        "shards:0",
        "shards:1.5",
        "sizes:normal",
        "iid:3",
        "",
    ],
)
def test_a_specification_that_means_nothing_is_a_plan_error(specification):
    with pytest.raises(PlanError, match="expected iid, dirichlet:A"):
        split(specification)


def test_an_absent_column_is_named_with_those_there_are():
    with pytest.raises(PlanError, match="no column 'hospital' to partition by; it has ward"):
        split("by:hospital")


def test_more_clients_than_training_rows_are_refused():
    with pytest.raises(DataError, match="9 clients cannot share 8 training rows"):
        split("iid", rows=10, clients=9)


def test_a_split_that_cannot_serve_every_client_is_refused():
    with pytest.raises(DataError, match="left a client without training rows"):
        split("dirichlet:0.001", rows=60, clients=40)


def test_classes_are_needed_to_skew_them():
    section = FederationSection.model_validate({"partition": "dirichlet:1"})
    data = Examples(columns={"inputs": torch.zeros(50, 1)})
    with pytest.raises(PlanError, match="needs classes"):
        partition(data, np.zeros(50, dtype=bool), section)


def test_the_held_out_rows_depend_on_number_and_seed_alone():
    assert torch.equal(held_out_rows(100, 0.2, 1), held_out_rows(100, 0.2, 1))
    assert int(held_out_rows(100, 0.2, 1).sum()) == 20
    assert not torch.equal(held_out_rows(100, 0.2, 1), held_out_rows(100, 0.2, 2))
    assert int(held_out_rows(1, 0.9, 0).sum()) == 0
