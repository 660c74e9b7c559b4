"""The runs of a server, as files."""

import threading

import pytest

from fedcore.errors import DeploymentError
from fedcore_server.runs.store import RunState, RunStore
from tests.builders import build_plan


def test_a_damaged_status_blocks_no_other_run(tmp_path):
    store = RunStore(tmp_path / "runs")
    first, second = store.submit(build_plan()), store.submit(build_plan())
    (tmp_path / "runs" / first / "status.json").write_text('{"state": "queued", "from_the_future": 1}')

    assert set(store.names()) == {first, second}
    assert store.next_queued() == second
    assert store.readable_status(first).state == RunState.FAILED


def test_changes_by_several_processes_at_once_are_all_kept(tmp_path):
    store = RunStore(tmp_path / "runs")
    name = store.submit(build_plan())

    def count():
        for _ in range(20):
            # each reads and writes under the lock of the run
            store.change(name, flower_run=7)

    threads = [threading.Thread(target=count) for _ in range(3)]
    threads.append(threading.Thread(target=lambda: store.change(name, incarnation=1)))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert store.status(name).incarnation == 1


def test_two_runs_of_one_task_have_names_and_tokens_of_their_own(tmp_path):
    store = RunStore(tmp_path / "runs")
    first, second = (store.submit(build_plan()) for _ in range(2))
    assert first != second
    assert store.status(first).token != store.status(second).token


def test_a_run_that_waits_is_stopped_at_once_and_can_go_on(tmp_path):
    store = RunStore(tmp_path / "runs")
    name = store.submit(build_plan())
    store.request_stop(name)
    assert store.status(name).state == RunState.STOPPED
    with pytest.raises(DeploymentError, match="stopped already"):
        store.request_stop(name)
    store.queue_again(name)
    assert store.next_queued() == name
    with pytest.raises(DeploymentError, match="only a run that was stopped"):
        store.queue_again(name)


def test_a_beginning_names_a_run_where_it_names_one_only(tmp_path):
    store = RunStore(tmp_path / "runs")
    first, second = (store.submit(build_plan()) for _ in range(2))
    assert store.directory(first).name == first
    with pytest.raises(DeploymentError, match=second):
        store.directory(first[:-1])
