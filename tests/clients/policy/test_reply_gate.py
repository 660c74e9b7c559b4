"""The last look at what leaves."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from fedcore.audit.tables.groups import GroupTable
from fedcore.audit.tables.values import ValueTable
from fedcore.errors import RefusedError
from fedcore.messages import ClientReport
from fedcore.metrics import Metrics
from fedcore.privacy.plan import PrivacyPlan
from fedcore_clients.policy.reply_gate import UpdateFacts, check_report, check_rows, check_update
from tests.clients.policy.builders import build_bare_plan, build_plan, build_policy, build_request

SIZE = 1000
EVENT = PrivacyPlan.from_run_plan(build_plan()).event(1)


def build_facts(**changes) -> UpdateFacts:
    vectors = {"update": changes.pop("values", np.zeros(SIZE, dtype=np.float32))}
    return UpdateFacts(**({"vectors": vectors, "num_examples": 100, "privacy_event": EVENT} | changes))


def build_asked(plan=None, **changes):
    return build_request(plan, **({"array_bytes": SIZE * 4} | changes))


def build_report(*, rows=100.0, tables=(), **sums) -> ClientReport:
    sums = sums or {"loss": 1.0, "accuracy": 50.0}
    metrics = Metrics(sums=sums, counts=dict.fromkeys(sums, rows))
    return ClientReport(client="north", round=1, metrics=metrics, tables={table.attribute: table for table in tables})


def build_table(attribute="stroke", bins=64) -> GroupTable:
    return GroupTable.zeros(attribute=attribute, groups=("a", "unknown"), labels=("0", "1"), num_bins=bins, scored=True)


def code_of(function, *arguments, **keywords) -> str:
    with pytest.raises(RefusedError) as refused:
        function(*arguments, **keywords)
    assert "100" not in refused.value.code
    return refused.value.code


def test_an_update_made_as_planned_may_leave():
    check_update(build_facts(), build_asked(), build_policy())


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("place", [0, -1])
def test_numbers_that_are_not_finite_do_not_leave(bad, place):
    values = np.zeros(5_000_001, dtype=np.float32)
    values[place] = bad
    request = build_asked(array_bytes=values.nbytes)
    assert code_of(check_update, build_facts(values=values), request, build_policy()) == "NONFINITE"


def test_an_update_longer_than_the_policys_norm_does_not_leave():
    policy = build_policy(release={"max-update-norm": 10.0})
    values = np.zeros(5_000_000, dtype=np.float32)
    values[0] = values[-1] = 7.0
    request = build_asked(array_bytes=values.nbytes)
    check_update(build_facts(values=values), request, policy)
    values[2_500_000] = 2.0
    assert code_of(check_update, build_facts(values=values), request, policy) == "NORM"


def test_a_norm_that_overflows_is_too_long_and_no_error():
    policy = build_policy(release={"max-update-norm": 1e300})
    plan = build_plan(training={"precision": "float64"})
    facts = build_facts(values=np.full(SIZE, 1e200))
    assert code_of(check_update, facts, build_asked(plan, array_bytes=SIZE * 8), policy) == "NORM"


def test_a_large_update_in_a_file_is_checked_without_a_copy(tmp_path):
    values = np.memmap(tmp_path / "update", dtype=np.float32, mode="w+", shape=(25_000_000,))
    request = build_asked(array_bytes=values.nbytes)
    tracemalloc.start()
    check_update(build_facts(values=values), request, build_policy(release={"max-update-norm": 1.0}))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 24 * 2**20


def test_a_private_update_tells_no_training_metric():
    facts = build_facts(metrics=Metrics(sums={"loss": 1.0}, counts={"loss": 100.0}))
    assert code_of(check_update, facts, build_asked(), build_policy()) == "METRICS"
    facts = build_facts(metrics=Metrics(counts={"patient 4711": 1.0}))
    assert code_of(check_update, facts, build_asked(), build_policy()) == "METRICS"


def test_training_metrics_without_privacy_are_those_listed():
    request, policy = build_asked(build_bare_plan()), build_policy()
    told = {"metrics": Metrics(sums={"loss": 1.0}, counts={"loss": 100.0}), "privacy_event": None}
    check_update(build_facts(**told), request, policy)
    strict = build_policy(release={"training": []})
    assert code_of(check_update, build_facts(**told), request, strict) == "METRICS"


@pytest.mark.parametrize("plan", [build_plan(privacy={"noise-multiplier": 5.0}), build_bare_plan()])
def test_an_update_made_with_another_privacy_than_the_plans_does_not_leave(plan):
    assert code_of(check_update, build_facts(), build_asked(plan), build_policy()) == "PRIVACY"


def test_the_number_of_rows_does_not_leave_where_it_is_secret():
    plan = build_plan(privacy={"relation": "add-remove"})
    assert code_of(check_update, build_facts(), build_asked(plan), build_policy()) == "PRIVACY"
    check_update(build_facts(num_examples=None), build_asked(plan), build_policy())


def test_n10_too_few_rows_are_refused_without_their_number():
    with pytest.raises(RefusedError, match=r"^release\.min-examples is 20, and there are fewer$") as refused:
        check_rows(19, build_policy())
    assert refused.value.code == "MIN_COUNT"
    check_rows(20, build_policy())
    assert code_of(check_update, build_facts(num_examples=3), build_asked(), build_policy()) == "MIN_COUNT"


def test_n10_an_evaluation_on_three_rows_does_not_leave():
    policy, request = build_policy(), build_asked(kind="evaluate")
    check_report(build_report(), request, policy, held_out_rows=100)
    assert code_of(check_report, build_report(rows=3.0), request, policy, held_out_rows=3) == "MIN_COUNT"
    assert code_of(check_report, build_report(rows=3.0), request, policy, held_out_rows=100) == "MIN_COUNT"
    empty = ClientReport(client="north", round=1, metrics=Metrics())
    assert code_of(check_report, empty, request, policy, held_out_rows=0) == "MIN_COUNT"


@pytest.mark.parametrize("sums", [{"row_17": 1.0}, {"loss": float("nan")}, {"loss": float("inf")}])
def test_n10_metrics_that_are_not_listed_or_not_finite_do_not_leave(sums):
    request = build_asked(kind="evaluate")
    assert code_of(check_report, build_report(**sums), request, build_policy(), held_out_rows=100) == "METRICS"


def test_a_sum_without_a_count_does_not_leave():
    report = ClientReport(client="north", round=1, metrics=Metrics(sums={"loss": 1.0}))
    assert code_of(check_report, report, build_asked(kind="evaluate"), build_policy(), held_out_rows=100) == "METRICS"


def test_a_count_that_is_not_finite_does_not_leave():
    request = build_asked(kind="evaluate")
    for rows in (float("nan"), float("inf")):
        assert code_of(check_report, build_report(rows=rows), request, build_policy(), held_out_rows=100) == "METRICS"


def test_group_tables_leave_for_listed_and_planned_attributes_only():
    plan = build_plan(audit={"sensitive": ["stroke"]})
    request, policy = build_asked(plan, kind="evaluate"), build_policy()
    check_report(build_report(tables=[build_table()]), request, policy, held_out_rows=100)
    for table in (build_table("sex"), build_table(bins=128)):
        assert code_of(check_report, build_report(tables=[table]), request, policy, held_out_rows=100) == "METRICS"
    unplanned = build_asked(kind="evaluate")
    assert (
        code_of(check_report, build_report(tables=[build_table()]), unplanned, policy, held_out_rows=100) == "METRICS"
    )


def test_sums_of_errors_leave_for_attributes_listed_for_them_only():
    plan = build_plan(audit={"sensitive": ["stroke"]})
    request = build_asked(plan, kind="evaluate")
    sums = ValueTable.zeros(attribute="stroke", groups=("a", "unknown"), span=(0.0, 1.0), num_bins=64)
    counts_only, sums_only = build_policy(), build_policy(release={"group-tables": [], "error-sums": ["stroke"]})

    check_report(build_report(tables=[sums]), request, sums_only, held_out_rows=100)
    for table, policy in ((sums, counts_only), (build_table(), sums_only)):
        assert code_of(check_report, build_report(tables=[table]), request, policy, held_out_rows=100) == "METRICS"
