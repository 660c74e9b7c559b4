from __future__ import annotations

import re

import pytest

from fedcore.audit.verdict.fairness import audit_tables
from fedcore.audit.verdict.gate import Verdict, judge
from fedcore.audit.verdict.limits import Limit
from fedcore.audit.verdict.settings import AuditSettings
from tests.audit.builders import table_of_selections

LIMITS = [
    Limit.of("selection_rate", kind="difference", at_most="0.1"),
    Limit.of("selection_rate", kind="ratio", at_least="0.8"),
    Limit.of("selection_rate", kind="worst-group", at_least="0.4"),
]


def finding(limit: Limit, groups: dict[str, tuple[int, int]], reference: str | None = None) -> tuple[Verdict, str]:
    settings = AuditSettings(min_cell=1, references={} if reference is None else {"sex": reference})
    found = judge(limit, audit_tables([table_of_selections(groups)], settings)["sex"])
    return found.verdict, found.reason


@pytest.mark.parametrize("limit", LIMITS, ids=lambda one: one.kind)
@pytest.mark.parametrize("reference", [None, "a"])
def test_so_many_rows_of_each_group_with_the_rates_seen_give_a_pass(limit: Limit, reference: str | None) -> None:
    verdict, reason = finding(limit, {"a": (10, 20), "b": (9, 20), "c": (19, 40)}, reference)
    told = re.search(r"at the rates seen a PASS needs about ([\d,]+) rows of each group; a has 20", reason)
    assert verdict is Verdict.INCONCLUSIVE
    assert told is not None
    needed = int(told[1].replace(",", ""))

    def with_rows(n: int) -> Verdict:
        n -= n % 40
        return finding(limit, {"a": (n // 2, n), "b": (9 * n // 20, n), "c": (19 * n // 40, n)}, reference)[0]

    assert with_rows(needed + 40) is Verdict.PASS
    assert with_rows(round(0.85 * needed)) is Verdict.INCONCLUSIVE


def test_where_the_rates_seen_are_beyond_the_limit_no_number_of_rows_is_given() -> None:
    _, reason = finding(LIMITS[0], {"a": (10, 20), "b": (4, 20)})

    assert "at the rates seen no number of rows would give a PASS: a (10 of 20) and b (4 of 20)" in reason
