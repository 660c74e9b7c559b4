"""The server's half of the fault matrix: killed at any point, on a full disk, with damaged files.

The driver is the real one, in a forked process; its clients answer in the same process. Kills come by `os._exit`
at the calls that move data to disk, so that no production code knows of them.
"""

import contextlib
import errno
import json
import os
import random
import re
import signal

import pytest
import torch

from fedcore.errors import RunDirectoryError
from fedcore.storage.events import read_events, verify_events
from fedcore.storage.files import remove_leftovers, write_whole
from fedcore.wire.envelope import unsealed
from fedcore_server.consortium.members import remove
from fedcore_server.runs.directory import RunDirectory
from fedcore_server.runs.participation import participation
from fedcore_server.runs.store import RunState
from tests.flower.in_memory_grid import InMemoryGrid
from tests.server.served import KILLED, NAMES, Served, assert_committed_once_each, tiny_plan

CALLS = ("fsync", "replace", "link", "truncate")
CALLS_MADE = 86


@pytest.fixture
def served(tmp_path):
    return Served(tmp_path)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """The run without a fault: its released model, and how many of the calls it made."""
    served = Served(tmp_path_factory.mktemp("undisturbed"))
    made = served.path / "calls"
    assert served.drive(Counting(made)) == 0
    assert served.status.state == RunState.FINISHED
    return served.model(), len(made.read_bytes())


def everywhere(action):
    """Have each call that moves data to disk go through `action(call, *arguments)`."""
    for name in CALLS:
        real = getattr(os, name)
        setattr(os, name, lambda *arguments, real=real, **options: action(real, *arguments, **options))


class Counting:
    def __init__(self, path):
        self.path = path

    def __call__(self):
        def action(call, *arguments, **options):
            with self.path.open("ab") as file:
                file.write(b".")
            return call(*arguments, **options)

        everywhere(action)


class KillAt:
    """Ends the process at one of its calls: before it, after it, or with the end of the file torn off."""

    def __init__(self, number, how):
        self.number, self.how, self.made = number, how, 0

    def __call__(self):
        everywhere(self._act)

    def _act(self, call, *arguments, **options):
        self.made += 1
        if self.made != self.number:
            return call(*arguments, **options)
        if self.how == "torn" and call.__name__ == "fsync":
            self._tear(arguments[0])
        elif self.how == "after":
            with contextlib.suppress(OSError):  # one that fails was made, too
                call(*arguments, **options)
        os._exit(KILLED)

    @staticmethod
    def _tear(handle):
        """Half of the last line or, of a file that has none, of the file never came to the disk."""
        path = os.readlink(f"/proc/self/fd/{handle}")
        if os.path.isfile(path):
            with open(path, "r+b") as file:
                content = file.read()
                start = content[:-1].rfind(b"\n") + 1 if path.endswith(".jsonl") else 0
                file.truncate(start + (len(content) - start) // 2)


def assert_as_if_nothing_had_happened(served, undisturbed):
    assert served.status.state == RunState.FINISHED, served.status
    assert served.model() == undisturbed
    assert_committed_once_each(served)
    assert verify_events(served.directory / "events.jsonl") == []
    assert served.leftovers() == []


def points(how, first):
    """All calls; every twelfth by default, another twelfth for each way to die, and the rest by hand."""
    for number in range(1, CALLS_MADE + 1):
        marks = () if number % 12 == first else (pytest.mark.slow,)
        yield pytest.param(number, how, marks=marks, id=f"{how} call {number}")


@pytest.mark.parametrize(("number", "how"), [*points("before", 0), *points("after", 4), *points("torn", 8)])
def test_f1_f2_a_driver_killed_at_any_write_is_resumed_to_the_very_same_model(served, undisturbed, number, how):
    model, _ = undisturbed
    assert served.drive(KillAt(number, how)) == KILLED
    assert served.drive() == 0
    assert_as_if_nothing_had_happened(served, model)


@pytest.mark.parametrize("seed", range(3))
def test_f1_a_driver_killed_again_and_again_still_comes_to_the_same_end(served, undisturbed, seed):
    model, calls = undisturbed
    dice, kills = random.Random(seed), 0
    while served.drive(KillAt(dice.randrange(8, calls // 2), dice.choice(["before", "after", "torn"]))) == KILLED:
        kills += 1
        assert kills < 60, "the run makes no progress"
    assert kills >= 2
    assert_as_if_nothing_had_happened(served, model)
    assert served.status.incarnation >= kills


def test_there_is_no_write_that_it_is_not_killed_at(undisturbed):
    assert undisturbed[1] == CALLS_MADE


class Killing(InMemoryGrid):
    """Ends the driver in the midst of collecting: one update is in, the others are not."""

    def arrivals(self, message_ids, *, timeout_seconds):
        for number, reply in enumerate(super().arrivals(message_ids, timeout_seconds=timeout_seconds)):
            content = unsealed(reply.small) if reply.error is None else {}
            if number == 1 and "arrays" in content and content["fedcore"]["round"] == 2:
                os.kill(os.getpid(), signal.SIGKILL)
            yield reply


def test_f1_a_driver_killed_while_it_collects_asks_the_round_again(served, undisturbed):
    served.make_grid = Killing
    assert served.drive() == -signal.SIGKILL
    assert [line["round"] for line in served.rounds()] == [1]
    served.make_grid = InMemoryGrid
    assert served.drive() == 0
    assert_as_if_nothing_had_happened(served, undisturbed[0])


class Terminating(Killing):
    """As above, politely."""

    def arrivals(self, message_ids, *, timeout_seconds):
        for number, reply in enumerate(InMemoryGrid.arrivals(self, message_ids, timeout_seconds=timeout_seconds)):
            content = unsealed(reply.small) if reply.error is None else {}
            if number == 1 and "arrays" in content and content["fedcore"]["round"] == 2:
                os.kill(os.getpid(), signal.SIGTERM)
            yield reply


def test_f21_a_driver_that_is_terminated_rolls_its_round_back_and_says_so(served, undisturbed):
    served.make_grid = Terminating
    assert served.drive() == 0
    assert served.status.state == RunState.QUEUED  # nobody asked for a stop: the server takes it up again
    assert [line["round"] for line in served.rounds()] == [1]
    served.make_grid = InMemoryGrid
    assert served.drive() == 0
    assert_as_if_nothing_had_happened(served, undisturbed[0])


def test_a_run_whose_driver_died_after_its_last_file_is_finished_and_not_failed(served):
    assert served.drive() == 0
    served.store.change(served.name, state=RunState.QUEUED)  # as a server that was killed would find it
    before = served.model()
    assert served.drive() == 0
    assert served.status.state == RunState.FINISHED
    assert served.model() == before


class Without(InMemoryGrid):
    """Loses what two of the three clients send."""

    def __init__(self, app, consortium):
        super().__init__(app, consortium, tamper=self._lose)

    @staticmethod
    def _lose(name, content):
        return None if name != NAMES[0] and "arrays" in content else content


def test_f12_below_the_quorum_the_run_pauses_with_its_model_unchanged_and_can_be_resumed(tmp_path):
    served = Served(tmp_path, tiny_plan(quorum=2, round_attempts=2))
    served.make_grid = Without
    assert served.drive() == 0
    assert served.status.state == RunState.PAUSED
    assert "the quorum is 2" in served.status.reason
    assert [(line["round"], line["attempt"], line["committed"]) for line in served.rounds()] == [
        (1, 0, False),
        (1, 1, False),
    ]
    assert {each["code"] for line in served.rounds() for each in line["rejected"]} == {"LATE"}
    assert participation((), served.rounds())["clients"]["client-1"]["strikes"] == 0

    served.make_grid = InMemoryGrid
    assert served.drive() == 0
    assert served.status.state == RunState.FINISHED
    assert_committed_once_each(served)


class Nobody(InMemoryGrid):
    """No client is connected."""

    def get_nodes(self):
        return []


def test_f12_without_any_client_no_round_is_committed_and_the_run_pauses(tmp_path):
    served = Served(tmp_path, tiny_plan(quorum=3, round_attempts=2))
    served.make_grid = Nobody
    assert served.drive() == 0
    assert served.status.state == RunState.PAUSED
    assert "round 1 had 0 valid updates" in served.status.reason
    assert [(line["committed"], line["asked"]) for line in served.rounds()] == [(False, []), (False, [])]
    assert {each["client"] for each in served.rounds()[0]["rejected"]} == set(NAMES)
    assert not (served.directory / "model.safetensors").exists()

    served.make_grid = InMemoryGrid
    assert served.drive() == 0
    assert_committed_once_each(served)


class FullFrom:
    """From one flush on the disk is full."""

    def __init__(self, number):
        self.number, self.made = number, 0

    def __call__(self):
        def action(call, *arguments, **options):
            self.made += call.__name__ == "fsync"
            if call.__name__ == "fsync" and self.made >= self.number:
                raise OSError(errno.ENOSPC, "No space left on device")
            return call(*arguments, **options)

        everywhere(action)


@pytest.mark.parametrize("number", [1, 5, 9, 14, 20, 27, 35, 41])
def test_f13_on_a_disk_that_stays_full_the_run_neither_ends_nor_loses_a_round(served, undisturbed, number):
    """The status cannot be written either: the server finds an end that nobody chose, and tries again later."""
    assert served.drive(FullFrom(number)) == 1
    assert not served.status.state.ended
    assert served.drive() == 0
    assert_as_if_nothing_had_happened(served, undisturbed[0])


class FullOnce(FullFrom):
    """One flush fails; a moment later somebody has made room."""

    def __call__(self):
        def action(call, *arguments, **options):
            self.made += call.__name__ == "fsync"
            if call.__name__ == "fsync" and self.made == self.number:
                raise OSError(errno.ENOSPC, "No space left on device")
            return call(*arguments, **options)

        everywhere(action)


@pytest.mark.parametrize("number", [9, 14, 20, 27])
def test_f13_a_disk_that_was_full_pauses_the_run_and_says_what_to_do(served, undisturbed, number):
    assert served.drive(FullOnce(number)) == 0
    assert served.status.state == RunState.PAUSED
    assert "the disk is full" in served.status.reason
    assert "resumed" in served.status.reason
    assert served.drive() == 0
    assert_as_if_nothing_had_happened(served, undisturbed[0])


def flip(path):
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(bytes(content))


def truncate(path):
    path.write_bytes(path.read_bytes()[:-100])


def empty(path):
    path.write_bytes(b"")


def take_away(path):
    path.unlink()


def killed_after_two_rounds(served):
    served.make_grid = KilledInTheThird
    assert served.drive() == -signal.SIGKILL
    assert [line["round"] for line in served.rounds()] == [1, 2]
    served.make_grid = InMemoryGrid
    return served.directory / "checkpoint"


class KilledInTheThird(InMemoryGrid):
    def arrivals(self, message_ids, *, timeout_seconds):
        for reply in super().arrivals(message_ids, timeout_seconds=timeout_seconds):
            content = unsealed(reply.small) if reply.error is None else {}
            if "arrays" in content and content["fedcore"]["round"] == 3:
                os.kill(os.getpid(), signal.SIGKILL)
            yield reply


@pytest.mark.parametrize("damage", [flip, truncate, empty, take_away])
def test_f14_a_damaged_checkpoint_is_noticed_and_the_one_before_is_used(served, undisturbed, damage):
    checkpoint = killed_after_two_rounds(served)
    damage(checkpoint / "state.safetensors")
    assert served.drive() == 0
    assert_as_if_nothing_had_happened(served, undisturbed[0])
    begun = [event["round"] for event in read_events(served.directory / "events.jsonl") if "from" in event["event"]]
    assert begun == [0, 1]


@pytest.mark.parametrize("damage", [flip, truncate, empty, take_away])
def test_f14_without_a_whole_checkpoint_the_run_fails_and_does_not_begin_anew(served, damage):
    checkpoint = killed_after_two_rounds(served)
    before = served.rounds()
    for name in ("state.safetensors", "previous.safetensors"):
        damage(checkpoint / name)
    assert served.drive() == 0
    assert served.status.state == RunState.FAILED
    assert "checkpoint" in served.status.reason
    assert served.rounds() == before


def test_a_run_whose_task_was_changed_fails_and_says_so(served):
    plan = served.directory / "plan.toml"
    plan.write_text(re.sub(r'^(tests = ")[0-9a-f]{64}', rf"\g<1>{'0' * 64}", plan.read_text(), flags=re.MULTILINE))
    assert served.drive() == 0
    assert served.status.state == RunState.FAILED
    assert "not what the run began with: the plan is for tests 000000000000, and here is" in served.status.reason
    assert served.rounds() == []


class Removing(InMemoryGrid):
    """A client is removed from the consortium while its update of round 2 is on its way."""

    home = None

    def arrivals(self, message_ids, *, timeout_seconds):
        for reply in super().arrivals(message_ids, timeout_seconds=timeout_seconds):
            content = unsealed(reply.small) if reply.error is None else {}
            if "arrays" in content and (content["fedcore"]["round"], content["fedcore"]["client"]) == (2, "client-1"):
                remove(self.home, "client-1")
            yield reply


def test_f23_a_client_that_is_removed_in_the_midst_of_a_round_is_not_counted_and_not_asked_again(served):
    Removing.home = served.path
    served.make_grid = Removing
    assert served.drive() == 0
    assert served.status.state == RunState.FINISHED
    rounds = served.rounds()
    assert [line["counted"] for line in rounds] == [list(NAMES), ["client-0", "client-2"], ["client-0", "client-2"]]
    assert ("client-1", "BAD_SIGNATURE") in {(each["client"], each["code"]) for each in rounds[1]["rejected"]}
    assert rounds[2]["asked"] == ["client-0", "client-2"]
    summary = json.loads((served.directory / "summary.json").read_text())
    assert "client-1" in "".join(summary["warnings"])


class Delaying(InMemoryGrid):
    """One client's update of round 1 arrives in round 2."""

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.kept = []

    def arrivals(self, message_ids, *, timeout_seconds):
        yield from self.kept
        self.kept = []
        for reply in super().arrivals(message_ids, timeout_seconds=timeout_seconds):
            content = unsealed(reply.small) if reply.error is None else {}
            if "arrays" in content and (content["fedcore"]["round"], content["fedcore"]["client"]) == (1, "client-2"):
                self.kept.append(reply)
            else:
                yield reply


def test_f8_a_straggler_is_late_and_its_update_is_in_no_later_round(served):
    served.make_grid = Delaying
    assert served.drive() == 0
    rounds = served.rounds()
    assert [(each["client"], each["code"]) for each in rounds[0]["rejected"]] == [("client-2", "LATE")]
    assert [line["counted"] for line in rounds] == [["client-0", "client-1"], list(NAMES), list(NAMES)]
    answered = [event for event in read_events(served.directory / "events.jsonl") if event["event"] == "train-answered"]
    assert sum(event["peer"] == "client-2" for event in answered) == 2


def test_what_killed_writers_left_is_removed_and_what_living_ones_write_stays(tmp_path):
    dead = os.fork()
    if dead == 0:
        os._exit(0)
    os.waitpid(dead, 0)
    kept = [".hidden", f".status.json.{os.getppid()}", ".ssh.config"]
    for name in [*kept, f".status.json.{dead}", f".model.safetensors.{dead}", ".x.99999999999999999999"]:
        (tmp_path / name).write_text("half")
    (tmp_path / f".new.{dead}").mkdir()
    write_whole(tmp_path / "status.json", "whole")
    remove_leftovers(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*kept, "status.json"])


def test_a_journal_without_a_checkpoint_is_not_begun_anew(tmp_path):
    from fedcore_server.rounds.rounds import init_state
    from tests.builders import TinyTask

    plan = tiny_plan()
    directory = RunDirectory.create(tmp_path / "run", plan)
    (directory.path / "rounds.jsonl").write_text('{"round": 1, "attempt": 0}\n')
    state = init_state(TinyTask(), plan)
    with pytest.raises(RunDirectoryError, match="no checkpoint"):
        directory.enter(state, plan)
    assert torch.equal(state.parameters.buffer, init_state(TinyTask(), plan).parameters.buffer)
