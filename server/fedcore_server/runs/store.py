"""The runs of a server: one directory each, in which the state of the run stands for all to see.

A run is submitted by putting its directory there, whole; the server takes the oldest that waits. Commands and
server talk through these files alone, so that whatever is killed, the state on disk is what counts.
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
from fedcore_server.runs.directory import RunDirectory, next_free
from fedcore_server.runs.journal import JournalReader

_STATUS, _STOP = "status.json", "stop"


class RunState(StrEnum):
    """Where a run stands."""

    QUEUED = "queued"
    RUNNING = "running"
    STOPPED = "stopped"
    PAUSED = "paused"  # no quorum in all attempts: it can be gone on with
    FAILED = "failed"
    FINISHED = "finished"

    @property
    def ended(self) -> bool:
        """Whether the server will do nothing more with the run unless asked."""
        return self not in (RunState.QUEUED, RunState.RUNNING)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStatus:
    """What ``status.json`` holds.

    Attributes:
        incarnation: How often the driver was started.
        crashes: Ends of the driver that it did not choose, since the last round was committed.
        reason: Why it is not running, in words.
        flower_run: Flower's number of the run in the newest incarnation.
        token: Random; with the name it makes the run's identity, so that clients never take another run of the
            same name, in a home whose runs were cleared away, for this one.
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
        """All runs, oldest first."""
        if not self.path.is_dir():
            return []
        found = [path.name for path in self.path.iterdir() if (path / _STATUS).is_file() and path.name[0] != "."]
        return sorted(found, key=lambda name: (self.readable_status(name).submitted, name))

    def directory(self, name: str) -> Path:
        """Where a run lies; a unique beginning of a name is enough.

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
        """Where a run stands.

        Raises:
            RunDirectoryError: Its file is damaged.
        """
        path = self.path / name / _STATUS
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
            return RunStatus(**{**values, "state": RunState(values["state"])})
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise RunDirectoryError(f"{path} cannot be read: {error}") from error

    def change(self, name: str, **changes: Any) -> RunStatus:
        """Replace some of a run's status."""
        with FileLock(self.path / name / "status.lock"):  # commands, server and driver all change it
            status = replace(self.status(name), **changes, changed=_now())
            _write_status(self.path / name, status)
        return status

    def next_queued(self) -> str | None:
        """The run that has waited longest."""
        return next((name for name in self.names() if self.readable_status(name).state == RunState.QUEUED), None)

    def readable_status(self, name: str) -> RunStatus:
        """A run whose status is damaged has failed, and keeps no other from being run."""
        try:
            return self.status(name)
        except RunDirectoryError as error:
            return RunStatus(state=RunState.FAILED, reason=str(error))

    def request_stop(self, name: str) -> None:
        """Ask the server to stop a run; one that waits is stopped at once.

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
        """Whether somebody wants the run to stop."""
        return (self.path / name / _STOP).exists()

    def queue_again(self, name: str) -> None:
        """Go on with a run that was stopped, paused or failed, from its last committed round.

        Raises:
            DeploymentError: It is finished, or has not ended.
        """
        state = self.status(name).state
        if state not in (RunState.STOPPED, RunState.PAUSED, RunState.FAILED):
            raise DeploymentError(f"run {name} is {state}; only one that was stopped, paused or failed can go on")
        (self.path / name / _STOP).unlink(missing_ok=True)
        self.change(name, state=RunState.QUEUED, reason="", crashes=0)

    def journal(self, name: str) -> JournalReader:
        """A reader of the journal that gives each round once, for whoever follows a run."""
        return JournalReader(self.path / name / "rounds.jsonl")

    def rounds(self, name: str) -> Iterator[Mapping[str, Any]]:
        """The journal so far; a line being written is left out."""
        with suppress(FileNotFoundError):
            content = (self.path / name / "rounds.jsonl").read_bytes()
            yield from (json.loads(line) for line in content.split(b"\n")[:-1])


def _plain_name(task: str) -> str:
    """The last word of ``module:object``, in letters that a file's name may have."""
    word = task.rsplit(":", 1)[-1].rsplit(".", 1)[-1].lower()
    return "".join(letter if letter.isalnum() else "-" for letter in word).strip("-") or "run"


def is_deployed(directory: Path) -> bool:
    """Whether a run's directory is that of a deployment, and no simulation's."""
    return (directory / _STATUS).is_file()


def _write_status(directory: Path, status: RunStatus) -> None:
    write_whole(directory / _STATUS, json.dumps(asdict(status), indent=1) + "\n")


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
