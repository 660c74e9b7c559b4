"""Markdown: cells, tables and numbers; what comes from a plan or from data is escaped."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from fedcore.audit.metrics.catalogue import is_share
from fedcore.text.printable import printable

NOT_SHOWN, UNDEFINED, NO_RATIO = "not shown", "undefined", "–"
_MARKS = re.compile(r"([\\`*_{}\[\]<>#|])")


def escaped(text: str) -> str:
    """Return text on one line without Markdown marks or commands."""
    return _MARKS.sub(r"\\\1", printable(" ".join(str(text).split())))


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Return a table's lines; the cells are not escaped."""
    lines = [columns, ["---"] * len(columns), *rows]
    return [f"| {' | '.join(cells)} |" for cells in lines]


def measured(metric: str, one: Mapping[str, Any] | None) -> str:
    """Write ``{value, low, high, n}`` with its interval, or why there is no value."""
    if one is None or one.get("value") is None:
        return NOT_SHOWN if one is not None and one.get("n") is None else UNDEFINED
    return figure(metric, one["value"], one.get("low"), one.get("high"))


def figure(metric: str, value: float, low: float | None, high: float | None) -> str:
    """Write a value with its interval: shares in per cent, others to three decimals."""
    return with_ends(value, low, high, percent=" %") if is_share(metric) else with_ends(value, low, high)


def with_ends(
    value: float, low: float | None, high: float | None, *, digits: int = 3, percent: str = "", sign: str = ""
) -> str:
    """Write a number with its interval, times 100 with one digit if `percent` names the unit."""
    scale, spec = (100, f"{sign}.1f") if percent else (1, f"{sign}.{digits}f")
    text = f"{scale * value:{spec}}{percent}"
    return text if low is None or high is None else f"{text} ({scale * low:{spec}} to {scale * high:{spec}})"


def words(metric: str) -> str:
    return metric.replace("_", " ").replace("auc", "AUC")
