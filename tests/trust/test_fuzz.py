"""Whatever comes from outside, reading it raises `TrustError` and nothing else."""

import contextlib
import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fedcore.errors import TrustError
from fedcore.trust.invitation import Invitation, JoinResponse
from fedcore.trust.roster import Roster
from tests.trust.builders import (
    build_invitation,
    build_member,
    build_response,
    build_roster,
    coordinator,
    sign_as_roster,
)

ROSTER = build_roster(build_member("a"), build_member("b")).signed(coordinator())
READERS = {
    "roster": (lambda text: Roster.read(text, coordinator().public.key), ROSTER),
    "invitation": (Invitation.from_json, build_invitation().to_json()),
    "response": (JoinResponse.from_json, build_response().to_json()),
}
kinds = pytest.mark.parametrize("kind", READERS)
fuzzed = settings(
    max_examples=200, deadline=None, derandomize=True, database=None, suppress_health_check=[HealthCheck.too_slow]
)
scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=40)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=20), inner, max_size=4)
)


def read(kind, text):
    with contextlib.suppress(TrustError):
        READERS[kind][0](text)


def paths_in(content, path=()):
    """The way to every value of a document."""
    yield path
    if isinstance(content, dict | list):
        for key, inner in content.items() if isinstance(content, dict) else enumerate(content):
            yield from paths_in(inner, (*path, key))


def replaced(content, path, value):
    if not path:
        return value
    copy = content.copy()
    copy[path[0]] = replaced(content[path[0]], path[1:], value)
    return copy


@kinds
@fuzzed
@given(st.binary(max_size=400) | st.text(max_size=400))
def test_random_content(kind, text):
    read(kind, text)


@kinds
@fuzzed
@given(values)
def test_random_json(kind, value):
    read(kind, json.dumps(value))


@kinds
@fuzzed
@given(st.data())
def test_a_value_replaced_by_any_other(kind, data):
    content = json.loads(READERS[kind][1])
    path = data.draw(st.sampled_from(sorted(paths_in(content), key=str)))
    read(kind, json.dumps(replaced(content, path, data.draw(values))))


@kinds
@fuzzed
@given(st.data())
def test_bytes_changed_dropped_and_inserted(kind, data):
    text = READERS[kind][1].encode()
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, min(len(text), start + 20)))
    read(kind, text[:start] + data.draw(st.binary(max_size=20)) + text[end:])


@fuzzed
@given(st.data())
def test_any_content_under_the_coordinator_s_own_signature(data):
    content = json.loads(ROSTER)
    del content["signature"]
    path = data.draw(st.sampled_from(sorted(path for path in paths_in(content) if path)))
    with contextlib.suppress(ValueError):  # what has no canonical spelling, such as NaN, cannot be signed at all
        read("roster", sign_as_roster(replaced(content, path, data.draw(values)), coordinator()))
