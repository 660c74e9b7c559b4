"""Following a journal that is written, cut off and replaced meanwhile."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fedcore.storage.files import write_whole
from fedcore_server.runs.journal import JournalReader


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "rounds.jsonl"


def _lines(*rounds: int) -> str:
    return "".join(json.dumps({"round": number}) + "\n" for number in rounds)


def _new(reader: JournalReader) -> list[int]:
    return [line["round"] for line in reader.new_lines()]


def _append(path: Path, text: str) -> None:
    with path.open("a") as file:
        file.write(text)


def test_each_round_is_given_once_and_a_line_being_written_when_it_is_whole(path: Path) -> None:
    reader = JournalReader(path)
    assert _new(reader) == []
    _append(path, _lines(1, 2))
    assert (_new(reader), _new(reader)) == ([1, 2], [])
    third = _lines(3)
    for letter in third[:-1]:
        _append(path, letter)
        assert _new(reader) == []
    _append(path, third[-1])
    assert _new(reader) == [3]


def test_what_was_read_is_not_read_again(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reader, parsed, real = JournalReader(path), [], json.loads
    monkeypatch.setattr("fedcore_server.runs.journal.json.loads", lambda line: parsed.append(line) or real(line))
    for number in range(1, 51):
        _append(path, _lines(number))
        assert _new(reader) == [number]
    assert len(parsed) == 50  # and not 1 + 2 + … + 50


@pytest.mark.parametrize("replaced", [True, False])
def test_a_resumed_run_that_drops_what_was_not_committed_is_followed_from_there(path: Path, replaced: bool) -> None:
    reader = JournalReader(path)
    _append(path, _lines(1, 2, 3))
    assert _new(reader) == [1, 2, 3]
    if replaced:
        write_whole(path, _lines(1, 2))
    else:
        path.write_text(_lines(1, 2))  # the same file, cut short
    assert _new(reader) == []
    _append(path, _lines(3, 4))
    assert _new(reader) == [3, 4]


def test_a_journal_that_is_replaced_by_a_longer_one_gives_only_what_is_new(path: Path) -> None:
    reader = JournalReader(path)
    _append(path, _lines(1, 2))
    assert _new(reader) == [1, 2]
    write_whole(path, _lines(1, 2, 3))
    assert _new(reader) == [3]
