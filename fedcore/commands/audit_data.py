"""``fedcore audit data``. Imports nothing slow: help must be instant."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def data(  # noqa: PLR0917 - typer reads the options from the signature
    table: Annotated[Path, typer.Argument(metavar="TABLE", help="A .csv or .parquet file, one line per row or count.")],
    group: Annotated[list[str], typer.Option(metavar="COL", help="Groups to compare; a*b crosses two; repeatable.")],
    label: Annotated[str, typer.Option(metavar="COL", help="Label to be learned.")],
    positive: Annotated[
        str | None, typer.Option(metavar="V", help="The favourable label; default: the last in order, as 1 of 0, 1.")
    ] = None,
    weight: Annotated[str | None, typer.Option(metavar="COL", help="Number of rows that each line stands for.")] = None,
    site: Annotated[
        str | None, typer.Option(metavar="COL", help="Where a row comes from: crosses every group with it.")
    ] = None,
    min_cell: Annotated[int, typer.Option(min=1, help="Hide groups of fewer rows.")] = 1,
    confidence: Annotated[float, typer.Option(help="Of every interval.")] = 0.95,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON alone.")] = False,
) -> None:
    """Show how a table represents groups before training: sizes, labels, and missing values by group.

    Example:
      fedcore audit data train.csv --label income --group sex --group 'sex*race' --site hospital
    """
    from fedcore.audit.table.options import BiasOptions
    from fedcore.commands.audit_data_run import at_sites, data_command

    options = BiasOptions(
        table=table,
        prediction=label,
        groups=at_sites(group, site),
        positive=positive,
        weight=weight,
        min_cell=min_cell,
        confidence=confidence,
    )
    raise typer.Exit(data_command(options, as_json=as_json))
