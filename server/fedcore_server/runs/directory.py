"""The files of a run."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from fedcore.errors import RunDirectoryError, StorageError
from fedcore.plan import RunPlan
from fedcore.plan.evaluation_schedule import most_in_work
from fedcore.storage.files import append_line, place_whole, remove_leftovers, write_whole
from fedcore.storage.mapped_bytes import pieces
from fedcore_server.rounds.round_record import RoundRecord
from fedcore_server.rounds.rounds import done
from fedcore_server.rounds.state import ServerState
from fedcore_server.runs.checkpoint import has_checkpoint, load_checkpoint, save_checkpoint
from fedcore_server.runs.place import check_free, check_resumable
from fedcore_server.runs.release import RELEASED, WITHHELD


class RunDirectory:
    """A directory that holds one run: ``plan.toml``, ``rounds.jsonl``, ``checkpoint/``, and in the end the results."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def create(cls, path: Path, plan: RunPlan) -> RunDirectory:
        """Begin a run in a directory that is absent or empty.

        Raises:
            RunDirectoryError: The directory holds something, or cannot be made.
        """
        check_free(path)
        existed = path.is_dir()
        try:
            (path / "checkpoint").mkdir(parents=True)
            write_whole(path / "plan.toml", plan.to_toml())
        except (OSError, StorageError) as error:
            with contextlib.suppress(OSError):
                (path / "checkpoint").rmdir()
                if not existed:
                    path.rmdir()
            raise RunDirectoryError(f"the directory {path} cannot be made: {error}") from error
        return cls(path)

    @classmethod
    def open(cls, path: Path) -> RunDirectory:
        """Open a run to resume it.

        Raises:
            RunDirectoryError: There is no run there, or it is finished.
        """
        check_resumable(path)
        remove_leftovers(path)
        remove_leftovers(path / "checkpoint")
        return cls(path)

    def plan(self) -> RunPlan:
        return RunPlan.from_toml(self.path / "plan.toml")

    def enter(self, initial: ServerState, plan: RunPlan) -> ServerState:
        """The state to resume from; at first `initial`, which is then stored.

        Raises:
            RunDirectoryError: Rounds were committed, and no checkpoint can be read.
        """
        if has_checkpoint(self.path / "checkpoint") or self._lines():
            return self.restore(initial, plan)
        self.begin(initial, plan)
        return initial

    def begin(self, state: ServerState, plan: RunPlan) -> None:
        """Store the state before the first round, so that there always is one to resume from."""
        save_checkpoint(self.path / "checkpoint", state, plan)

    def record(self, records: Sequence[RoundRecord], state: ServerState, plan: RunPlan) -> None:
        """Store rounds, or failed attempts: first their lines, then the checkpoint that makes them count."""
        lines = (json.dumps(record.to_json(), allow_nan=False) for record in records)
        append_line(self.path / "rounds.jsonl", "\n".join(lines))
        save_checkpoint(self.path / "checkpoint", state, plan)

    def restore(self, initial: ServerState, plan: RunPlan) -> ServerState:
        """The state of the checkpoint; later lines are dropped from the journal."""
        state = load_checkpoint(self.path / "checkpoint", initial, plan)
        kept = [line for line in self._lines() if _place_of(line) < (state.round + 1, state.attempt)]
        write_whole(self.path / "rounds.jsonl", "".join(f"{line}\n" for line in kept))
        if not state.settled:
            # A request in progress when the run stopped is charged; on disk, so that it stays charged.
            asked = state.asked + (not done(state, plan))
            state = replace(state, asked=asked, evaluated=state.evaluated + most_in_work(plan, after_round=state.round))
        state = replace(state, settled=False)
        save_checkpoint(self.path / "checkpoint", state, plan)
        return state

    def rounds(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self._lines()]

    def write_json(self, name: str, content: Mapping[str, Any]) -> None:
        write_whole(self.path / name, json.dumps(content, indent=2, allow_nan=False, ensure_ascii=False) + "\n")

    def write_text(self, name: str, content: str) -> None:
        write_whole(self.path / name, content)

    def write_model(self, content: memoryview, name: str) -> None:
        """Write the model, released or withheld; a file that a crash left under the other name is removed first."""

        def write(aside: Path) -> None:
            with aside.open("wb") as file:
                for piece in pieces(content):
                    file.write(piece)

        for other in {RELEASED, WITHHELD} - {name}:
            (self.path / other).unlink(missing_ok=True)
        place_whole(self.path / name, write)

    def _lines(self) -> list[str]:
        if not (self.path / "rounds.jsonl").exists():
            return []
        try:
            return (self.path / "rounds.jsonl").read_text(encoding="utf-8").splitlines()
        except OSError as error:
            raise RunDirectoryError(f"the journal of {self.path} cannot be read: {error.strerror}") from error


def _place_of(line: str) -> tuple[float, int]:
    """Round and attempt of a journal line; a line cut short by a crash sorts last."""
    with contextlib.suppress(ValueError, KeyError, TypeError):
        record = json.loads(line)
        return int(record["round"]), int(record["attempt"])
    return float("inf"), 0
