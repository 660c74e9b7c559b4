"""Every partitioner keeps the contract, and so may one's own."""

import sys

import numpy as np
import pytest

from fedcore.errors import DataError, PlanError
from fedcore_simulations import simulate
from fedcore_simulations.partition.registry import PARTITIONERS
from fedcore_simulations.partition.testing import PartitionerContract
from tests.builders import TinyTask, build_plan

OWN = """
import numpy as np

class Striped:
    remedy = "fewer stripes"

    def __init__(self, width=1):
        self.width = width

    def names(self, examples):
        return None

    def deal(self, rows, generator):
        return np.arange(len(rows)) // self.width % rows.clients

class Lost(Striped):
    def deal(self, rows, generator):
        return np.full(len(rows), rows.clients)
"""


class TestIid(PartitionerContract):
    def make_partitioner(self):
        return PARTITIONERS.make("iid")


class TestDirichlet(PartitionerContract):
    def make_partitioner(self):
        return PARTITIONERS.make("dirichlet:0.5")


class TestShards(PartitionerContract):
    def make_partitioner(self):
        return PARTITIONERS.make("shards:2")


class TestByColumn(PartitionerContract):
    def make_partitioner(self):
        return PARTITIONERS.make({"name": "by", "column": "ward"})


class TestSizes(PartitionerContract):
    def make_partitioner(self):
        return PARTITIONERS.make("sizes:lognormal")


@pytest.fixture
def own(tmp_path, monkeypatch):
    (tmp_path / "own_partition.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield
    sys.modules.pop("own_partition", None)


def simulated(partition):
    plan = build_plan(federation={"clients": 4, "rounds": 1, "partition": partition})
    return simulate(TinyTask(), plan).results.split


def test_a_partitioner_of_ones_own_deals_the_rows_with_its_options(own):
    split = simulated({"name": "own_partition:Striped", "width": 5})
    assert np.sum(split["counts"], axis=1).tolist() == [30, 30, 30, 30]
    with pytest.raises(PlanError, match="its options are: width"):
        simulated({"name": "own_partition:Striped", "depth": 5})


def test_a_partitioner_that_names_a_client_too_many_is_refused(own):
    with pytest.raises(DataError, match="a client from 0 to 3 for each of 120 rows"):
        simulated("own_partition:Lost")


def test_a_column_whose_name_reads_as_a_number_keeps_its_name():
    assert PARTITIONERS.make("by:007")._column == "007"
