"""Runs ``fedcore audit bias`` on a table that a test writes down."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from fedcore.cli import main


def write_table(path: Path, columns: Mapping[str, Sequence[object]]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))
    return path


def count_table(path: Path, selected: Mapping[str, tuple[int, int]], *, group: str = "race") -> Path:
    """Write ``{group: (selected, rows)}`` as two lines of counts a group."""
    columns: dict[str, list[object]] = {group: [], "hired": [], "n": []}
    for name, (chosen, rows) in selected.items():
        for hired, n in (("yes", chosen), ("no", rows - chosen)):
            columns[group].append(name)
            columns["hired"].append(hired)
            columns["n"].append(n)
    return write_table(path, columns)


class Command:
    """``fedcore audit bias`` in this process.

    Attributes:
        code: Exit code of the last call.
        out: What it printed.
        error: What it printed as an error.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self._monkeypatch, self._capsys = monkeypatch, capsys
        self.code, self.out, self.error = -1, "", ""

    def __call__(self, table: Path, *options: object) -> str:
        self._monkeypatch.setattr(sys, "argv", ["fedcore", "audit", "bias", str(table), *map(str, options)])
        with pytest.raises(SystemExit) as left:
            main()
        printed = self._capsys.readouterr()
        self.code, self.out, self.error = int(left.value.code or 0), printed.out, printed.err
        return self.out

    def json(self, table: Path, *options: object, code: int = 0) -> dict[str, Any]:
        told = self(table, *options, "--json")
        assert self.code == code, self.error
        content = json.loads(told, parse_constant=_no_constant)
        assert isinstance(content, dict)
        return content

    def refused(self, table: Path, *options: object) -> str:
        """Return the one line that bad input ends in."""
        self(table, *options)
        assert (self.code, self.out) == (2, "")
        assert "Traceback" not in self.error
        return self.error


def options(**named: object) -> list[str]:
    """Return ``label="y"`` as ``--label y``; a list repeats its option."""
    found: list[str] = []
    for name, value in named.items():
        for one in value if isinstance(value, list | tuple) else [value]:
            found += [f"--{name.replace('_', '-')}", str(one)]
    return found


def _no_constant(name: str) -> Iterable[Any]:
    raise AssertionError(f"{name} is no JSON")
