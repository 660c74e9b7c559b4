"""Every way to split rows, and what each promises."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fedcore import Attribute, Examples
from fedcore.data.held_out import held_out_rows
from fedcore.errors import DataError, PlanError
from fedcore.plan import FederationSection
from fedcore_simulations import simulate
from fedcore_simulations.commands.options import plan_from_options
from fedcore_simulations.dealt_clients import DealtClients
from fedcore_simulations.partition.dealing import partition
from tests.builders import TinyTask, build_plan

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
    with pytest.raises(PlanError, match=r"^(unknown )?partition:? '"):
        split(specification)


def test_an_absent_column_is_named_with_those_there_are():
    with pytest.raises(PlanError, match="no column 'hospital' to partition by; it has ward"):
        split("by:hospital")


def test_more_clients_than_training_rows_are_refused():
    with pytest.raises(DataError, match="9 clients cannot share 8 training rows"):
        split("iid", rows=10, clients=9)


def test_a_split_that_cannot_serve_every_client_is_refused():
    with pytest.raises(DataError, match=r"left \d+ of 40 clients without a training row in the best of 1000 draws"):
        split("dirichlet:0.001", rows=60, clients=40)


def test_a_hopeless_split_of_many_rows_is_refused_after_few_draws(monkeypatch):
    monkeypatch.setattr("fedcore_simulations.partition.dealing._ROWS_IN_ALL_TRIES", 600)
    with pytest.raises(DataError, match=r"in the best of 10 draws; use a larger concentration"):
        split("dirichlet:0.001", rows=60, clients=40)


@given(st.integers(1, 60), st.integers(0, 10**6))
@settings(max_examples=60, deadline=None)
def test_iid_gives_every_client_a_row_to_train_on_whenever_there_are_enough(clients, seed):
    division, held_out = split("iid", rows=75, clients=clients, seed=seed)
    sizes = np.bincount(division.owner[~held_out], minlength=clients)
    assert len(sizes) == clients
    assert sizes.min() >= 1


@given(st.sampled_from(["iid", "dirichlet:0.5", "sizes:lognormal"]), st.integers(1, 12), st.integers(0, 10**6))
@settings(max_examples=30, deadline=None)
def test_dealt_clients_have_the_rows_that_the_partition_gives_them(specification, clients, seed):
    division, held_out = split(specification, rows=120, clients=clients, seed=seed)
    numbered = Examples(
        columns={"number": torch.arange(120)},
        attributes={"ward": Attribute(codes=torch.arange(120) % 3, vocabulary=("a", "b", "unknown"))},
    )
    dealt = DealtClients.of(numbered, held_out, division)
    assert [client.name for client in dealt] == list(division.names)
    for index, client in enumerate(dealt):
        mine = division.owner == index
        assert client.training.columns["number"].tolist() == np.flatnonzero(mine & ~held_out).tolist()
        kept = [] if client.held_out is None else client.held_out.columns["number"].tolist()
        assert kept == np.flatnonzero(mine & held_out).tolist()
        assert client.training.attributes["ward"].codes.tolist() == [n % 3 for n in np.flatnonzero(mine & ~held_out)]


def test_all_clients_rows_are_views_of_one_copy_that_is_not_the_tasks_own():
    division, held_out = split("iid", rows=100, clients=5)
    data = examples(100)
    dealt = DealtClients.of(data, held_out, division)
    memories = {client.training.columns["inputs"].untyped_storage().data_ptr() for client in dealt}
    assert len(memories) == 1
    assert data.columns["inputs"].untyped_storage().data_ptr() not in memories
    assert dealt[-1].name == dealt[4].name == dealt[3:][1].name
    with pytest.raises(IndexError):
        dealt[5]


def test_a_simulation_runs_with_clients_that_have_no_held_out_row():
    result = simulate(TinyTask(rows=50), build_plan(federation={"clients": 35, "rounds": 1}))
    assert result.summary["clients"] == 35
    assert min(result.results.split["held_out"]) == 0
    assert result.rounds[0]["counted"] == [f"client-{index:02d}" for index in range(35)]


def test_a_value_that_has_held_out_rows_only_is_named():
    data = examples(6)
    held_out = np.array([False, True, False, False, True, False])  # all rows of ward b
    section = FederationSection.model_validate({"partition": "by:ward"})
    with pytest.raises(DataError, match="by:ward leaves b without a training row"):
        partition(data, held_out, section)


def test_synthetic_takes_the_number_of_clients_from_the_command_line():
    plan = plan_from_options("synthetic", {"federation.clients": 5}, [])
    assert plan.federation.clients == 5
    assert simulate(None, plan.updated(federation={"rounds": 1}, engine={"workers": 1})).summary["clients"] == 5
    with pytest.raises(PlanError, match="leave --clients out"):
        plan_from_options("synthetic", {"federation.clients": 5}, ["task.options.clients=7"])


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


class Beyond:
    """Gives one row to a client that is not there."""

    remedy = "fewer clients"

    def names(self, examples):
        return None

    def deal(self, rows, generator):
        owner = np.arange(len(rows)) % rows.clients
        owner[7] = 99
        return owner


class Listed(Beyond):
    def deal(self, rows, generator):
        return super().deal(rows, generator).tolist()


def test_a_client_that_is_not_there_is_named_with_its_row():
    with pytest.raises(
        DataError, match=r"expected an int64 array with a client from 0 to 5 .*, found client 99 for row"
    ):
        split(f"{__name__}:Beyond", clients=6)
    with pytest.raises(DataError, match="found an object of type list"):
        split(f"{__name__}:Listed", clients=6)
