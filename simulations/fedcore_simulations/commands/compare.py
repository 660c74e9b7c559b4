"""The subcommand ``compare``. Imports nothing heavy: help must be instant."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Runs = Annotated[
    list[Path],
    typer.Argument(metavar="RUN...", help="Directories of finished runs, or of sweeps.", show_default=False),
]
Csv = Annotated[Path | None, typer.Option("--csv", metavar="FILE", help="Write the table as CSV.")]
Html = Annotated[
    Path | None,
    typer.Option("--html", metavar="FILE", help="Write one page with the table and overlaid curves."),
]
Json = Annotated[bool, typer.Option("--json", help="Print the rows of the table as JSON.")]


def compare(runs: Runs, csv: Csv = None, html: Html = None, as_json: Json = False) -> None:
    """Compare finished runs of one task: mean and 95 % interval over the runs that differ in the seed alone.

    The columns are the settings that vary, found in the plans of the runs. In Python: from fedcore_simulations import
    compare; compare([...]).frame is the same table.

    Examples:
      fedcore compare runs/digits-0001 runs/digits-0002
      fedcore compare runs/sweep-digits-0001 --csv table.csv --html comparison.html
    """
    import json
    import sys

    from fedcore_simulations.study.compare import compare as compare_runs

    found = compare_runs(runs)
    print(json.dumps(found.rows, indent=2, ensure_ascii=False) if as_json else found)
    for note in found.notes:
        print(f"note: {note}", file=sys.stderr)
    for path in (csv and found.write_csv(csv), html and found.write_html(html)):
        if path:
            print(path, file=sys.stderr)
