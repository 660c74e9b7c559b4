"""Running ``fedcore audit data``, from options to exit code."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from fedcore.audit.metrics.gaps import Gap
from fedcore.audit.metrics.rates import Rate
from fedcore.audit.table.columns import kept_rows
from fedcore.audit.table.labels import read_labels
from fedcore.audit.table.options import BiasOptions, crossed
from fedcore.audit.table.representation import BASE_RATE, Representation, represent
from fedcore.audit.table.rows import Labels, Rows
from fedcore.audit.table.text.columns import aligned
from fedcore.audit.verdict.attribute_audit import rate_json
from fedcore.audit.verdict.gap_json import gap_json
from fedcore.tasks.tabular.table import Table, read_table
from fedcore.text.printable import printable, printable_json


def data_command(options: BiasOptions, *, as_json: bool) -> int:
    with Console(stderr=True, highlight=False).status(f"reading {options.table.name} …"):
        table = read_table(options.table)
        rows = read_labels(*kept_rows(table, options), options, to_learn=True)
        empty = _empty_cells(table, leave_out=options.columns)
        found = represent(rows, empty, confidence=options.confidence, min_cell=options.min_cell or 1)
    if as_json:
        print(printable_json(json.dumps(_plain(rows, found), indent=2, ensure_ascii=False, allow_nan=False)))
        return 0
    for line in _text(rows, found, confidence=options.confidence):
        print(printable(line))
    return 0


def at_sites(groups: Sequence[str], site: str | None) -> tuple[str, ...]:
    """Return the groups, and each group without the site crossed with the site."""
    given = [{*crossed(group)} for group in groups]
    wanted = [group for group, parts in zip(groups, given, strict=True) if site not in parts]
    return (*groups, *(f"{group}*{site}" for group in wanted if site and {*crossed(group), site} not in given))


def _empty_cells(table: Table, *, leave_out: tuple[str, ...]) -> dict[str, NDArray[np.bool_]]:
    """The columns with empty cells, except columns of groups, whose empty cells count as unknown."""
    found = {name: table.words(name).codes < 0 for name in table.columns if name not in leave_out}
    return {name: cells for name, cells in found.items() if cells.any()}


def _plain(rows: Rows[Labels], found: Mapping[str, Representation]) -> dict[str, Any]:
    return {
        "source": rows.source,
        "rows": rows.total,
        "favourable": rows.outcomes.names[1],
        "favourable_is_a_guess": rows.outcomes.guessed,
        "groups": {
            attribute: {
                group: {
                    "share": rate_json(share),
                    BASE_RATE: rate_json(each.base_rates[group]),
                    "missing": {column: rate_json(rates[group]) for column, rates in each.missing.items()},
                }
                for group, share in each.shares.items()
            }
            for attribute, each in found.items()
        },
        "gaps": {
            attribute: {metric: gap_json(gap) for metric, gap in each.gaps.items()} for attribute, each in found.items()
        },
        "suppressed": {attribute: sorted(each.suppressed) for attribute, each in found.items()},
        "notes": list(rows.notes),
    }


def _text(rows: Rows[Labels], found: Mapping[str, Representation], *, confidence: float) -> Iterator[str]:
    guess = " (a guess: the last in order; set it with --positive)" if rows.outcomes.guessed else ""
    yield f"{rows.source}: {rows.total:,} rows, favourable label {rows.outcomes.names[1]}{guess}"
    yield f"shares in percent, with intervals of {100 * confidence:g} % confidence in brackets"
    for attribute, each in found.items():
        yield ""
        columns = sorted(each.missing, key=lambda name: -(each.gaps[name].difference or 0.0))
        heading = [attribute, "n", "share", "base rate", *(f"{name} missing" for name in columns[:4])]
        yield from aligned([heading, *(_row(each, group, columns[:4]) for group in each.shares)])
        yield f"  {each.gaps[BASE_RATE].words}{each.gaps[BASE_RATE].interval_words}"
        for name in columns:
            gap = each.gaps[name]
            if gap.difference_low:
                yield f"  {_missing_words(name, gap)}"
        if each.suppressed:
            yield f"  not shown, for too few rows: {', '.join(sorted(each.suppressed))}"
    for note in rows.notes:
        yield f"note: {note}"


def _missing_words(column: str, gap: Gap) -> str:
    """Name the clearest gap of empty cells; the gap's metric is the column, which has no unit."""
    if gap.pair is None:
        return f"{column} missing: no gap"
    sides = (
        f"{side.group} {100 * float(side.rate):.1f} % ({side.count})" for side in (gap.pair.highest, gap.pair.lowest)
    )
    ends = gap.pair.difference
    points = f"{100 * float(gap.pair.apart):.1f} points ({100 * ends.low:.1f} to {100 * ends.high:.1f})"
    return f"{column} missing: {' over '.join(sides)}, {points}"


def _row(each: Representation, group: str, columns: list[str]) -> list[str]:
    rates = [each.shares[group], each.base_rates[group], *(each.missing[name][group] for name in columns)]
    return [group, f"{each.shares[group].successes:,}", *(_percent(rate) for rate in rates)]


def _percent(rate: Rate) -> str:
    if rate.value is None or rate.low is None or rate.high is None:
        return "-"
    return f"{100 * rate.value:.1f} ({100 * rate.low:.1f}-{100 * rate.high:.1f})"
