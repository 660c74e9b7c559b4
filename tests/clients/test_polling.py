"""An idle client costs the server little, one in a run waits for nothing, and many ask no more than some."""

import pytest

from fedcore_clients.agent.polling import Polling, spread


class Time:
    now = 1000.0

    def __call__(self):
        return self.now


def polling_of(members=2, clock=None):
    return Polling(lambda: members, clock=clock or Time(), jitter=lambda low, high: 1.0)


def waited(polling, answers, seconds=0.001):
    return [polling.pause(seconds) for _ in range(answers)]


def test_an_idle_client_asks_every_three_seconds():
    assert waited(polling_of(), 9) == [0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.0, 3.0, 3.0]


def test_after_a_request_it_asks_at_once_and_every_second_for_two_minutes():
    clock = Time()
    polling = polling_of(clock=clock)
    waited(polling, 9)
    polling.found()
    assert waited(polling, 7) == [0.05, 0.1, 0.2, 0.4, 0.8, 1.0, 1.0]
    clock.now += 121
    assert waited(polling, 2) == [3.0, 3.0]


@pytest.mark.parametrize("members", [20, 64, 500])
def test_however_many_clients_wait_in_a_run_they_ask_twenty_times_a_second_together(members):
    polling = polling_of(members)
    polling.found()
    assert members / waited(polling, 12)[-1] == pytest.approx(20.0)
    assert waited(polling_of(members), 12)[-1] == max(3.0, members / 20)


@pytest.mark.parametrize(("answer", "pause"), [(0.2, 0.1), (0.25, 0.5), (0.4, 2.0), (60.0, 3.0)])
def test_a_slow_server_is_asked_less_and_a_long_line_makes_none_slow(answer, pause):
    polling = polling_of()
    polling.found()
    assert polling.pause(0.2) == 0.05
    assert polling.pause(answer) == pytest.approx(pause)


def test_clients_that_start_together_do_not_ask_together():
    pauses = [Polling(lambda: 1, clock=Time()).pause(0.001) for _ in range(200)]
    assert 0.0375 <= min(pauses) < 0.04
    assert 0.06 < max(pauses) <= 0.0625
    assert {0.5 <= spread(1.0) <= 1.5 for _ in range(100)} == {True}
