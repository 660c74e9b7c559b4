"""Rates by group: a dot with its interval, the name and the number of rows above it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import accumulate

from markupsafe import Markup

from fedcore.report.page.run_record import Rate
from fedcore.report.page.wording import Quantity, count_text, interval_text, rate_text
from fedcore.report.pictures.frame import reach, row_name, upright_grid, upright_reference
from fedcore.report.pictures.scales import Axis, Scale, value_axis
from fedcore.report.pictures.svg import WIDTH, element, picture, text_width, title

_TOP, _ROW, _LOW_ROW, _FOOT, _INSET = 26.0, 37.0, 23.0, 22.0, 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class IntervalChart:
    """Rates by group, from top to bottom; `says` describes the picture.

    Attributes:
        min_cell: Groups of fewer rows are hidden.
        reference: The rate over all rows.
        marked: The group that is highlighted.
    """

    rates: Mapping[str, Rate]
    quantity: Quantity
    min_cell: int
    says: str
    reference: float | None = None
    marked: str | None = None

    def draw(self) -> Markup:
        axis = self._axis()
        scale = Scale(low=axis.low, high=axis.high, start=_INSET, end=WIDTH - _INSET)
        heights = [_LOW_ROW if rate.value is None else _ROW for rate in self.rates.values()]
        tops = [_TOP + above for above in accumulate(heights, initial=0.0)]
        bottom = tops[-1] + 3
        ticks = ((scale(tick), self.quantity.tick(tick, axis.step)) for tick in axis.ticks)
        parts = upright_grid(ticks, _TOP, bottom, below=16)
        if self.reference is not None:
            words = f"all rows {self.quantity.text(self.reference)}"
            parts += upright_reference(scale(self.reference), words, _TOP - 10, bottom)
        for (name, rate), top in zip(self.rates.items(), tops, strict=False):
            parts += self._row(name, rate, scale, top)
        return picture(parts, height=bottom + _FOOT, says=self.says)

    def _axis(self) -> Axis:
        ends = [end for rate in self.rates.values() for end in (rate.value, rate.low, rate.high) if end is not None]
        ends += [] if self.reference is None else [self.reference]
        return value_axis(ends, share=self.quantity.share)

    def _row(self, name: str, rate: Rate, scale: Scale, top: float) -> list[Markup]:
        value = rate_text(rate, self.quantity, min_cell=self.min_cell)
        shown = value.partition(" (")[0] if rate.value is None else value
        rows = f"n {count_text(rate.n)}" if rate.value is not None and rate.n else ""
        label = row_name(name, WIDTH - text_width(shown + rows) - 30, top + 13, marked=name == self.marked)
        if rate.value is None:
            missing = element("text", title(value), shown, x=WIDTH, y=top + 13, class_="missing", text_anchor="end")
            return [label, missing]
        return [label, _numbers(value, rows, top + 13), self._interval(name, value, scale, top + 25)]

    def _interval(self, name: str, value: str, scale: Scale, y: float) -> Markup:
        rate = self.rates[name]
        words = interval_text(rate.low, rate.high, self.quantity) or "not defined"
        rows = "" if rate.n is None else f", {count_text(rate.n)} rows"
        hover = title(f"{name}: {value}, interval {words}{rows}")
        marks = []
        if rate.low is not None and rate.high is not None:
            marks += reach(scale(rate.low), scale(rate.high), y, cap=4)
        marks.append(element("circle", cx=scale(rate.value or 0.0), cy=y, r=4.5, class_="dot"))
        return element("g", hover, *marks, class_="interval accent" if name == self.marked else "interval main")


def _numbers(value: str, rows: str, y: float) -> Markup:
    figure = element("tspan", value, class_="figure")
    beside = element("tspan", rows, dx=9) if rows else ""
    return element("text", figure, beside, x=WIDTH, y=y, class_="tick", text_anchor="end")
