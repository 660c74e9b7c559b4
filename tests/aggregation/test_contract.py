"""The contracts of every registered rule and encoding."""

import pytest

from fedcore.aggregation.registry import ENCODINGS, RULES
from fedcore.testing.aggregation import EncodingContract, RuleContract

ROBUST = {name: {"name": name, "f": 4} for name in ("median", "krum", "multi-krum", "geometric-median")}
WITH_OPTIONS = ROBUST | {"centered-clipping": {"name": "centered-clipping", "f": 4, "radius": 100.0}}


class TestEveryRule(RuleContract):
    num_updates = 20

    @pytest.fixture(autouse=True, params=sorted(RULES.rows))
    def _name(self, request):
        self.name = request.param

    def make_rule(self):
        return RULES.make(WITH_OPTIONS.get(self.name, self.name))


class TestEveryEncoding(EncodingContract):
    @pytest.fixture(autouse=True, params=sorted(ENCODINGS.rows))
    def _name(self, request):
        self.name = request.param

    def make_encoding(self):
        return ENCODINGS.make(self.name)
