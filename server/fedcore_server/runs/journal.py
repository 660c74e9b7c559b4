"""Following a run's journal: each look reads what was added since the one before."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any


class JournalReader:
    """Reads ``rounds.jsonl`` while a run writes it.

    A resumed run replaces the journal by a shorter one, without the rounds that were not committed. Lines that were
    read before, by their number, are not given again.

    Args:
        path: The journal; may be absent yet.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: tuple[int, int] | None = None
        self._offset = self._lines = 0

    def new_lines(self) -> list[Mapping[str, Any]]:
        """Complete lines since the last call."""
        try:
            with self._path.open("rb") as file:
                known = self._at_the_right_place(os.fstat(file.fileno()))
                file.seek(self._offset)
                whole, newline, _ = file.read().rpartition(b"\n")
        except FileNotFoundError:
            return []
        lines = whole.split(b"\n") if newline else []
        self._offset += len(whole) + len(newline)
        self._lines += len(lines)
        return [json.loads(line) for line in lines[known:]]

    def _at_the_right_place(self, stat: os.stat_result) -> int:
        """Go back to the start of a journal that was replaced; returns how many of the next lines are known."""
        known, file = 0, (stat.st_dev, stat.st_ino)
        if file != self._file or stat.st_size < self._offset:
            known = self._lines
            self._file, self._offset, self._lines = file, 0, 0
        return known
