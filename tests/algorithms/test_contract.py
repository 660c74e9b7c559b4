"""The contract of every registered algorithm."""

import pytest

from fedcore.algorithms.registry import ALGORITHMS
from fedcore.testing.algorithm import AlgorithmContract


class TestEveryAlgorithm(AlgorithmContract):
    @pytest.fixture(autouse=True, params=sorted(ALGORITHMS.rows))
    def _name(self, request):
        self.name = request.param

    def make_algorithm(self):
        return ALGORITHMS.make(self.name)
