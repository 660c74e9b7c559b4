"""Approval of plans by hand, and the count of a day's requests."""

from __future__ import annotations

import pytest

from fedcore.errors import PlanError, RefusedError, StorageError
from fedcore.plan.digest import digest_of
from fedcore.privacy.accounting import epsilon_of, rounded_up
from fedcore.privacy.plan import PrivacyEvent
from fedcore_clients.policy.approvals import Approvals
from fedcore_clients.policy.daily_requests import DailyRequests
from tests.clients.policy.builders import (
    Clock,
    build_bare_plan,
    build_open_policy,
    build_plan,
    build_policy,
    build_request,
    check,
)

FIRST, SECOND, THIRD = "a" * 64, "a" * 9 + "b" * 55, "c" * 64


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def approvals(tmp_path, clock):
    return Approvals(tmp_path / "approvals.json", clock)


def refused(approvals, plan, policy) -> RefusedError:
    with pytest.raises(RefusedError) as refusal:
        check(build_request(plan), policy, approvals=approvals)
    assert refusal.value.code == "APPROVAL"
    return refusal.value


def test_a_plan_is_refused_until_it_is_approved_and_again_when_the_approval_ends(approvals, clock):
    policy, plan = build_policy(approval={"required": True}), build_plan()
    assert f"fedcore client approve {plan.sha256[:12]}" in str(refused(approvals, plan, policy))
    approvals.approve(plan.sha256[:8], valid_days=30)
    check(build_request(plan), policy, approvals=approvals)
    clock.move(days=29, hours=23)
    check(build_request(plan, round=7), policy, approvals=approvals)
    clock.move(hours=1)
    refused(approvals, plan, policy)


def test_an_approval_is_of_one_plan_alone(approvals):
    policy = build_policy(approval={"required": True})
    approvals.approve(build_plan().sha256, valid_days=30)
    refused(approvals, build_plan(privacy={"noise-multiplier": 3.9}), policy)


def test_no_other_refusal_is_remembered(approvals):
    policy = build_policy(approval={"required": True})
    with pytest.raises(RefusedError):
        check(build_request(build_plan(task={"name": "diabetes"})), policy, approvals=approvals)
    assert approvals.pending() == ()


def test_a_plan_that_waits_says_what_it_asks_for(approvals):
    policy = build_policy(approval={"required": True})
    refused(approvals, build_plan(audit={"sensitive": ["stroke"]}), policy)
    (waiting,) = approvals.pending()
    epsilon = epsilon_of(PrivacyEvent(sampling_rate=0.5, noise_multiplier=4.0, steps=20), 1e-5)
    assert waiting.summary == (
        "run 'first-run': task digits on data set wards, 10 rounds",
        "training: SGD, learning rate 0.1",
        "algorithm 'fedavg'",
        f"privacy: ε is at most {rounded_up(epsilon)} at δ = 1e-05 over all rounds, for each record (zero-out); "
        "repeated rounds are added, up to your limits",
        "leaves in each round: an update, for a request of 0.02 MB",
        "leaves in each round: the number of training rows",
        "leaves when evaluated, without noise: sums over the held-out rows of loss, accuracy",
        "leaves when evaluated, without noise: counts by stroke",
    )


def test_the_code_that_a_plan_is_for_is_shown(approvals):
    policy = build_policy(approval={"required": True})
    plan = build_plan().updated(task={"code": {"fedcore": "0.1", "my_task": "9f3c" * 16}})
    refused(approvals, plan, policy)
    (waiting,) = approvals.pending()
    assert {"code: 'fedcore' '0.1'", "code: 'my_task' '9f3c9f3c9f3c'"} <= set(waiting.summary)


def test_a_plan_without_privacy_says_so(approvals):
    policy = build_open_policy(approval={"required": True})
    refused(approvals, build_bare_plan(), policy)
    (waiting,) = approvals.pending()
    assert "privacy: NONE; updates leave without protection" in waiting.summary
    assert "leaves in each round: sums over the training rows of loss" in waiting.summary


def test_pending_plans_are_kept_once_in_order_and_not_when_approved(approvals, clock):
    for digest in (FIRST, THIRD, FIRST):
        approvals.remember(digest, ["a plan"])
        clock.move(hours=1)
    assert [one.plan_sha256 for one in approvals.pending()] == [FIRST, THIRD]
    approvals.approve(FIRST, valid_days=1)
    assert [one.plan_sha256 for one in approvals.pending()] == [THIRD]


def test_only_the_newest_hundred_plans_wait(approvals):
    for number in range(105):
        approvals.remember(f"{number:064x}", [])
    assert [one.plan_sha256 for one in approvals.pending()] == [f"{number:064x}" for number in range(5, 105)]


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("aaaaaaa", "expected 8 to 64 characters 0-9a-f"),
        ("gggggggg", "expected 8 to 64 characters 0-9a-f"),
        ("../../../x", "expected 8 to 64 characters 0-9a-f"),
        ("aaaaaaaaa", "2 plans known here"),
        ("dddddddd", "no plan known here"),
    ],
)
def test_a_reference_that_fits_no_plan_or_several_is_refused(approvals, reference, message):
    for digest in (FIRST, SECOND, THIRD):
        approvals.remember(digest, [])
    with pytest.raises(PlanError, match=message):
        approvals.approve(reference, valid_days=1)


def test_a_prefix_that_is_unique_is_enough_and_case_does_not_matter(approvals):
    for digest in (FIRST, SECOND):
        approvals.remember(digest, [])
    assert approvals.approve("AAAAAAAAAB", valid_days=1).plan_sha256 == SECOND


def test_a_whole_hash_may_be_approved_before_it_is_asked_for(approvals):
    assert approvals.approve(THIRD, valid_days=1).plan_sha256 == THIRD
    assert approvals.is_approved(THIRD)


def test_a_revoked_plan_is_approved_no_longer(approvals):
    for digest in (FIRST, THIRD):
        approvals.approve(digest, valid_days=1)
    assert approvals.revoke("cccccccc") == THIRD
    assert approvals.is_approved(FIRST)
    assert not approvals.is_approved(THIRD)
    with pytest.raises(PlanError, match="no plan known here"):
        approvals.revoke("cccccccc")


def test_approving_again_sets_a_new_end(approvals, clock):
    approvals.approve(FIRST, valid_days=1)
    clock.move(hours=20)
    approvals.approve(FIRST[:8], valid_days=1)
    clock.move(hours=20)
    assert approvals.is_approved(FIRST)


@pytest.mark.parametrize(
    "content", ["{", "[]", "null", '{"a": 1}', '{"a": {"approved": "2026-01-01", "expires": "2099-01-01"}}', "\xff"]
)
def test_a_damaged_file_approves_nothing(approvals, tmp_path, content):
    (tmp_path / "approvals.json").write_bytes(content.encode("latin-1"))
    with pytest.raises(StorageError, match="approve the plans again"):
        approvals.is_approved("a")


def test_requests_are_counted_by_the_day_and_over_restarts(tmp_path, clock):
    requests = DailyRequests(tmp_path / "requests.json", clock)
    assert requests.today == 0
    requests.note()
    requests.note()
    assert DailyRequests(tmp_path / "requests.json", clock).today == 2
    clock.move(days=1)
    assert requests.today == 0
    requests.note()
    assert requests.today == 1


def test_a_damaged_count_is_an_error(tmp_path, clock):
    (tmp_path / "requests.json").write_text("{}")
    with pytest.raises(StorageError, match="remove it"):
        DailyRequests(tmp_path / "requests.json", clock).note()


SCHEMA = {
    "public": True,
    "label": {"column": "ill", "classes": ["no", "yes"]},
    "columns": [{"name": "age", "kind": "numeric", "range": [0, 120], "scale": "linear"}],
}


def table_policy(**tasks):
    return build_policy(
        tasks={"allowed": ["digits", "tabular"], "options": {"tabular": ["schema"]}, **tasks},
        data={"allowed": {"wards": ["digits", "tabular"]}},
    )


def table_plan(schema):
    return build_plan(task={"name": "tabular", "options": {"schema": schema}})


def test_a_schema_that_the_owner_has_not_read_waits_and_is_shown(approvals):
    refused(approvals, table_plan(SCHEMA), table_policy())
    (waiting,) = approvals.pending()
    assert "'ill' with classes ['no', 'yes']" in "\n".join(waiting.summary)
    assert "table: columns 'age' numeric [0, 120]" in waiting.summary


def test_a_schema_that_the_policy_lists_needs_no_approval(approvals):
    policy = table_policy(schemas=[digest_of(SCHEMA)])
    check(build_request(table_plan(SCHEMA)), policy, approvals=approvals)
    other = {**SCHEMA, "label": {"column": "ill", "classes": ["no", "maybe"]}}
    refused(approvals, table_plan(other), policy)


@pytest.mark.parametrize(
    "content",
    [
        {"columns": [1]},
        {"columns": 7},
        {"label": 3, "columns": []},
        {"columns": {"age": {"kind": "numeric", "range": [0, 1]}}},
        7,
    ],
)
def test_a_schema_that_nobody_could_be_shown_is_refused(approvals, content):
    with pytest.raises(RefusedError) as refusal:
        check(build_request(table_plan(content)), table_policy(), approvals=approvals)
    assert refusal.value.code == "TASK"
    assert approvals.pending() == ()


def test_a_schema_by_its_path_is_refused_since_reading_it_would_open_a_file(approvals):
    with pytest.raises(RefusedError) as refusal:
        check(build_request(table_plan("/etc/passwd")), table_policy(), approvals=approvals)
    assert refusal.value.code == "TASK"
