"""Rates by group: a dot with its interval, the name and the number of rows above it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from fedcore_server.report.quantities import Quantity
from fedcore_server.report.run_record import Rate
from fedcore_server.report.scales import Axis, Scale, value_axis
from fedcore_server.report.svg import (
    WIDTH,
    element,
    number,
    path,
    picture,
    shortened,
    text,
    text_width,
    title,
)
from fedcore_server.report.wording import count_text, interval_text, rate_text

_TOP, _ROW, _FOOT, _INSET = 26.0, 37.0, 22.0, 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class IntervalRow:
    """One group.

    Attributes:
        marked: Whether it is the one to look at.
    """

    name: str
    rate: Rate
    marked: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class IntervalChart:
    """What is drawn.

    Attributes:
        rows: From top to bottom.
        reference: Rate over all rows, or None.
        min_cell: Groups of fewer rows are not shown.
        says: The picture in a sentence.
    """

    rows: Sequence[IntervalRow]
    quantity: Quantity
    reference: float | None
    min_cell: int
    says: str

    def draw(self) -> Markup:
        """Return the picture."""
        axis = self._axis()
        scale = Scale(low=axis.low, high=axis.high, start=_INSET, end=WIDTH - _INSET)
        bottom = _TOP + _ROW * len(self.rows)
        parts = [*_ticks(self.quantity, axis, scale, bottom), *self._reference(scale, bottom)]
        for position, row in enumerate(self.rows):
            parts += self._row(row, scale, _TOP + _ROW * position)
        return picture(parts, height=bottom + _FOOT, says=self.says)

    def _axis(self) -> Axis:
        rates = [row.rate for row in self.rows]
        ends = [end for rate in rates for end in (rate.value, rate.low, rate.high) if end is not None]
        ends += [] if self.reference is None else [self.reference]
        return value_axis(ends, share=self.quantity.share)

    def _reference(self, scale: Scale, bottom: float) -> list[Markup]:
        if self.reference is None:
            return []
        x, words = scale(self.reference), f"all rows {self.quantity.text(self.reference)}"
        half = text_width(words, 11) / 2
        middle = min(WIDTH - half, max(half, x))
        line = path(f"M{number(x)} {number(_TOP - 10)}V{number(bottom)}", "reference")
        return [line, text(middle, 11, words, style="tick", anchor="middle")]

    def _row(self, row: IntervalRow, scale: Scale, top: float) -> list[Markup]:
        rate, mark = row.rate, " accent" if row.marked else " main"
        told = rate_text(rate, self.quantity, min_cell=self.min_cell)
        rows = f"n {count_text(rate.n)}" if rate.n else ""
        right = f"{told}   {rows}".rstrip() if rate.value is not None else told
        if rate.value is None:
            right = right.partition(" (")[0]
        room = WIDTH - text_width(right) - 14
        style = "name" + (mark if row.marked else "")
        parts = [
            element("text", title(row.name), shortened(row.name, room), x=0.0, y=top + 13, class_=style),
            _numbers(rate, told, rows, top + 13) if rate.value is not None else _missing(right, told, top + 13),
        ]
        if rate.value is None:
            return parts
        y, interval = top + 25, interval_text(rate.low, rate.high, self.quantity)
        hover = title(f"{row.name}: {told}, interval {interval or 'not defined'}, {count_text(rate.n)} rows")
        marks = []
        if rate.low is not None and rate.high is not None:
            low, high = scale(rate.low), scale(rate.high)
            marks.append(path(f"M{number(low)} {number(y)}H{number(high)}", "reach"))
            marks.append(path(f"M{number(low)} {number(y - 4)}v8M{number(high)} {number(y - 4)}v8", "cap"))
        marks.append(element("circle", cx=scale(rate.value), cy=y, r=4.5, class_="dot"))
        return [*parts, element("g", hover, *marks, class_="interval" + mark)]


def _numbers(rate: Rate, told: str, rows: str, y: float) -> Markup:
    value = element("tspan", told, class_="figure")
    beside = element("tspan", rows, dx=9) if rows else ""
    return element("text", value, beside, x=WIDTH, y=y, class_="tick", text_anchor="end")


def _missing(words: str, told: str, y: float) -> Markup:
    return element("text", title(told), words, x=WIDTH, y=y, class_="missing", text_anchor="end")


def _ticks(quantity: Quantity, axis: Axis, scale: Scale, bottom: float) -> list[Markup]:
    parts = []
    for tick in axis.ticks:
        x, words = scale(tick), quantity.tick(tick, axis.step)
        half = text_width(words, 11) / 2
        parts.append(path(f"M{number(x)} {number(_TOP)}V{number(bottom)}", "grid"))
        place = min(WIDTH - half, max(half, x))
        parts.append(text(place, bottom + 16, words, style="tick", anchor="middle"))
    return parts
