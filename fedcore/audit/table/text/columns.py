"""Rows of text as a table in columns of equal width."""

from __future__ import annotations

from collections.abc import Sequence


def aligned(table: Sequence[Sequence[str]]) -> list[str]:
    """Return lines with columns of equal width: the first left-aligned, the others right-aligned."""
    length = max(map(len, table))
    filled = [[*row, *[""] * (length - len(row))] for row in table]
    width = [max(map(len, column)) for column in zip(*filled, strict=True)]
    return ["  ".join([row[0].ljust(width[0]), *map(str.rjust, row[1:], width[1:])]).rstrip() for row in filled]
