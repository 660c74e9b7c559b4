"""Share of favourable labels by score, for each group, with the diagonal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from fedcore.report.page.wording import Quantity, count_text
from fedcore.report.pictures.frame import level_grid
from fedcore.report.pictures.scales import Scale, spread
from fedcore.report.pictures.svg import WIDTH, element, number, path, picture, shortened, text, title

_HEIGHT, _TOP, _LEFT, _FOOT, _NAMES, _APART = 250.0, 12.0, 46.0, 38.0, 84.0, 3.0
_TICKS = (0.0, 0.25, 0.5, 0.75, 1.0)
_SHARE = Quantity(name="share of favourable labels", share=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibrationCurve:
    """One group.

    Attributes:
        bins: ``{score, value, low, high, n}`` of rising mean score.
        weight: ``main``, ``accent`` (highlighted) or ``faint``.
    """

    name: str
    bins: Sequence[Mapping[str, float]]
    weight: str = "main"


def calibration_chart(curves: Sequence[CalibrationCurve], *, says: str) -> Markup:
    """Draw curves, later ones over earlier ones; none is empty."""
    x = Scale(low=0.0, high=1.0, start=_LEFT, end=WIDTH - _NAMES)
    y = Scale(low=0.0, high=1.0, start=_HEIGHT - _FOOT, end=_TOP)
    parts = [*_grid(x, y)]
    for place, curve in enumerate(curves):
        # side by side, since the bins of all groups have similar scores
        parts.append(_curve(curve, x, y, _APART * (place - (len(curves) - 1) / 2)))
    return picture([*parts, *_names(curves, x, y)], height=_HEIGHT, says=says)


def _grid(x: Scale, y: Scale) -> list[Markup]:
    parts = []
    for tick in _TICKS:
        parts += level_grid([(y(tick), _SHARE.tick(tick, 0.25))], x.start, x.end)
        parts.append(text(x(tick), y.start + 17, f"{tick:g}", style="tick", anchor="middle"))
    diagonal = f"M{number(x.start)} {number(y.start)}L{number(x.end)} {number(y.end)}"
    middle = (x.start + x.end) / 2
    return [*parts, path(diagonal, "reference"), text(middle, _HEIGHT - 5, "score", style="tick", anchor="middle")]


def _curve(curve: CalibrationCurve, x: Scale, y: Scale, aside: float) -> Markup:
    places = [(x(one["score"]) + aside, y(one["value"])) for one in curve.bins]
    line = path("M" + "L".join(f"{number(left)} {number(top)}" for left, top in places), f"line {curve.weight}")
    marks = [_mark(curve, one, place, y) for one, place in zip(curve.bins, places, strict=True)]
    return element("g", line, *marks)


def _mark(curve: CalibrationCurve, one: Mapping[str, float], place: tuple[float, float], y: Scale) -> Markup:
    low, high, left = y(one["low"]), y(one["high"]), number(place[0])
    hover = (
        f"{curve.name}: score {one['score']:.2f}, {_SHARE.text(one['value'])} favourable "
        f"({_SHARE.text(one['low'])} to {_SHARE.text(one['high'])}), {count_text(one['n'])} rows"
    )
    reach = path(f"M{left} {number(low)}V{number(high)}", "reach")
    dot = element("circle", cx=place[0], cy=place[1], r=3.6, class_="dot")
    return element("g", title(hover), reach, dot, class_=f"interval {curve.weight}")


def _names(curves: Sequence[CalibrationCurve], x: Scale, y: Scale) -> list[Markup]:
    """Return the names at the curves' ends, moved apart if they would overlap."""
    ends = [(x(curve.bins[-1]["score"]), y(curve.bins[-1]["value"])) for curve in curves]
    places = spread([top for _, top in ends], apart=14, low=_TOP + 4, high=y.start)
    parts = []
    for curve, (left, top), place in zip(curves, ends, places, strict=True):
        parts.append(path(f"M{number(left + 6)} {number(top)}L{number(x.end + 6)} {number(place)}", "leader"))
        parts.append(text(x.end + 8, place + 4, shortened(curve.name, _NAMES - 10), style=f"name {curve.weight}"))
    return parts
