"""Gaps as stacked bars: within clients, between clients, and from clients with only one group."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from fedcore.report.pictures.frame import reach
from fedcore.report.pictures.scales import Axis, Scale, value_axis
from fedcore.report.pictures.svg import WIDTH, element, number, path, picture, text, text_width, title

_TOP, _ROW, _BAR, _FOOT, _INSET = 30.0, 46.0, 12.0, 22.0, 12.0
PARTS = {"within": "within clients", "between": "between clients", "no_overlap": "one group only"}


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitRow:
    """One metric's gap.

    Attributes:
        parts: Shares of 1 in the order of ``PARTS``; they sum to the gap, and may be negative.
        low: Lower end of the gap's interval, or None.
    """

    name: str
    parts: Sequence[float]
    low: float | None
    high: float | None


def split_chart(rows: Sequence[SplitRow], *, says: str) -> Markup:
    axis = value_axis([end for row in rows for end in _ends(row)], share=False, zero=True)
    scale = Scale(low=axis.low, high=axis.high, start=_INSET, end=WIDTH - _INSET)
    bottom = _TOP + _ROW * len(rows)
    parts = [*_legend(), *_ticks(axis, scale, bottom)]
    for place, row in enumerate(rows):
        parts += _row(row, scale, _TOP + _ROW * place)
    return picture(parts, height=bottom + _FOOT, says=says)


def stacked(parts: Sequence[float]) -> list[tuple[float, float]]:
    """Return where each part begins and ends: positive ones to the right of 0, negative ones to the left."""
    right = left = 0.0
    found = []
    for part in parts:
        start = right if part >= 0 else left
        found.append((start, start + part))
        right, left = (start + part, left) if part >= 0 else (right, start + part)
    return found


def _ends(row: SplitRow) -> list[float]:
    return [0.0, *(end for pair in stacked(row.parts) for end in pair), row.low or 0.0, row.high or 0.0]


def _legend() -> list[Markup]:
    parts, x = [], 0.0
    for kind, words in PARTS.items():
        parts.append(element("rect", x=x, y=3.0, width=10.0, height=10.0, class_=f"part {kind}"))
        parts.append(text(x + 14, 12, words, style="tick"))
        x += 26 + text_width(words, 11)
    return parts


def _ticks(axis: Axis, scale: Scale, bottom: float) -> list[Markup]:
    parts = []
    for tick in axis.ticks:
        style = "axis" if tick == 0 else "grid"
        parts.append(path(f"M{number(scale(tick))} {number(_TOP - 4)}V{number(bottom)}", style))
        parts.append(text(scale(tick), bottom + 16, f"{100 * tick:g}", style="tick", anchor="middle"))
    return parts


def _row(row: SplitRow, scale: Scale, top: float) -> list[Markup]:
    gap, bar = sum(row.parts), top + 20
    numbers = ", ".join(f"{words} {100 * part:+.1f}" for words, part in zip(PARTS.values(), row.parts, strict=True))
    bars = [
        element("rect", x=scale(min(pair)), y=bar, width=abs(scale(pair[1]) - scale(pair[0])), height=_BAR,
                class_=f"part {kind}")
        for kind, pair in zip(PARTS, stacked(row.parts), strict=True)
    ]  # fmt: skip
    marks = []
    if row.low is not None and row.high is not None:
        y = bar + _BAR + 5
        marks += reach(scale(row.low), scale(row.high), y, cap=3)
        marks.append(element("circle", cx=scale(gap), cy=y, r=3.6, class_="dot"))
    hover = title(f"{row.name}: gap {100 * gap:.1f} points = {numbers}")
    return [
        text(0.0, top + 13, row.name, style="name"),
        text(WIDTH, top + 13, f"{100 * gap:.1f} points", style="figure", anchor="end"),
        element("g", hover, *bars),
        element("g", *marks, class_="interval main"),
    ]
