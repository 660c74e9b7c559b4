"""Whatever a server asks: the gate lets it pass within the policy, or refuses it with a known code."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from fedcore.errors import PlanError, RefusedError
from fedcore.plan import RunPlan
from fedcore.privacy.accounting import epsilon_of
from fedcore.privacy.plan import PrivacyPlan
from fedcore_clients.policy.request_facts import RequestFacts
from fedcore_clients.policy.settings import Policy
from tests.clients.policy.builders import build_plan, build_policy, build_request, check

CODES = {
    *("KIND", "ROSTER", "COHORT", "TASK", "DATA", "ROUNDS", "RANGE", "ALGORITHM"),
    *("LAYOUT", "SIZE", "PRIVACY", "METRICS", "LIMIT", "APPROVAL"),
}

numbers = st.one_of(st.integers(-1, 2000), st.floats(allow_nan=True, width=64), st.floats(0.001, 20))
names = st.one_of(st.sampled_from(["digits", "wards", "", "SGD", "a*b"]), st.text(max_size=8))


def section(**keys: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional={name.replace("_", "-"): values for name, values in keys.items()})


changes = st.fixed_dictionaries(
    {},
    optional={
        "task": section(name=names, data=names, options=st.dictionaries(names, names, max_size=1)),
        "federation": section(rounds=st.integers(-1, 600), held_out=numbers),
        "aggregation": section(encode=st.lists(names, max_size=1)),
        "algorithm": section(name=names),
        "training": section(learning_rate=numbers, batch_size=st.integers(-1, 9999), local_epochs=st.integers(-1, 30)),
        "audit": section(sensitive=st.lists(names, max_size=2)),
        "privacy": section(
            unit=st.sampled_from(["none", "record"]),
            noise_multiplier=numbers,
            nominal_batch=numbers,
            delta=numbers,
            clip_norm=numbers,
            sampling_rate=numbers,
            steps_per_round=st.integers(-1, 2000),
            noise=st.sampled_from(["secure", "test"]),
        ),
    },
)
requests = st.fixed_dictionaries(
    {},
    optional={
        "round": st.integers(-2, 700),
        "attempt": st.integers(-2, 9),
        "kind": st.sampled_from(["train", "evaluate", "other"]),
        "cohort": st.lists(st.sampled_from(["north", "south", "west", "sybil"]), max_size=4).map(tuple),
        "roster_version": st.integers(2, 4),
        "model_dtype": st.sampled_from(["float32", "float64", "int8"]),
        "array_bytes": st.integers(-8, 10**10),
    },
)


def code_of(request: RequestFacts, policy: Policy) -> str | None:
    try:
        check(request, policy)
    except RefusedError as refused:
        return refused.code
    return None


@given(plan=changes, asked=requests)
@settings(max_examples=400, deadline=None)
def test_a_random_request_passes_or_is_refused_with_a_known_code(plan, asked):
    policy = build_policy()
    try:
        parsed = build_plan(**plan)
    except PlanError:
        return
    before = json.dumps(parsed.to_mapping())
    assert code_of(build_request(parsed, **asked), policy) in {None, *CODES}
    assert json.dumps(parsed.to_mapping()) == before


@given(
    noise=st.floats(0.01, 50.0),
    rate=st.floats(0.001, 1.0),
    steps=st.integers(1, 1000),
    rounds=st.integers(1, 500),
    delta=st.sampled_from([1e-4, 1e-5, 1e-8]),
)
@settings(max_examples=60, deadline=None)
def test_what_passes_is_within_the_policys_epsilon(noise, rate, steps, rounds, delta):
    policy = build_policy()
    privacy = {"unit": "record", "noise-multiplier": noise, "sampling-rate": rate, "nominal-batch": 9.0}
    plan = RunPlan.from_mapping(
        {
            "task": {"name": "digits", "data": "wards"},
            "federation": {"rounds": rounds},
            "privacy": privacy | {"steps-per-round": steps, "delta": delta},
        }
    )
    promise = PrivacyPlan.from_run_plan(plan)
    within = (
        noise >= policy.privacy.min_noise_multiplier
        and delta <= policy.privacy.max_delta
        and epsilon_of(promise.total_event, delta) <= policy.privacy.max_epsilon
    )
    assert code_of(build_request(plan), policy) == (None if within else "PRIVACY")
