"""How many rows of each category each client holds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from fedcore.report.pictures.frame import row_name
from fedcore.report.pictures.svg import WIDTH, element, picture, shortened, text, text_width, title
from fedcore.text.wording import counted

MOST_COUNTED = 24  # rows up to which counts and every name are written
_TOP, _TOTAL, _GAP = 24.0, 46.0, 8.0


@dataclass(frozen=True, slots=True, kw_only=True)
class HeatMap:
    """Counts of shape (rows, columns), shaded by their share of the row; `says` describes the picture."""

    rows: Sequence[str]
    columns: Sequence[str]
    counts: Sequence[Sequence[int]]
    says: str

    def draw(self) -> Markup:
        grid = _grid(self)
        bottom = _TOP + grid.height * len(self.rows)
        parts = [*self._column_names(grid), text(WIDTH, 12, "rows", style="tick", anchor="end")]
        for place, name in enumerate(self.rows):
            parts += self._row(place, name, grid)
        return picture(parts, height=bottom + 4, says=self.says)

    def _column_names(self, grid: _Grid) -> list[Markup]:
        every = max(1, -(-int(max(text_width(name, 11) for name in self.columns) + 5) // int(grid.width)))
        every = every if len(self.columns) > 8 else 1
        return [
            element(
                "text",
                title(name),
                shortened(name, grid.width * every - 3, 11),
                x=grid.left + grid.width * (place + 0.5),
                y=12.0,
                class_="tick",
                text_anchor="middle",
            )
            for place, name in enumerate(self.columns)
            if place % every == 0
        ]

    def _row(self, place: int, name: str, grid: _Grid) -> list[Markup]:
        top, total = _TOP - 4 + grid.height * place, sum(self.counts[place])
        parts = [self._cell(place, column, top, grid) for column in range(len(self.columns))]
        if len(self.rows) > MOST_COUNTED and place % 5:
            return parts
        line = top + grid.height / 2 + 4
        parts.append(row_name(name, grid.left - _GAP, line))
        parts.append(text(WIDTH, line, f"{total:,}", style="figure", anchor="end"))
        return parts

    def _largest_share(self) -> float:
        """Return the largest share of a category in a row, which gets the full shade."""
        return max((max(row) / sum(row) for row in self.counts if sum(row)), default=1.0)

    def _cell(self, place: int, column: int, top: float, grid: _Grid) -> Markup:
        count = self.counts[place][column]
        share = count / max(1, sum(self.counts[place])) / self._largest_share()
        left = grid.left + grid.width * column
        hover = title(f"{self.rows[place]}, {self.columns[column]}: {counted(count, 'row')}")
        edge = 1.5 if grid.height > 12 else 0.5
        cell = element(
            "rect",
            hover,
            x=left,
            y=top,
            width=grid.width - edge,
            height=grid.height - edge,
            class_="cell",
            fill_opacity=f"{0.06 + 0.94 * share:.2f}" if count else "0.03",
        )
        words = f"{count:,}"
        if len(self.rows) > MOST_COUNTED or text_width(words, 10.5) > grid.width - 3:
            return cell
        style = ("count strong" if share > 0.8 else "count") if count else "count none"
        middle = left + (grid.width - edge) / 2
        return cell + text(middle, top + grid.height / 2 + 3, words, style=style, anchor="middle")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Grid:
    left: float
    width: float
    height: float


def _grid(chart: HeatMap) -> _Grid:
    left = min(92.0, max(text_width(name) for name in chart.rows)) + _GAP
    width = min(120.0, (WIDTH - _TOTAL - left) / len(chart.columns))
    height = 24.0 if len(chart.rows) <= 12 else 20.0
    if len(chart.rows) > MOST_COUNTED:
        height = min(12.0, max(8.0, 420.0 / len(chart.rows)))
    return _Grid(left=left, width=width, height=height)
