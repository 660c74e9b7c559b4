"""Who was asked in which round, and whose reply counted."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from fedcore.report.page.run_record import Rejection, Round
from fedcore.report.page.wording import Quantity
from fedcore.report.pictures.frame import row_name
from fedcore.report.pictures.scales import Scale, round_axis
from fedcore.report.pictures.svg import WIDTH, element, number, path, picture, text, text_width, title

_TOP, _ROW, _FOOT = 6.0, 20.0, 36.0


def participation_chart(clients: Sequence[str], rounds: Sequence[Round], *, says: str) -> Markup:
    """Draw every attempt at a round, for clients from top to bottom."""
    bottom = _TOP + _ROW * len(clients)
    left = min(96.0, max(text_width(name) for name in clients)) + 12
    first, last = rounds[0].number, rounds[-1].number
    x = Scale(low=first - 0.5, high=last + 0.5, start=left, end=WIDTH)
    parts = [*_ticks(first, last, x, bottom)]
    for place, name in enumerate(clients):
        y = _TOP + _ROW * (place + 0.5)
        took_part = [one.number for one in rounds if name in one.counted]
        parts += [row_name(name, left - 10, y + 4), path(_spans(took_part, x, y), "counted")]
        parts += [_mark(each, x, y) for one in rounds for each in one.rejected if each.client == name]
    return picture(parts, height=bottom + _FOOT, says=says)


def _mark(rejection: Rejection, x: Scale, y: float) -> Markup:
    place = x(rejection.round)
    hover = title(f"round {rejection.round}, {rejection.client}: {rejection.code}, {rejection.reason}")
    ground = element("circle", cx=place, cy=y, r=6.5, class_="hole")
    cross = path(f"M{number(place - 3.5)} {number(y - 3.5)}l7 7m0-7l-7 7", "rejected")
    return element("g", hover, ground, cross)


def _spans(rounds: Sequence[int], x: Scale, y: float) -> str:
    strokes: list[list[int]] = []
    for here in rounds:
        if strokes and here <= strokes[-1][1] + 1:
            strokes[-1][1] = here
        else:
            strokes.append([here, here])
    margin = min(1.0, (x(1) - x(0)) / 8)
    return "".join(
        f"M{number(x(first - 0.5) + margin)} {number(y)}H{number(x(last + 0.5) - margin)}" for first, last in strokes
    )


def _ticks(first: int, last: int, x: Scale, bottom: float) -> list[Markup]:
    plain, axis = Quantity(name="round"), round_axis(first, last)
    parts = [
        text(min(x(tick), WIDTH - 7), bottom + 15, plain.tick(tick, 1.0), style="tick", anchor="middle")
        for tick in axis.ticks
    ]
    return [*parts, text((x.start + x.end) / 2, bottom + 31, "round", style="tick", anchor="middle")]
