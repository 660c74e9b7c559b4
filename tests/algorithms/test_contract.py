"""The contract of every registered algorithm."""

import pytest

from fedcore.algorithms.registry import ALGORITHMS, ASYNCHRONOUS, WEIGH_ROWS
from fedcore.testing.algorithm import AlgorithmContract
from fedcore_clients.policy.settings import Policy


class TestEveryAlgorithm(AlgorithmContract):
    @pytest.fixture(autouse=True, params=sorted(ALGORITHMS.rows))
    def _name(self, request):
        self.name = request.param

    def make_algorithm(self):
        return ALGORITHMS.make(self.name)

    def test_a_policy_allows_it_by_default_unless_it_weighs_rows_or_is_never_deployed(self):
        assert (self.name in WEIGH_ROWS) == self.make_algorithm().weighs_rows
        assert (self.name in ASYNCHRONOUS) == (self.make_algorithm().buffer is not None)
        assert (self.name in Policy().training.algorithms) != (self.name in {*WEIGH_ROWS, *ASYNCHRONOUS})
