"""The contract of every registered server optimizer, and of SGD with momentum."""

import pytest

from fedcore.server_optimizers.registry import SERVER_OPTIMIZERS
from fedcore.testing.server_optimizer import ServerOptimizerContract


class TestEveryServerOptimizer(ServerOptimizerContract):
    @pytest.fixture(autouse=True, params=[*SERVER_OPTIMIZERS.rows, {"name": "sgd", "momentum": 0.9}], ids=str)
    def _reference(self, request):
        self.reference = request.param

    def make_optimizer(self):
        return SERVER_OPTIMIZERS.make(self.reference)
