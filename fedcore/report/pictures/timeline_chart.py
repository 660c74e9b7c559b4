"""Who trained when, in simulated time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from fedcore.report.page.wording import Quantity
from fedcore.report.pictures.frame import row_name, upright_grid
from fedcore.report.pictures.scales import Scale, value_axis
from fedcore.report.pictures.svg import WIDTH, element, number, path, picture, text, text_width, title

_TOP, _ROW, _FOOT, _SHORTEST = 6.0, 14.0, 36.0, 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """A client's work for one round.

    Attributes:
        begin: Seconds of simulated time, as `end`.
        code: Why it was lost; empty where it counted.
    """

    client: str
    round: int
    begin: float
    end: float
    code: str = ""


def timeline_chart(spans: Sequence[Span], closings: Sequence[float], *, says: str) -> Markup:
    """Draw a row for each client, in the order in which they first began.

    Args:
        closings: When each round was closed.
    """
    clients = list(dict.fromkeys(span.client for span in sorted(spans, key=lambda span: (span.begin, span.client))))
    bottom = _TOP + _ROW * len(clients)
    left = min(96.0, max(text_width(name) for name in clients)) + 12
    axis = value_axis([0.0, *closings], share=False, zero=True)
    x, plain = Scale(low=axis.low, high=axis.high, start=left, end=WIDTH - 8), Quantity(name="")
    grid = upright_grid(((x(tick), plain.tick(tick, axis.step)) for tick in axis.ticks), _TOP, bottom, below=15)
    ends = path("".join(f"M{number(x(end))} {number(_TOP)}V{number(bottom)}" for end in closings), "reference")
    middle = text((x.start + x.end) / 2, bottom + 31, "simulated seconds", style="tick", anchor="middle")
    heights = {name: _TOP + _ROW * (place + 0.5) for place, name in enumerate(clients)}
    names = [row_name(name, left - 10, y + 4) for name, y in heights.items()]
    return picture(
        [*grid, ends, middle, *names, *(_stroke(span, x, heights[span.client]) for span in spans)],
        height=bottom + _FOOT,
        says=says,
    )


def _stroke(span: Span, x: Scale, y: float) -> Markup:
    begin, end = x(span.begin), max(x(span.end), x(span.begin) + _SHORTEST)
    hover = title(f"round {span.round}, {span.client}: {span.begin:.4g} to {span.end:.4g} s, {span.code or 'counted'}")
    line = path(f"M{number(begin)} {number(y)}H{number(end)}", "rejected" if span.code else "counted")
    return element("g", hover, line)
