"""The runs of a server: one directory each, with the state of the run.

A run is submitted by putting its directory there, whole; the server takes the oldest that waits. Commands and server
communicate through these files only, so that after any kill the state on disk counts.
"""

from __future__ import annotations

import errno
import json
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

from filelock import FileLock

from fedcore.errors import DeploymentError, RunDirectoryError, StorageError
from fedcore.plan import RunPlan
from fedcore.storage.files import write_whole
from fedcore_server.runs.directory import RunDirectory
from fedcore_server.runs.journal import JournalReader
from fedcore_server.runs.place import next_free

_STATUS, _STOP = "status.json", "stop"


class RunState(StrEnum):
    QUEUED = "queued"
    RUNNING = "running"
    STOPPED = "stopped"
    PAUSED = "paused"  # no quorum in all attempts: it can be resumed
    FAILED = "failed"
    FINISHED = "finished"

    @property
    def ended(self) -> bool:
        """Whether the server will do nothing more with the run unless asked."""
        return self not in (RunState.QUEUED, RunState.RUNNING)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStatus:
    """Content of ``status.json``.

    Attributes:
        incarnation: How often the driver was started.
        crashes: Unintended ends of the driver since the last round was committed.
        reason: Why it is not running, in words.
        flower_run: Flower's number of the run in the newest incarnation.
        token: Random; with the name it makes the run's identity, so that clients never confuse it with another run of
            the same name, in a home whose runs were deleted.
    """

    state: RunState = RunState.QUEUED
    incarnation: int = 0
    crashes: int = 0
    reason: str = ""
    flower_run: int | None = None
    token: str = ""
    submitted: str = ""
    changed: str = ""


class RunStore:
    """The directory of a server's runs."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def submit(self, plan: RunPlan) -> str:
        """Queue a run; return its name.

        Raises:
            StorageError: The directory cannot be written; nothing is left behind.
        """
        self.path.mkdir(mode=0o700, exist_ok=True)
        aside = self.path / f".new.{os.getpid()}"
        shutil.rmtree(aside, ignore_errors=True)
        try:
            RunDirectory.create(aside, plan)
            _write_status(aside, RunStatus(submitted=_now(), token=secrets.token_hex(6)))
            while True:
                final = next_free(self.path, _plain_name(plan.task.name))
                try:
                    aside.rename(final)
                except OSError as error:
                    if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
                        raise StorageError(f"{final} cannot be made: {error.strerror}") from error
                    continue  # another run took the name in the meantime
                return final.name
        finally:
            shutil.rmtree(aside, ignore_errors=True)

    def names(self) -> list[str]:
        if not self.path.is_dir():
            return []
        found = [path.name for path in self.path.iterdir() if (path / _STATUS).is_file() and path.name[0] != "."]
        return sorted(found, key=lambda name: (self.readable_status(name).submitted, name))

    def directory(self, name: str) -> Path:
        """The directory of a run; a unique beginning of a name is enough.

        Raises:
            DeploymentError: There is no such run, or several.
        """
        names = self.names()
        found = [name] if name in names else [each for each in names if each.startswith(name)]
        if len(found) != 1:
            raise DeploymentError(
                f"expected one run called {name!r}, found {', '.join(found) or 'none'}; there are: "
                f"{', '.join(names) or 'none yet'}"
            )
        return self.path / found[0]

    def status(self, name: str) -> RunStatus:
        """Raises RunDirectoryError: Its file is damaged."""
        path = self.path / name / _STATUS
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
            return RunStatus(**{**values, "state": RunState(values["state"])})
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise RunDirectoryError(f"{path} cannot be read: {error}") from error

    def change(self, name: str, **changes: Any) -> RunStatus:
        with FileLock(self.path / name / "status.lock"):  # commands, server and driver all change it
            status = replace(self.status(name), **changes, changed=_now())
            _write_status(self.path / name, status)
        return status

    def next_queued(self) -> str | None:
        return next((name for name in self.names() if self.readable_status(name).state == RunState.QUEUED), None)

    def readable_status(self, name: str) -> RunStatus:
        """A run whose status is damaged has failed, and blocks no other run."""
        try:
            return self.status(name)
        except RunDirectoryError as error:
            return RunStatus(state=RunState.FAILED, reason=str(error))

    def request_stop(self, name: str) -> None:
        """Ask the server to stop a run; a queued one is stopped at once.

        Raises:
            DeploymentError: It has ended already.
        """
        state = self.status(name).state
        if state.ended:
            raise DeploymentError(f"run {name} is {state} already")
        write_whole(self.path / name / _STOP, _now())
        if state == RunState.QUEUED:
            self.change(name, state=RunState.STOPPED, reason="stopped before it began")

    def stop_requested(self, name: str) -> bool:
        return (self.path / name / _STOP).exists()

    def queue_again(self, name: str) -> None:
        """Resume a run that was stopped, paused or failed, from its last committed round.

        Raises:
            DeploymentError: It is finished, or has not ended.
        """
        state = self.status(name).state
        if state not in (RunState.STOPPED, RunState.PAUSED, RunState.FAILED):
            raise DeploymentError(
                f"run {name} is {state}; only a run that was stopped, paused or failed can be resumed"
            )
        (self.path / name / _STOP).unlink(missing_ok=True)
        self.change(name, state=RunState.QUEUED, reason="", crashes=0)

    def journal(self, name: str) -> JournalReader:
        return JournalReader(self.path / name / "rounds.jsonl")

    def rounds(self, name: str) -> Iterator[Mapping[str, Any]]:
        """The journal so far, without a line that is being written."""
        with suppress(FileNotFoundError):
            content = (self.path / name / "rounds.jsonl").read_bytes()
            yield from (json.loads(line) for line in content.split(b"\n")[:-1])


def _plain_name(task: str) -> str:
    """The last word of ``module:object``, in letters that a file's name may have."""
    word = task.rsplit(":", 1)[-1].rsplit(".", 1)[-1].lower()
    return "".join(letter if letter.isalnum() else "-" for letter in word).strip("-") or "run"


def is_deployed(directory: Path) -> bool:
    """Whether a run's directory is a deployment's, not a simulation's."""
    return (directory / _STATUS).is_file()


def _write_status(directory: Path, status: RunStatus) -> None:
    write_whole(directory / _STATUS, json.dumps(asdict(status), indent=1) + "\n")


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
