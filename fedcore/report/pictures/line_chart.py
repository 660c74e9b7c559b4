"""Curves over the rounds, each named at its end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from markupsafe import Markup

from fedcore.report.page.wording import Quantity
from fedcore.report.pictures.frame import level_grid
from fedcore.report.pictures.scales import Axis, Scale, round_axis, spread, thinned, value_axis
from fedcore.report.pictures.svg import WIDTH, element, number, path, picture, shortened, text, text_width, title

_HEIGHT, _TOP, _FOOT = 226.0, 20.0, 38.0
_MOST_NAMES, _MOST_BANDS, _CLOSE = 7, 100, 16.0

Weight = Literal["main", "accent", "faint", "s1", "s2", "s3", "s4", "s5", "s6", "s7", "s8"]
"""How a curve is drawn: ``s1`` to ``s8`` are colours of equal weight, where many runs are compared."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """One curve; `weight` is ``main``, ``accent`` (highlighted), ``faint`` or a colour; None leaves a gap."""

    name: str
    points: Sequence[tuple[float, float | None]]
    weight: Weight = "main"

    @property
    def drawn(self) -> list[tuple[float, float]]:
        return [(x, value) for x, value in self.points if value is not None]


@dataclass(frozen=True, slots=True, kw_only=True)
class LineChart:
    """What is drawn.

    Attributes:
        curves: Later ones are drawn over earlier ones.
        reference: A reference level and its name.
        mark: A marked place on the horizontal axis and its name.
        beside: Whether short names are beside the curves' ends, which may be far from the margin.
    """

    curves: Sequence[Curve]
    quantity: Quantity
    says: str
    across: str = "round"
    rounds: bool = True
    zero: bool = False
    reference: tuple[float, str] | None = None
    mark: tuple[float, str] | None = None
    beside: bool = False

    def draw(self) -> Markup:
        frame = _frame(self)
        parts = [
            *_vertical_axis(self, frame),
            *_horizontal_axis(self, frame),
            *_reference(self, frame),
            *_mark(self, frame),
        ]
        parts += [_curve(curve, frame) for curve in self.curves]
        parts += [_bands(self, frame), *(_names_beside(self, frame) if self.beside else _names(self, frame))]
        return picture(parts, height=_HEIGHT, says=self.says)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Frame:
    x: Scale
    y: Scale
    across: Axis
    up: Axis


def _frame(chart: LineChart) -> _Frame:
    values = [value for curve in chart.curves for _, value in curve.drawn]
    values += [chart.reference[0]] if chart.reference else []
    places = [x for curve in chart.curves for x, _ in curve.points] or [1.0]
    up = value_axis(values, share=chart.quantity.share, zero=chart.zero)
    across = round_axis(round(min(places)), round(max(places))) if chart.rounds else value_axis(places, share=False)
    left = max(text_width(chart.quantity.tick(tick, up.step), 11) for tick in up.ticks) + 8
    right = WIDTH - max(text_width(_end_name(chart, curve)) for curve in chart.curves) - 10
    alone = len(across.ticks) == 1
    return _Frame(
        x=Scale(
            low=across.low - (0.5 if alone else 0),
            high=across.high + (0.5 if alone else 0),
            start=left + 4,
            end=right,
        ),
        y=Scale(low=up.low, high=up.high, start=_HEIGHT - _FOOT, end=_TOP),
        across=across,
        up=up,
    )


def _vertical_axis(chart: LineChart, frame: _Frame) -> list[Markup]:
    ticks = ((frame.y(tick), chart.quantity.tick(tick, frame.up.step)) for tick in frame.up.ticks)
    return level_grid(ticks, frame.x.start, frame.x.end)


def _horizontal_axis(chart: LineChart, frame: _Frame) -> list[Markup]:
    plain = Quantity(name=chart.across)
    parts = [
        text(
            frame.x(tick),
            _HEIGHT - _FOOT + 17,
            plain.tick(tick, frame.across.step),
            style="tick",
            anchor="middle",
        )
        for tick in frame.across.ticks
    ]
    middle = (frame.x.start + frame.x.end) / 2
    return [*parts, text(middle, _HEIGHT - 5, chart.across, style="tick", anchor="middle")]


def _reference(chart: LineChart, frame: _Frame) -> list[Markup]:
    if chart.reference is None:
        return []
    y = frame.y(chart.reference[0])
    line = path(f"M{number(frame.x.start)} {number(y)}H{number(frame.x.end)}", "reference")
    return [line, text(frame.x.start + 2, y - 5, chart.reference[1], style="tick")]


def _mark(chart: LineChart, frame: _Frame) -> list[Markup]:
    """Return a vertical line at the marked place, named above the curves."""
    if chart.mark is None:
        return []
    x, name = frame.x(chart.mark[0]), chart.mark[1]
    line = path(f"M{number(x)} {number(_TOP)}V{number(_HEIGHT - _FOOT)}", "reference")
    return [line, text(x, _TOP - 6, name, style="tick", anchor="middle")]


def _curve(curve: Curve, frame: _Frame) -> Markup:
    """Return the line, broken at missing values; isolated points are dots."""
    written, pen_down = [], False
    for x, value in curve.points:
        if value is not None:
            written.append(f"{'L' if pen_down else 'M'}{number(frame.x(x))} {number(frame.y(value))}")
        pen_down = value is not None
    line = path("".join(written), f"line {curve.weight}")
    if not curve.drawn:
        return line
    x, value = curve.drawn[-1]
    dot = element("circle", cx=frame.x(x), cy=frame.y(value), r=3.2, class_=f"dot {curve.weight}")
    return element("g", line, dot)


def _bands(chart: LineChart, frame: _Frame) -> Markup:
    """Return an invisible band for each place, which shows and marks its values on hover."""
    places = sorted({x for curve in chart.curves for x, _ in curve.drawn})
    places = [places[k] for k in thinned(len(places), at_most=_MOST_BANDS)]
    width = (frame.x.end - frame.x.start) / max(len(places), 2)
    values = [(curve, dict(curve.drawn)) for curve in chart.curves]
    bands = []
    for x in places:
        here = [(curve.name, found[x]) for curve, found in values if x in found]
        text = ", ".join(f"{name} {chart.quantity.text(value)}".strip() for name, value in here)
        place = Quantity(name=chart.across).text(x) if not chart.rounds else f"{x:g}"
        upright = f"M{number(frame.x(x))} {number(_TOP)}V{number(_HEIGHT - _FOOT)}"
        bands.append(element("path", title(f"{chart.across} {place}: {text}"), d=upright))
        dots = "".join(f"M{number(frame.x(x))} {number(frame.y(value))}h0" for _, value in here)
        bands.append(element("path", d=dots))
    return element("g", *bands, class_="bands", style=f"stroke-width:{number(width)}px")


def _names(chart: LineChart, frame: _Frame) -> list[Markup]:
    """Return the names at the curves' ends, moved apart if they would overlap."""
    named = [curve for curve in chart.curves if curve.drawn and _end_name(chart, curve)]
    ends = [(frame.x(curve.drawn[-1][0]), frame.y(curve.drawn[-1][1])) for curve in named]
    places = spread([y for _, y in ends], apart=14, low=_TOP, high=_HEIGHT - _FOOT)
    parts = []
    for curve, (x, y), place in zip(named, ends, places, strict=True):
        if abs(place - y) > 3:
            end = frame.x.end + 7
            parts.append(path(f"M{number(x + 4)} {number(y)}L{number(end)} {number(place)}", "leader"))
        name = _end_name(chart, curve)
        style = f"name {curve.weight}"
        parts.append(text(frame.x.end + 9, place + 4, name, style=style))
    return parts


def _names_beside(chart: LineChart, frame: _Frame) -> list[Markup]:
    """Return the names right of the curves' ends, moved apart where ends are close together."""
    named = [curve for curve in chart.curves if curve.drawn and _end_name(chart, curve)]
    ends = sorted(((frame.x(curve.drawn[-1][0]), curve) for curve in named), key=lambda end: end[0])
    parts, close = [], list[tuple[float, Curve]]()
    for end, following in zip(ends, [*ends[1:], None], strict=True):
        close.append(end)
        if following is not None and following[0] - end[0] < _CLOSE:
            continue
        heights = [frame.y(curve.drawn[-1][1]) for _, curve in close]
        places = spread(heights, apart=12, low=_TOP, high=_HEIGHT - _FOOT)
        right = max(x for x, _ in close)
        parts += [
            text(right + 7, place + 4, _end_name(chart, curve), style=f"name {curve.weight}")
            for (_, curve), place in zip(close, places, strict=True)
        ]
        close = []
    return parts


def _end_name(chart: LineChart, curve: Curve) -> str:
    if len(chart.curves) == 1:
        return chart.quantity.text(curve.drawn[-1][1]) if curve.drawn else ""
    if len(chart.curves) > _MOST_NAMES and curve.weight == "faint":
        return ""
    return shortened(curve.name, 94)
