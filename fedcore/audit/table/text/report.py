"""The audit of a table as plain text, for a terminal and for a file."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from fedcore.audit.metrics.catalogue import CATALOGUE, shown_in
from fedcore.audit.metrics.estimates import Measure
from fedcore.audit.metrics.rates import Rate
from fedcore.audit.table.by_site import site_splits, split_lines
from fedcore.audit.table.comparisons import class_lines, distance_lines, points_words, reference_lines
from fedcore.audit.table.favourable import guess_words
from fedcore.audit.table.profile_tables import profile_lines
from fedcore.audit.table.result import BiasResult
from fedcore.audit.table.text.columns import aligned
from fedcore.audit.table.text.group_notes import MANY
from fedcore.audit.table.text.verdict import MORE, verdict_lines
from fedcore.audit.tables.groups import UNKNOWN
from fedcore.audit.verdict.gap_words import gap_line
from fedcore.text.figures import figure_text
from fedcore.text.printable import printable

_RATES = [name for name in shown_in("full text") if not CATALOGUE[name].estimate]
_OF_ALL_ROWS = [name for name in _RATES if (CATALOGUE[name].cells or ("", "rows"))[1] == "rows"]
_BLOCKS = (_OF_ALL_ROWS, [name for name in _RATES if name not in _OF_ALL_ROWS])
_LONGEST_NAME = 28
NOT_SHOWN = "not shown"


def readable(result: BiasResult, *, everything: bool = False) -> str:
    """Return the verdict and a table for each attribute, line by line; with ``everything`` all that was measured."""
    lines = [*_verdict(result), "", *_head(result)]
    for attribute in result.audits:
        lines += ["", *(_attribute(result, attribute) if everything else _short(result, attribute))]
    if result.options.profile is not None:
        lines += ["", *profile_lines(result)]
    notes = result.notes if everything else result.notes_on([m for block in _brief(result) for m in block])
    if notes:
        lines += ["", *(f"note: {note}" for note in notes)]
    return "\n".join(map(printable, [*lines, *([] if everything else ["", MORE])])) + "\n"


def _brief(result: BiasResult) -> list[list[str]]:
    """Return the metrics of the short table: who is selected, and with labels how rightly."""
    return [[metric for metric in shown_in("text") if metric in result.metrics]]


def _short(result: BiasResult, attribute: str) -> Iterator[str]:
    """Return one table, the gaps of its metrics, and what was asked for besides."""
    shown = result.shown[attribute]
    (metrics,) = _brief(result)
    yield from _block(result, attribute, [*metrics[:1], "impact_ratio", *metrics[1:]] if len(metrics) < 3 else metrics)
    yield ""
    yield from (f"  {line}" for line in _gaps_of(result, attribute, metrics))
    yield from class_lines(shown)
    yield from reference_lines(shown)
    yield from _asked_for(result, attribute)


def _asked_for(result: BiasResult, attribute: str) -> Iterator[str]:
    """Return what options ask for: the split over sites."""
    if result.rows.site is not None:
        yield ""
        yield from (f"  {line}" for line in split_lines(result, site_splits(result), attribute))


def _head(result: BiasResult) -> Iterator[str]:
    rows, options = result.rows, result.options
    of = "" if rows.total == len(rows.weights) else f" in {len(rows.weights):,} lines"
    decided = f"decisions {options.prediction}" if options.score is None else f"scores {options.score}"
    true = "no labels" if options.label is None else f"labels {options.label}"
    yield f"{rows.source}: {rows.total:,} rows{of}, {decided}, {true}{_favourable(result)}"
    yield f"shares in percent, with intervals of {100 * result.settings.confidence:g} % confidence in brackets"


def _favourable(result: BiasResult) -> str:
    if result.rows.favourable is None or (result.options.label is None and result.options.prediction is None):
        return ""
    return f", favourable {result.rows.favourable}{' (a guess)' if result.rows.guessed else ''}"


def _attribute(result: BiasResult, attribute: str) -> Iterator[str]:
    for block in _BLOCKS:
        if any(metric in result.metrics for metric in block):
            yield from _block(result, attribute, block)
            yield ""
    if result.shown[attribute].estimates:
        yield from _measure_block(result, attribute)
        yield ""
    yield from (f"  {line}" for line in _gap_lines(result, attribute))
    yield from class_lines(result.shown[attribute])
    yield from reference_lines(result.shown[attribute])
    yield from _asked_for(result, attribute)


def _block(result: BiasResult, attribute: str, block: Sequence[str]) -> list[str]:
    audit = result.audits[attribute]
    impact = result.shown[attribute].impact
    columns = [metric for metric in block if metric in result.metrics or (metric == "impact_ratio" and impact)]
    table = [[attribute, "n", *(CATALOGUE[metric].column for metric in columns)]]
    for group in result.listed(attribute):
        if group in audit.suppressed:
            continue
        rates = [impact.get(group) if m == "impact_ratio" else audit.groups[m][group] for m in columns]
        cells = [NOT_SHOWN if audit.hides(m, group) else _cell(rate, m) for rate, m in zip(rates, columns, strict=True)]
        table.append([_name(group), f"{audit.sizes[group]:,}", *cells])
    if "selection_rate" in block or "accuracy" in block:
        table += _hidden_lines(audit.suppressed)
    return aligned(table)


def _hidden_lines(suppressed: Sequence[str]) -> list[list[str]]:
    if len(suppressed) > MANY:
        return [[f"{len(suppressed)} further groups", "not shown"]]
    return [[_name(group), "not shown"] for group in suppressed]


def _measure_block(result: BiasResult, attribute: str) -> list[str]:
    measures = result.shown[attribute].estimates
    columns = [metric for metric in measures if metric in shown_in("full text")]
    table = [[attribute, *(CATALOGUE[metric].column for metric in columns)]]
    for group in result.listed(attribute):
        if group not in result.audits[attribute].suppressed:
            table.append([_name(group), *(_number(measures[metric].get(group)) for metric in columns)])
    return aligned(table)


def _number(measure: Measure | None) -> str:
    if measure is None:
        return NOT_SHOWN
    if measure.value is None or measure.low is None or measure.high is None:
        return "undefined"
    return figure_text(measure.value, measure.low, measure.high, least=3)


def _cell(rate: Rate | None, metric: str) -> str:
    if rate is None or rate.value is None or rate.low is None or rate.high is None:
        return "undefined" if rate is not None else "-"
    if metric == "impact_ratio":
        return figure_text(rate.value, rate.low, rate.high, least=3)
    return f"{100 * rate.value:.1f} ({100 * rate.low:.1f}-{100 * rate.high:.1f})"


def _gaps_of(result: BiasResult, attribute: str, metrics: Iterable[str]) -> Iterator[str]:
    gaps = result.audits[attribute].shown_gaps
    if all(gap.highest is None for gap in gaps.values()):
        yield "no gaps, because fewer than two groups can be compared"
        return
    yield from (gap_line(gaps[metric]) for metric in metrics)


def _gap_lines(result: BiasResult, attribute: str) -> Iterator[str]:
    gaps = result.shown[attribute].gaps
    yield from _gaps_of(result, attribute, [metric for metric in gaps if metric in shown_in("full text")])
    odds = result.shown[attribute].parities.get("equalized_odds")
    if odds is not None and odds.difference is not None and odds.low is not None and odds.high is not None:
        yield (
            f"equalized odds: {odds.highest} over {odds.lowest}, "
            f"{points_words(odds.difference, odds.low, odds.high)}; any two at most "
            f"{100 * odds.over_all_pairs['high']:.1f} points"
        )
    yield from (line.strip() for line in distance_lines(result.shown[attribute]))


def _verdict(result: BiasResult) -> Iterator[str]:
    yield from verdict_lines(result.verdict, result.findings, example="selection_rate>=0.8")
    if result.rows.guessed and result.rows.favourable is not None:
        yield guess_words(result.rows.favourable)


def _name(group: str) -> str:
    name = group if group != UNKNOWN else "unknown"
    return name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 1]}…"
