"""The contracts of every registered rule and encoding."""

import pytest

from fedcore.aggregation.registry import ENCODINGS, RULES
from fedcore.testing.aggregation import EncodingContract, RuleContract


class TestEveryRule(RuleContract):
    num_updates = 20

    @pytest.fixture(autouse=True, params=sorted(RULES.rows))
    def _name(self, request):
        self.name = request.param

    def make_rule(self):
        return RULES.make(self.name)


class TestEveryEncoding(EncodingContract):
    @pytest.fixture(autouse=True, params=sorted(ENCODINGS.rows))
    def _name(self, request):
        self.name = request.param

    def make_encoding(self):
        return ENCODINGS.make(self.name)
