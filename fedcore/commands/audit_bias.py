"""``fedcore audit bias``. Imports nothing slow: help must be instant."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def bias(  # noqa: PLR0917 - typer reads the options from the signature
    table: Annotated[Path, typer.Argument(metavar="TABLE", help="A .csv or .parquet file, one line per row or count.")],
    group: Annotated[list[str], typer.Option(metavar="COL", help="Groups to compare; a*b crosses two; repeatable.")],
    bands: Annotated[
        list[str] | None, typer.Option(metavar="COL=EDGE,…", help="Bands of a numeric group, as age=30,50; repeatable.")
    ] = None,
    reference: Annotated[
        list[str] | None,
        typer.Option(metavar="COL=GROUP", help="Compare the other groups of COL with this one; repeatable."),
    ] = None,
    label: Annotated[
        str | None, typer.Option(metavar="COL", help="What turned out true; without it only selection is compared.")
    ] = None,
    score: Annotated[str | None, typer.Option(metavar="COL", help="The model's scores, cut at the threshold.")] = None,
    prediction: Annotated[
        str | None, typer.Option(metavar="COL", help="Or its decisions, in the label's words.")
    ] = None,
    kind: Annotated[
        str,
        typer.Option(
            metavar="KIND",
            help="classification, or regression: how far numbers are off.",
        ),
    ] = "classification",
    weight: Annotated[
        str | None, typer.Option(metavar="COL", help="What a line counts as; fractions: sampling weights.")
    ] = None,
    threshold: Annotated[
        float | None, typer.Option(metavar="T", help="Selected is a score of at least T; default: mid-range.")
    ] = None,
    positive: Annotated[
        str | None, typer.Option(metavar="V", help="The favourable label; default: the last in order, as 1 of 0, 1.")
    ] = None,
    site: Annotated[str | None, typer.Option(metavar="COL", help="Where a row comes from: splits every gap.")] = None,
    limit: Annotated[
        list[str] | None,
        typer.Option(
            metavar="LIMIT",
            help="[COL:]METRIC<=X for a difference, >=X for a ratio, min(METRIC)>=X or max(METRIC)<=X for every group; "
            "repeatable.",
        ),
    ] = None,
    profile: Annotated[
        str | None,
        typer.Option(help="What rules ask for: nyc-ll144, us-four-fifths, eu-ai-act, nist-ai-rmf, model-card."),
    ] = None,
    missing: Annotated[
        str, typer.Option(metavar="POLICY", help="Rows without label, score or decision: refuse, or drop (counted).")
    ] = "refuse",
    encoding: Annotated[str, typer.Option(help="Of a CSV file, as utf-16, latin-1 or cp1252.")] = "utf-8",
    score_range: Annotated[str, typer.Option(metavar="LOW,HIGH", help="Ends of the scores' range.")] = "0,1",
    min_cell: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Hide groups and rates of fewer rows, on the screen too; default: 10 in files and documents, and "
            "nothing hidden on the screen.",
            show_default=False,
        ),
    ] = None,
    min_rows: Annotated[int, typer.Option(min=0, help="Groups of fewer rows are shown, and not judged.")] = 0,
    min_share: Annotated[
        float | None,
        typer.Option(
            metavar="SHARE",
            help="Groups of a smaller share of the rows are shown, and not judged; with us-four-fifths 0.02.",
            show_default=False,
        ),
    ] = None,
    confidence: Annotated[float, typer.Option(help="Of every interval.")] = 0.95,
    fail_on_inconclusive: Annotated[
        bool, typer.Option("--fail-on-inconclusive", help="Exit with 4 where the evidence does not suffice.")
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Also write audit.html, bias.json and .txt, a profile's bias.md; without small cells."
        ),
    ] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Print every metric and gap, as the files have them.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON alone.")] = False,
) -> None:
    """Compare how a model's decisions serve groups of people, with intervals, in any table of rows or counts.

    The verdict comes first, then a short table for each attribute; --all prints the rest. Nothing is trained and
    nothing leaves this machine. Exit code 3 where a limit is broken beyond doubt.

    Examples:
      fedcore audit bias scored.csv --label repaid --score p --group sex --group 'sex*race'
      fedcore audit bias counts.csv --prediction hired --weight n --group race --limit 'impact_ratio>=0.8'
      fedcore audit bias priced.csv --kind regression --label paid --prediction offered --group region
    """
    given = dict(locals())
    from fedcore.commands.audit_bias_run import bias_command

    raise typer.Exit(bias_command(**given))
