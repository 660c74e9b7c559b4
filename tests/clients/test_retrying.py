"""What is tried again, and that whoever waits hears of it."""

import httpx
import pytest

from fedcore.wire.objects.retrying import bounded_retry


def answers(*statuses):
    left = list(statuses)

    def call():
        response = httpx.Response(left.pop(0), request=httpx.Request("POST", "https://localhost"))
        response.raise_for_status()
        return len(left)

    return call


def test_whoever_waits_hears_of_a_server_that_does_not_answer_once():
    told = []
    retry = bounded_retry(5.0, on_first=lambda: told.append("waiting"))
    assert retry.invoke(answers(503, 503, 502, 200)) == 0
    assert told == ["waiting"]
    assert retry.invoke(answers(200)) == 0
    assert told == ["waiting"]


@pytest.mark.parametrize("status", [401, 412])
def test_a_server_that_has_just_started_may_not_know_its_roster_yet(status):
    with pytest.raises(httpx.HTTPStatusError, match=str(status)):
        bounded_retry(5.0).invoke(answers(status, 200))
    assert bounded_retry(5.0, passing=frozenset({401, 412})).invoke(answers(status, 200)) == 0
