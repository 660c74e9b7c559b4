"""Rows of text as a table in columns of equal width."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence


def aligned(table: Sequence[Sequence[str]]) -> list[str]:
    """Return lines with columns of equal width: the first left-aligned, the others right-aligned."""
    width = [0] * max(map(len, table))
    for row in table:
        width = [max(old, len(cell)) for old, cell in zip(width, _filled(row, len(width)), strict=True)]
    return ["  ".join(_padded(_filled(row, len(width)), width)).rstrip() for row in table]


def _filled(row: Sequence[str], length: int) -> list[str]:
    return [*row, *[""] * (length - len(row))]


def _padded(cells: Iterable[str], width: Sequence[int]) -> Iterator[str]:
    for position, (cell, size) in enumerate(zip(cells, width, strict=True)):
        yield cell.rjust(size) if position else cell.ljust(size)
