"""The page that shows several runs side by side: one HTML document without external references."""

from __future__ import annotations

from collections.abc import Sequence

from fedcore import __version__
from fedcore.report.comparison.configurations import Configuration
from fedcore.report.comparison.curves import curve_figures, drawn
from fedcore.report.comparison.table import cells, heading
from fedcore.report.page.page import template
from fedcore.report.pictures.figures import Table
from fedcore.text.wording import counted


def render_comparison(configurations: Sequence[Configuration], *, notes: Sequence[str] = ()) -> str:
    """Return the page.

    Args:
        notes: Sentences for the reader, such as what ε does not cover.
    """
    runs = [run for configuration in configurations for run in configuration.runs]
    headline = next((run.headline for run in runs if run.headline), None)
    shown = drawn(configurations, headline or "")
    rows = [[one.mark, *row] for one, row in zip(shown, cells(configurations), strict=True)]
    faint = sum(one.weight == "faint" for one in shown)
    return template("comparison.html.j2").render(
        title=runs[0].task,
        facts=f"{counted(len(runs), 'run')} · {counted(len(configurations), 'configuration')}",
        notes=notes,
        legend=shown,
        faint=faint,
        figures=curve_figures([one for one in shown if headline in one.configuration.figures], headline)
        if headline
        else [],
        table=Table(columns=["", *heading(configurations)], rows=rows),
        names=[run.name for run in runs],
        origin=[("versions", f"fedcore {__version__}")],
    )
