"""Every row of the client's bad-input matrix (N1 to N12) that is the policy's, and every code with its message.

N1, N2 and N8's message types are the envelope's; N6's layout is the model's; N7 and N12 have nothing to override.
"""

from __future__ import annotations

import copy
import os

import pytest

from fedcore.errors import RefusedError
from fedcore_clients.policy.settings import Policy
from tests.clients.policy.builders import (
    build_bare_plan,
    build_open_policy,
    build_plan,
    build_policy,
    build_request,
    check,
)


def refusal_of(request, policy=None, **rest) -> RefusedError:
    with pytest.raises(RefusedError) as refused:
        check(request, policy, **rest)
    return refused.value


def expect(code, message, request, policy=None, **rest):
    refused = refusal_of(request, policy, **rest)
    assert refused.code == code
    assert message in str(refused)


def test_a_request_within_the_policy_passes():
    check(build_request())
    check(build_request(attempt=2, incarnation=4))
    check(build_request(kind="evaluate", round=10, incarnation=4))


def test_a_model_is_evaluated_once_and_a_chosen_one_once_more_at_the_end():
    chosen = {"audit": {"sensitive": ["stroke"], "limits": [{"metric": "accuracy", "at-most": 0.5}]}}
    chosen["audit"]["checkpoint"] = "within-limits"
    last = build_plan(**chosen).federation.rounds

    expect("ROUNDS", "evaluates each model once", build_request(kind="evaluate", round=10, attempt=1))
    check(build_request(build_plan(**chosen), kind="evaluate", round=last, attempt=1))
    for place in ({"round": last - 1, "attempt": 1}, {"round": last, "attempt": 2}):
        expect("ROUNDS", "evaluates each model once", build_request(build_plan(**chosen), kind="evaluate", **place))


def test_under_the_default_policy_every_task_is_refused():
    assert refusal_of(build_request(), Policy()).code == "TASK"


def test_n3_a_cohort_of_one_is_refused():
    expect("COHORT", "cohort.minimum is 2, and the cohort has 1", build_request(cohort=("north",)))


def test_n3_a_cohort_with_strangers_is_refused():
    expect("COHORT", "1 of the cohort are not on the roster", build_request(cohort=("north", "south", "sybil")))


@pytest.mark.parametrize("cohort", [("south", "west"), ()])
def test_n3_a_cohort_without_this_client_is_refused(cohort):
    expect("COHORT", "does not name this client, 'north'", build_request(cohort=cohort))


def test_n3_a_client_named_twice_does_not_fill_a_cohort():
    expect("COHORT", "more than once", build_request(cohort=("north", "north")))


@pytest.mark.parametrize("version", [2, 4])
def test_n3_a_roster_of_another_version_is_refused(version):
    expect("ROSTER", f"uses roster {version}, and the newest seen here is 3", build_request(roster_version=version))


def test_n4_a_plan_without_privacy_is_refused():
    expect("PRIVACY", "privacy.required is true", build_request(build_bare_plan()))


@pytest.mark.parametrize(
    ("privacy", "message"),
    [
        ({"noise-multiplier": 0.0}, "min-noise-multiplier is 0.5, found 0.0"),
        ({"noise-multiplier": 0.49}, "min-noise-multiplier is 0.5, found 0.49"),
        ({"clip-norm": 11.0}, "max-clip-norm is 10.0, found 11.0"),
        ({"clip-norm": 1e-7}, "min-clip-norm is 1e-06, found 1e-07"),
        ({"delta": 1e-3}, "max-delta is 1e-05, found 0.001"),
        ({"noise": "test"}, "which the server knows"),
        ({"noise-multiplier": 0.6}, "privacy.max-epsilon is 10"),
        ({"steps-per-round": 1000}, "privacy.max-epsilon is 10"),
        ({"delta": 1e-300}, "privacy.max-epsilon is 10, and the run's ε at δ = 1e-300 is more than can be bounded"),
        ({"noise-multiplier": 1e300}, "more than can be bounded"),
        ({"epsilon": 1.0}, "not resolved"),
    ],
)
def test_n4_privacy_below_the_floor_is_refused(privacy, message):
    expect("PRIVACY", message, build_request(build_plan(privacy=privacy)))


def test_n4_evaluation_without_the_noise_that_the_owner_wants_is_refused():
    policy = build_policy(privacy={"min-evaluation-noise-multiplier": 3.0})
    expect("PRIVACY", "found an exact evaluation", build_request(kind="evaluate"), policy)
    little = build_request(build_plan(privacy={"evaluation-noise-multiplier": 2.0}), kind="evaluate")
    expect("PRIVACY", "min-evaluation-noise-multiplier is 3, found 2", little, policy)
    check(build_request(build_plan(privacy={"evaluation-noise-multiplier": 3.0}), kind="evaluate"), policy)


def test_n4_evaluations_that_spend_more_than_a_run_may_are_refused():
    request = build_request(build_plan(privacy={"evaluation-noise-multiplier": 0.3}), kind="evaluate")
    expect("PRIVACY", "max-epsilon", request)


def test_the_model_before_training_may_be_evaluated_and_not_trained_as_round_nothing():
    check(build_request(kind="evaluate", round=0))
    expect("ROUNDS", "round 0", build_request(round=0))


def test_n4_a_plan_without_a_divisor_is_refused():
    plan = build_plan().model_copy(update={"privacy": build_plan().privacy.model_copy(update={"nominal_batch": None})})
    expect("PRIVACY", "not resolved", build_request(plan))


def test_n4_a_higher_sampling_rate_than_allowed_is_refused():
    policy = build_policy(privacy={"max-sampling-rate": 0.1})
    expect("PRIVACY", "max-sampling-rate is 0.1, found 0.5", build_request(), policy)


def test_n4_a_unit_relation_or_isolation_that_is_not_listed_is_refused():
    expect(
        "PRIVACY",
        "relations does not list 'zero-out'",
        build_request(),
        build_policy(privacy={"relations": ["add-remove"]}),
    )
    isolating = build_policy(privacy={"isolation": ["isolated"]})
    expect("PRIVACY", "isolation does not list 'auto'", build_request(), isolating)
    open_policy = build_open_policy(privacy={"units": []})
    expect("PRIVACY", "units does not list 'record'", build_request(), open_policy)


def test_n4_the_floor_holds_for_private_plans_also_where_privacy_is_not_required():
    plan = build_plan(privacy={"noise-multiplier": 0.1})
    expect("PRIVACY", "min-noise-multiplier", build_request(plan), build_open_policy())


def test_privacy_may_be_left_out_where_the_policy_says_so():
    check(build_request(build_bare_plan()), build_open_policy())
    policy = build_open_policy(privacy={"allow-test-noise": True})
    check(build_request(build_plan(privacy={"noise": "test"})), policy)


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"training": {"local-epochs": 21}}, "training.local-epochs allows 1 to 20, and the plan has 21"),
        ({"training": {"batch-size": 1}}, "training.batch-size allows 8 to 4096, and the plan has 1"),
        ({"training": {"learning-rate": 1e9}}, "training.learning-rate allows 1e-06 to 10.0"),
        ({"privacy": {"learning-rate": 1e9}}, "training.learning-rate allows 1e-06 to 10.0"),
        ({"privacy": {"steps-per-round": 1001}}, "training.steps-per-round allows 1 to 1000"),
        ({"training": {"max-physical-batch": 10**9}}, "training.max-physical-batch allows 1 to 4096"),
        ({"federation": {"held-out": 0.2001}}, "training.held-out allows 0.2 to 0.2, and the plan has 0.2001"),
        ({"training": {"optimizer": "Rprop"}}, "training.optimizers does not list 'Rprop'"),
        ({"training": {"optimizer-options": {"maximize": True}}}, "optimizer-options does not list 'maximize'"),
    ],
)
def test_n5_training_outside_the_ranges_is_refused(sections, message):
    expect("RANGE", message, build_request(build_plan(**sections)))


def test_n5_both_ends_of_a_range_are_allowed():
    policy = build_policy(training={"local-epochs": [1, 1], "steps-per-round": [2, 2], "rounds": [10, 10]})
    check(build_request(), policy)


@pytest.mark.parametrize(
    ("rounds", "changes", "message"),
    [
        (501, {}, "training.rounds allows 1 to 500 rounds, and the plan has 501"),
        (10, {"round": 11}, "the plan has 10 rounds, and the request is for round 11"),
        (10, {"round": 0}, "the request is for round 0"),
        (10, {"attempt": -1}, "an attempt of 0 or more"),
        (10, {"incarnation": 0}, "an incarnation of 1 or more"),
    ],
)
def test_n5_more_rounds_than_planned_or_allowed_are_refused(rounds, changes, message):
    expect("ROUNDS", message, build_request(build_plan(federation={"rounds": rounds}), **changes))


def test_n5_weighing_rows_is_refused_unless_it_is_listed():
    sections = {"audit": {"sensitive": ["stroke"]}, "algorithm": {"name": "reweighing"}}
    request = build_request(build_plan(**sections))
    expect("ALGORITHM", "training.algorithms does not list 'reweighing'", request)
    check(request, build_policy(training={"algorithms": ["reweighing"]}))
    check(build_request(build_plan(algorithm={"name": "agnostic"})))


@pytest.mark.parametrize(
    ("section", "key"),
    [
        ({"algorithm": {"name": "their_module:Leak"}}, "algorithms"),
        ({"aggregation": {"encode": ["their_module:Leak"]}}, "encodings"),
        ({"aggregation": {"encode": [{"name": "their_module:Leak", "width": 3}]}}, "encodings"),
    ],
)
def test_n5_algorithms_and_encodings_that_are_not_listed_are_refused(section, key):
    plan = build_plan(**section)
    expect("ALGORITHM", f"training.{key} does not list 'their_module:Leak'", build_request(plan))
    check(build_request(plan), build_policy(training={key: ["their_module:Leak"]}))


def test_a_rule_and_a_server_optimizer_run_at_the_server_and_are_no_business_of_the_clients():
    check(build_request(build_plan(aggregation={"rule": "their_module:Rule"})))
    check(build_request(build_plan(federation={"server-optimizer": "their_module:Optimizer"})))


def test_n8_a_request_of_an_unknown_kind_is_refused():
    expect("KIND", "expected a request to train or evaluate, found 'query'", build_request(kind="query"))


@pytest.mark.parametrize("name", ["diabetes", "os:system", "Digits", "digits ", ""])
def test_n9_a_task_that_is_not_listed_is_refused(name):
    expect("TASK", "is not in tasks.allowed: digits", build_request(build_plan(task={"name": name})))


def test_n9_options_of_a_task_that_are_not_listed_are_refused():
    plan = build_plan(task={"options": {"width": 3}})
    expect("TASK", "the plan sets task.options.'width'", build_request(plan))
    check(build_request(plan), build_policy(tasks={"options": {"digits": ["width"]}}))


@pytest.mark.parametrize("name", ["/etc/passwd", "../wards", "Wards", "registry"])
def test_n9_a_data_set_that_is_not_listed_is_refused(name):
    expect("DATA", "data.allowed: digits, wards, archive", build_request(build_plan(task={"data": name})))


def test_n9_a_data_set_that_is_not_granted_to_the_task_is_refused():
    expect("DATA", "does not grant 'archive' to task 'digits'", build_request(build_plan(task={"data": "archive"})))


def test_n9_a_plan_that_names_no_data_set_uses_the_one_called_like_its_task():
    plan = build_bare_plan(task={"data": None}, privacy=dict(build_plan().to_mapping()["privacy"]))
    assert build_request(plan).data_set == "digits"
    check(build_request(plan))
    policy = Policy.from_mapping({"tasks": {"allowed": ["digits"]}, "data": {"allowed": {"wards": ["digits"]}}})
    assert refusal_of(build_request(plan), policy).code == "DATA"


def test_n10_nothing_is_evaluated_without_a_metric_that_may_leave():
    policy = build_policy(release={"evaluation": []})
    expect("METRICS", "release.evaluation lists no metric", build_request(kind="evaluate"), policy)
    check(build_request(kind="train"), policy)


@pytest.mark.parametrize(
    ("audit", "message"),
    [
        ({"sensitive": ["sex"]}, "release.group-tables does not list 'sex'"),
        ({"sensitive": ["stroke*sex"]}, "release.group-tables does not list 'stroke*sex'"),
        ({"sensitive": ["stroke"], "score-bins": 128}, "release.max-score-bins is 64, and the plan asks for 128"),
        (
            {"sensitive": ["stroke"], "vocabularies": {"stroke": [str(number) for number in range(5000)]}},
            "has 5000 groups; at most 4096 are counted",
        ),
    ],
)
def test_n10_group_tables_that_are_not_listed_or_too_fine_are_refused(audit, message):
    expect("METRICS", message, build_request(build_plan(audit=audit)))


def test_n10_group_tables_that_are_listed_may_be_asked_for():
    check(build_request(build_plan(audit={"sensitive": ["stroke"], "vocabularies": {"stroke": ["light", "unknown"]}})))


@pytest.mark.parametrize(
    ("changes", "code", "message"),
    [
        ({"array_bytes": 5 * 10**9}, "SIZE", "limits.model-megabytes is 2048, and the request has 5000.0 megabytes"),
        ({"array_bytes": 0}, "SIZE", "not a whole number of float32"),
        ({"array_bytes": -4}, "SIZE", "not a whole number of float32"),
        ({"array_bytes": 4001}, "SIZE", "not a whole number of float32"),
        ({"model_dtype": "float64"}, "LAYOUT", "the plan's model is float32"),
        ({"model_dtype": "object"}, "LAYOUT", "the plan's model is float32"),
    ],
)
def test_n11_a_model_is_refused_by_its_declared_size_and_type(changes, code, message):
    expect(code, message, build_request(**changes))


def test_requests_beyond_the_daily_limit_are_refused():
    policy = build_policy(limits={"requests-per-day": 5})
    check(build_request(), policy, today=4)
    expect("LIMIT", "limits.requests-per-day is 5", build_request(), policy, today=5)


def test_by_default_the_daily_limit_follows_the_plan():
    policy = build_policy(training={"rounds": [1, 10**6]}, privacy={"required": False})
    expect("LIMIT", "requests-per-day is 2000", build_request(), policy, today=2000)
    long = build_request(build_plan(federation={"rounds": 1500, "evaluate-every": 1}, privacy={"unit": "none"}))
    check(long, policy, today=5999)
    expect("LIMIT", "requests-per-day is 6000", long, policy, today=6000)
    seldom = build_request(build_plan(federation={"rounds": 1500, "evaluate-every": 500}, privacy={"unit": "none"}))
    expect("LIMIT", "requests-per-day is 3006", seldom, policy, today=3006)


def test_text_from_outside_is_escaped_and_cut_in_messages():
    name = "a\n\x1b[31m" + "b" * 10**6
    message = str(refusal_of(build_request(build_plan(task={"name": name}))))
    assert len(message) < 200
    assert "\n" not in message
    assert "\x1b" not in message


def test_the_environment_and_paths_do_not_show_in_a_message():
    message = str(refusal_of(build_request(build_plan(task={"data": "registry"}))))
    assert os.sep not in message


def test_the_gate_changes_neither_request_nor_policy():
    request, policy = build_request(), build_policy()
    before = copy.deepcopy((request.plan.to_mapping(), request.cohort, policy.to_mapping()))
    check(request, policy)
    refusal_of(build_request(plan=request.plan, cohort=("north",)), policy)
    assert (request.plan.to_mapping(), request.cohort, policy.to_mapping()) == before
