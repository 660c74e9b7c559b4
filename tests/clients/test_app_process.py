"""The child that holds the data: whatever becomes of it, its parent goes on, and tells a code."""

import os
import signal
import time

import pytest
from flwr.app import RecordDict

from fedcore.errors import RefusedError
from fedcore.messages import TrainRequest
from fedcore.parameters import Parameters
from fedcore.task_code import code_here
from fedcore.wire.requests import pack_request
from fedcore_clients.agent.worker import AppProcess, AppSettings
from fedcore_server.rounds.rounds import init_state
from tests.builders import TinyTask, build_layout, build_parameters, build_plan

pytestmark = pytest.mark.xdist_group("child")  # one for all of them: it takes seconds to start

MOODS = ("well", "hangs", "dies", "raises", "device")
WARM_SECONDS = 60.0


def plan_of(mood):
    return build_plan(task={"name": "tests.clients.moods:Moody", "data": mood})


def model() -> Parameters:
    return init_state(TinyTask(), plan_of("well")).parameters


def request_for(mood, parameters=None, code=None) -> RecordDict:
    asked = TrainRequest(round=1, attempt=0, cohort=("north",), parameters=parameters or model())
    return pack_request(asked, plan_of(mood).updated(task={"code": code}))


class Child:
    """A child process, and the files of its client."""

    def __init__(self, folder):
        self.folder = folder
        (folder / "spool").mkdir()
        for mood in MOODS:
            (folder / f"{mood}.data").write_text(mood)
        self.app = AppProcess(
            AppSettings(
                client="north",
                data={mood: folder / f"{mood}.data" for mood in MOODS},
                device="cpu",
                allow_test_noise=False,
                min_examples=20,
                spool=folder / "spool",
            )
        )

    def opened(self, mood):
        return (self.folder / f"{mood}.opened").exists()

    def ask(self, mood, kind="train", *, parameters=None, seconds=WARM_SECONDS, named=None):
        content = request_for(mood, parameters, named)
        array = self.folder / "spool" / "request.bin"
        array.unlink(missing_ok=True)
        array.write_bytes(content["arrays"]["parameters"].data)
        return self.app.ask(kind, content, array, memory=None, limit_seconds=seconds)

    def refuses(self, code, *arguments, **options):
        with pytest.raises(RefusedError) as caught:
            self.ask(*arguments, **options)
        assert caught.value.code == code, caught.value
        return str(caught.value)


@pytest.fixture(scope="module")
def child(tmp_path_factory):
    child = Child(tmp_path_factory.mktemp("child"))
    yield child
    child.app.stop()


def assert_serves(child):
    assert set(child.ask("well")) == {"arrays", "fedcore", "metrics"}


def test_f6_a_child_that_is_killed_in_the_midst_of_a_request_is_told_as_crashed_and_started_anew(child):
    child.refuses("CRASHED", "dies")
    assert child.opened("dies")
    assert_serves(child)


def test_f6_a_child_that_is_killed_between_two_requests_is_started_anew(child):
    assert_serves(child)
    os.kill(child.app.pid, signal.SIGKILL)
    child.app._process.join(10)  # all of its threads
    assert_serves(child)


def test_f7_a_child_that_never_answers_is_ended_at_its_limit(child):
    assert_serves(child)
    started, hanging = time.monotonic(), child.app.pid
    child.refuses("TIME_LIMIT", "hangs", seconds=1.0)
    assert time.monotonic() - started < 10
    with pytest.raises(ProcessLookupError):
        os.kill(hanging, 0)
    assert_serves(child)


def test_f7_a_child_that_is_stopped_is_ended_at_its_limit(child):
    assert_serves(child)
    os.kill(child.app.pid, signal.SIGSTOP)
    child.refuses("TIME_LIMIT", "well", seconds=1.0)
    assert_serves(child)


def test_after_an_error_of_a_device_the_child_is_started_anew(child):
    assert_serves(child)
    broken = child.app.pid
    assert "4711" not in child.refuses("DEVICE", "device")
    assert_serves(child)
    assert child.app.pid != broken


@pytest.mark.parametrize("kind", ["layout.train", "train"])
def test_a_task_whose_code_is_not_the_plans_is_refused_in_every_round_before_data_is_opened(child, kind):
    child.ask("well", "layout.train", named=code_here(plan_of("well")))
    (child.folder / "well.opened").unlink(missing_ok=True)
    told = child.refuses("CODE", "well", kind, named={"tests": "0" * 64})
    assert "the plan is for tests 000000000000, and here is " in told
    assert not child.opened("well")


def test_what_the_data_raises_is_the_datas_fault_and_not_even_the_owner_sees_a_row(child):
    """Such as a label that the task's own table of labels lacks."""
    why = child.refuses("DATA", "raises")
    assert "KeyError" in why
    assert "4711" not in why


@pytest.mark.parametrize("kind", ["layout.train", "train", "evaluate"])
def test_a_model_of_another_layout_is_refused_before_the_data_is_opened(child, kind):
    (child.folder / "raises.opened").unlink(missing_ok=True)
    for size in (1, model().layout.size + 1):
        wrong = Parameters(build_parameters(*[0.0] * size).buffer, build_layout(size))
        child.refuses("LAYOUT", "raises", kind, parameters=wrong)
    assert not child.opened("raises")


def test_a_model_that_fits_is_told_so_without_opening_the_data(child):
    (child.folder / "hangs.opened").unlink(missing_ok=True)
    child.ask("hangs", "layout.train", seconds=30.0)
    assert not child.opened("hangs")


def test_a_child_that_is_stopped_by_its_parent_is_gone(child):
    assert_serves(child)
    pid = child.app.pid
    child.app.stop()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
