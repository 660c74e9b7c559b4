"""Files that are whole or absent, and a state that comes back as it was."""

import errno
import json
import os

import pytest
import torch
from safetensors.torch import save_file

from fedcore.errors import RunDirectoryError, StorageError
from fedcore.storage import files
from fedcore.storage.files import append_line, write_whole
from fedcore_server.rounds.state import ServerState
from fedcore_server.runs.checkpoint import load_checkpoint, save_checkpoint
from fedcore_server.runs.directory import RunDirectory
from fedcore_server.runs.place import check_free, next_free
from fedcore_simulations import simulate
from tests.builders import TinyTask, build_parameters, build_plan


def fill_the_disk(monkeypatch, *, after_bytes=0):
    """Let every flush to disk fail as on a full one."""

    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)


def state(**changes):
    values = {
        "round": 3,
        "attempt": 1,
        "parameters": build_parameters(1.0, 2.0),
        "parts": {
            "average": {"parameters": torch.tensor([0.5, 0.25])},
            "optimizer": {"first": torch.tensor([1.0, 2.0], dtype=torch.float64)},
            "algorithm": {"clients": {"a": 0.25}, "control": torch.tensor([3.0, 4.0])},
        },
    }
    return ServerState(**(values | changes))


def test_a_state_comes_back_from_disk_as_it_was(tmp_path):
    save_checkpoint(tmp_path, state(), build_plan())
    loaded = load_checkpoint(tmp_path, state(round=0), build_plan())
    assert (loaded.round, loaded.attempt) == (3, 1)
    assert torch.equal(loaded.parameters.buffer, state().parameters.buffer)
    for name, part in state().parts.items():
        for key, value in part.items():
            torch.testing.assert_close(loaded.part(name)[key], value, rtol=0, atol=0)


def test_a_checkpoint_of_an_older_format_is_refused_with_what_to_do(tmp_path):
    header = {"round": 1, "plan_sha256": build_plan().sha256}
    metadata = {"fedcore": json.dumps(header)}
    save_file({"parameters": torch.zeros(2)}, tmp_path / "state.safetensors", metadata=metadata)
    with pytest.raises(RunDirectoryError, match=r"has format 1, and this version of fedcore reads 2; finish the run"):
        load_checkpoint(tmp_path, state(), build_plan())


def test_after_a_kill_between_two_names_of_one_checkpoint_no_third_one_stays(tmp_path):
    save_checkpoint(tmp_path, state(), build_plan())
    os.link(tmp_path / "state.safetensors", tmp_path / "previous.safetensors")
    save_checkpoint(tmp_path, state(round=4), build_plan())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["previous.safetensors", "state.safetensors"]


def test_a_checkpoint_of_another_plan_is_refused(tmp_path):
    save_checkpoint(tmp_path, state(), build_plan())
    with pytest.raises(RunDirectoryError, match="another plan"):
        load_checkpoint(tmp_path, state(), build_plan(federation={"rounds": 99}))


@pytest.mark.parametrize("damage", [b"", b"garbage", b"\xff" * 100])
def test_a_damaged_checkpoint_is_refused(tmp_path, damage):
    (tmp_path / "state.safetensors").write_bytes(damage)
    with pytest.raises(RunDirectoryError, match="damaged"):
        load_checkpoint(tmp_path, state(), build_plan())


def test_a_checkpoint_without_a_header_or_of_another_model_is_refused(tmp_path):
    save_file({"parameters": torch.zeros(2)}, tmp_path / "state.safetensors")
    with pytest.raises(RunDirectoryError, match="damaged"):
        load_checkpoint(tmp_path, state(), build_plan())
    save_checkpoint(tmp_path, state(parameters=build_parameters(1, 2, 3), parts={}), build_plan())
    with pytest.raises(RunDirectoryError, match="damaged"):
        load_checkpoint(tmp_path, state(), build_plan())


def test_a_run_stopped_before_its_first_round_says_so(tmp_path):
    with pytest.raises(RunDirectoryError, match="had not finished its first round"):
        load_checkpoint(tmp_path, state(), build_plan())


def test_a_full_disk_leaves_the_old_file_and_no_rest(tmp_path, monkeypatch):
    write_whole(tmp_path / "file", "old")
    fill_the_disk(monkeypatch)
    with pytest.raises(StorageError, match="the disk is full"):
        write_whole(tmp_path / "file", "new")
    assert (tmp_path / "file").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_full_disk_cuts_the_half_written_line_off_again(tmp_path, monkeypatch):
    append_line(tmp_path / "journal", "one")
    fill_the_disk(monkeypatch)
    with pytest.raises(StorageError, match="the disk is full"):
        append_line(tmp_path / "journal", "two")
    assert (tmp_path / "journal").read_text() == "one\n"


def test_a_run_on_a_disk_that_fills_up_can_be_gone_on_with(tmp_path, monkeypatch):
    calls, real = [], os.fsync

    def full_later(handle):
        calls.append(handle)
        if len(calls) > 5:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(handle)

    monkeypatch.setattr(files.os, "fsync", full_later)
    with pytest.raises(StorageError, match="resume"):
        simulate(TinyTask(), build_plan(), out=tmp_path / "run")
    monkeypatch.setattr(files.os, "fsync", real)
    directory = RunDirectory.open(tmp_path / "run")
    assert directory.restore(state(parameters=TinyTaskState(), parts={}), directory.plan()).round == 1


def TinyTaskState():  # noqa: N802 - reads like the class it stands for
    from fedcore_server.rounds.rounds import init_state

    return init_state(TinyTask(), build_plan()).parameters


def test_lines_of_rounds_that_were_not_committed_are_dropped(tmp_path):
    plan = build_plan()
    directory = RunDirectory.create(tmp_path / "run", plan)
    for number in (1, 2, 3, 4):
        append_line(directory.path / "rounds.jsonl", json.dumps({"round": number, "attempt": 0}))
    with (directory.path / "rounds.jsonl").open("a") as journal:
        journal.write('{"round": 5, "cut off by a cra')
    save_checkpoint(directory.path / "checkpoint", state(round=3, attempt=0), plan)
    directory.restore(state(), plan)
    assert [record["round"] for record in directory.rounds()] == [1, 2, 3]


@pytest.mark.parametrize(
    ("hooks", "stopped_after", "in_work"), [((), 0, 1), (("mine:Hook",), 0, 2), (("mine:Hook",), 2, 1), ((), 3, 1)]
)
def test_evaluations_that_were_in_work_at_a_stop_are_counted(tmp_path, hooks, stopped_after, in_work):
    """Before the first round the untrained model may have been evaluated, too, and after the last the released one."""
    plan = build_plan(audit={"hooks": hooks})
    directory = RunDirectory.create(tmp_path / "run", plan)
    save_checkpoint(directory.path / "checkpoint", state(round=stopped_after, asked=3, evaluated=4), plan)
    restored = directory.restore(state(), plan)
    assert (restored.evaluated, restored.asked) == (4 + in_work, 3 + (stopped_after < 3))
    assert directory.restore(state(), plan).evaluated == 4 + 2 * in_work


def test_a_failed_attempt_is_remembered_over_a_stop(tmp_path):
    plan = build_plan()
    directory = RunDirectory.create(tmp_path / "run", plan)
    for number, attempt in ((1, 0), (2, 0), (2, 1)):
        append_line(directory.path / "rounds.jsonl", json.dumps({"round": number, "attempt": attempt}))
    save_checkpoint(directory.path / "checkpoint", state(round=1, attempt=1, asked=2), plan)
    restored = directory.restore(state(), plan)
    # and what was in work when it stopped is charged as well
    assert (restored.round, restored.attempt, restored.asked) == (1, 1, 3)
    assert directory.rounds() == [{"round": 1, "attempt": 0}, {"round": 2, "attempt": 0}]


def test_a_directory_with_anything_in_it_is_not_free(tmp_path):
    check_free(tmp_path / "absent")
    check_free(tmp_path)
    (tmp_path / "letter.txt").write_text("dear")
    with pytest.raises(RunDirectoryError, match="not empty"):
        check_free(tmp_path)


def test_a_finished_run_is_not_offered_to_be_gone_on_with(tmp_path):
    for name in ("plan.toml", "report.html"):
        (tmp_path / name).touch()
    with pytest.raises(RunDirectoryError, match=r"holds a finished run; give another --out$"):
        check_free(tmp_path)


def test_a_run_that_finished_no_round_is_not_offered_to_be_resumed(tmp_path):
    (tmp_path / "plan.toml").touch()
    with pytest.raises(RunDirectoryError, match=r"finished no round; remove it, or give another --out$"):
        check_free(tmp_path)
    (tmp_path / "checkpoint").mkdir()
    (tmp_path / "checkpoint" / "state.safetensors").touch()
    with pytest.raises(RunDirectoryError, match="or resume that run"):
        check_free(tmp_path)


def test_the_next_free_name_is_counted_up(tmp_path):
    assert next_free(tmp_path / "runs", "digits").name == "digits-0001"
    (tmp_path / "digits-0001").mkdir()
    (tmp_path / "digits-0003").mkdir()
    assert next_free(tmp_path, "digits").name == "digits-0002"


def test_a_saved_result_holds_the_same_files_as_a_run_with_a_directory(tmp_path):
    plan = build_plan(audit={"sensitive": ["sex"]})
    simulate(TinyTask(), plan, out=tmp_path / "live")
    simulate(TinyTask(), plan).save(tmp_path / "saved")
    live, saved = ({p.name for p in (tmp_path / name).iterdir()} for name in ("live", "saved"))
    assert live == saved
    for name in ("bias.json", "privacy.json", "split.json", "plan.toml", "model.safetensors"):
        assert (tmp_path / "live" / name).read_bytes() == (tmp_path / "saved" / name).read_bytes()
