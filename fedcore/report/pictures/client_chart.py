"""The spread of a metric over the clients: a row for each of a few, a strip by rank for many."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from markupsafe import Markup

from fedcore.report.page.wording import Quantity
from fedcore.report.pictures.frame import level_grid, row_name, upright_grid, upright_reference
from fedcore.report.pictures.scales import Axis, Scale, value_axis
from fedcore.report.pictures.svg import WIDTH, element, number, path, picture, text, text_width, title
from fedcore.text.wording import counted

MOST_ROWS = 16
_TOP, _ROW, _FOOT = 26.0, 23.0, 24.0
_HEIGHT, _FLOOR = 250.0, 40.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientValue:
    """One client's result over `n` rows; `marked` if among the worst tenth."""

    name: str
    value: float
    n: int
    marked: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientChart:
    """`says` describes the picture; the worst of one or more clients comes first."""

    clients: Sequence[ClientValue]
    quantity: Quantity
    says: str

    def draw(self) -> Markup:
        return self._rows() if len(self.clients) <= MOST_ROWS else self._strip()

    def _axis(self, steps: int) -> Axis:
        return value_axis([client.value for client in self.clients], share=self.quantity.share, target=steps)

    def _rows(self) -> Markup:
        axis, bottom = self._axis(3), _TOP + _ROW * len(self.clients)
        left = min(96.0, max(text_width(client.name) for client in self.clients)) + 12
        figures = [self.quantity.text(client.value) for client in self.clients]
        x = Scale(low=axis.low, high=axis.high, start=left + 6, end=WIDTH - max(map(text_width, figures)) - 16)
        ticks = ((x(tick), self.quantity.tick(tick, axis.step)) for tick in axis.ticks)
        parts = [*upright_grid(ticks, _TOP, bottom, below=17), *self._middle(x, bottom)]
        for place, (client, figure) in enumerate(zip(self.clients, figures, strict=True)):
            y = _TOP + _ROW * (place + 0.5)
            parts.append(row_name(client.name, left - 8, y + 4, marked=client.marked))
            parts.append(path(f"M{number(x.start)} {number(y)}H{number(x.end)}", "grid"))
            parts.append(self._dot(client, x(client.value), y))
            parts.append(text(WIDTH, y + 4, figure, style="figure accent" if client.marked else "figure", anchor="end"))
        return picture(parts, height=bottom + _FOOT, says=self.says)

    def _middle(self, x: Scale, bottom: float) -> list[Markup]:
        if len(self.clients) < 3:
            return []
        level = median(client.value for client in self.clients)
        return upright_reference(x(level), f"median {self.quantity.text(level)}", _TOP - 10, bottom)

    def _strip(self) -> Markup:
        axis = self._axis(4)
        left = max(text_width(self.quantity.tick(tick, axis.step), 11) for tick in axis.ticks) + 12
        y = Scale(low=axis.low, high=axis.high, start=_HEIGHT - _FLOOR, end=18)
        x = Scale(low=0, high=len(self.clients) - 1, start=left + 10, end=WIDTH - 10)
        ticks = ((y(tick), self.quantity.tick(tick, axis.step)) for tick in axis.ticks)
        parts = [*level_grid(ticks, left, WIDTH, beside=6), *self._worst(x, y), *self._level(y, left)]
        dots = [self._dot(client, x(rank), y(client.value)) for rank, client in enumerate(self.clients)]
        parts.append(element("g", *dots, class_="many" if len(dots) > 40 else None))
        words = f"{counted(len(self.clients), 'client')}, the worst first"
        parts.append(text((left + WIDTH) / 2, _HEIGHT - 8, words, style="tick", anchor="middle"))
        return picture(parts, height=_HEIGHT, says=self.says)

    def _worst(self, x: Scale, y: Scale) -> list[Markup]:
        worst = sum(client.marked for client in self.clients)
        start, end = x(0) - 8, (x(worst - 1) + x(worst)) / 2
        ground = element("rect", x=start, y=y.end - 6, width=end - start, height=y.start - y.end + 6, class_="ground")
        return [ground, text(start, y.start + 15, f"worst {worst}", style="name accent")]

    def _level(self, y: Scale, left: float) -> list[Markup]:
        level = median(client.value for client in self.clients)
        line = path(f"M{number(left)} {number(y(level))}H{number(WIDTH)}", "reference")
        words = f"median {self.quantity.text(level)}"
        # The strip rises from left to right (or falls, for a cost), so the corner over (under) its end is free.
        return [
            line,
            text(WIDTH, y(level) + (-6 if self.quantity.cost else 15), words, style="tick", anchor="end"),
        ]

    def _dot(self, client: ClientValue, x: float, y: float) -> Markup:
        largest = max(1, *(one.n for one in self.clients)) if len(self.clients) > 1 else max(1, client.n)
        radius = 2.6 + 4.4 * math.sqrt(client.n / largest)
        if len(self.clients) > MOST_ROWS:
            radius *= 0.75
        hover = f"{client.name}: {self.quantity.text(client.value)} on {counted(client.n, 'row')}"
        style = "client accent" if client.marked else "client main"
        return element("circle", title(hover), cx=x, cy=y, r=radius, class_=style)
