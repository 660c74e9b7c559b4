"""Common parts of pictures: grids with labels, reference lines, intervals, and names of rows."""

from __future__ import annotations

from collections.abc import Iterable

from markupsafe import Markup

from fedcore.report.pictures.svg import WIDTH, element, number, path, shortened, text, text_width, title


def upright_grid(ticks: Iterable[tuple[float, str]], top: float, bottom: float, *, below: float) -> list[Markup]:
    """Return a vertical line at each place, with its label `below`."""
    parts = []
    for x, words in ticks:
        parts.append(path(f"M{number(x)} {number(top)}V{number(bottom)}", "grid"))
        parts.append(text(_inside(x, words), bottom + below, words, style="tick", anchor="middle"))
    return parts


def level_grid(ticks: Iterable[tuple[float, str]], start: float, end: float, *, beside: float = 7) -> list[Markup]:
    """Return a horizontal line at each height, with its label to the left."""
    parts = []
    for y, words in ticks:
        parts.append(path(f"M{number(start)} {number(y)}H{number(end)}", "grid"))
        parts.append(text(start - beside, y + 4, words, style="tick", anchor="end"))
    return parts


def upright_reference(x: float, words: str, top: float, bottom: float) -> list[Markup]:
    """Return a vertical reference line, named at the top of the picture."""
    line = path(f"M{number(x)} {number(top)}V{number(bottom)}", "reference")
    return [line, text(_inside(x, words), 11, words, style="tick", anchor="middle")]


def reach(low: float, high: float, y: float, *, cap: float) -> list[Markup]:
    ends = f"M{number(low)} {number(y - cap)}v{2 * cap:g}M{number(high)} {number(y - cap)}v{2 * cap:g}"
    return [path(f"M{number(low)} {number(y)}H{number(high)}", "reach"), path(ends, "cap")]


def row_name(name: str, width: float, y: float, *, marked: bool = False) -> Markup:
    """Return the name of a row, shortened to a width, in full on hover."""
    style = "name accent" if marked else "name"
    return element("text", title(name), shortened(name, width), x=0.0, y=y, class_=style)


def _inside(x: float, words: str) -> float:
    half = text_width(words, 11) / 2
    return min(WIDTH - half, max(half, x))
