"""The audit of a table as plain text, for a terminal and for a file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from fedcore.audit.estimates import Measure
from fedcore.audit.gap_words import gap_line
from fedcore.audit.groups import UNKNOWN
from fedcore.audit.rates import Rate
from fedcore.figures import figure_text
from fedcore.printable import printable
from fedcore_simulations.bias_audit.by_group import threshold_lines, warning_lines
from fedcore_simulations.bias_audit.by_site import site_splits, split_lines
from fedcore_simulations.bias_audit.comparisons import class_lines, distance_lines, points_words, reference_lines
from fedcore_simulations.bias_audit.favourable import guess_words
from fedcore_simulations.bias_audit.profile_tables import profile_lines
from fedcore_simulations.bias_audit.result import MANY, BiasResult
from fedcore_simulations.bias_audit.text_table import aligned

_TITLES = {
    "selection_rate": "selected",
    "base_rate": "base rate",
    "accuracy": "accuracy",
    "impact_ratio": "impact ratio",
    "true_positive_rate": "true positive",
    "false_positive_rate": "false positive",
    "positive_predictive_value": "predictive value",
}
_BLOCKS = (
    ("selection_rate", "impact_ratio", "base_rate", "accuracy"),
    ("true_positive_rate", "false_positive_rate", "positive_predictive_value"),
)
_MEASURES = {
    "balanced_accuracy": "balanced accuracy",
    "worst_class_accuracy": "worst class",
    "auc": "AUC",
    "brier_score": "Brier score",
    "expected_calibration_error": "calibration error",
    "calibration_slope": "calibration slope",
}
_MIRRORED = ("true_negative_rate", "false_negative_rate")  # their gaps are those of the opposite rates, turned around
_LONGEST_NAME = 28
NOT_SHOWN = "not shown"


def readable(result: BiasResult) -> str:
    """Return everything that is shown, line by line."""
    lines = [*_head(result)]
    for attribute in result.audits:
        lines += ["", *_attribute(result, attribute)]
    if result.options.profile is not None:
        lines += ["", *profile_lines(result)]
    if result.thresholds:
        lines += ["", *warning_lines()]
    if result.notes:
        lines += ["", *(f"note: {note}" for note in result.notes)]
    lines += ["", *_verdict(result)]
    return "\n".join(map(printable, lines)) + "\n"


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
    if result.rows.site is not None:
        yield ""
        yield from (f"  {line}" for line in split_lines(result, site_splits(result), attribute))
    if attribute in result.thresholds:
        yield ""
        yield from (f"  {line}" for line in threshold_lines(attribute, result.thresholds[attribute]))


def _block(result: BiasResult, attribute: str, block: Sequence[str]) -> list[str]:
    audit = result.audits[attribute]
    impact = result.shown[attribute].impact
    columns = [metric for metric in block if metric in result.metrics or (metric == "impact_ratio" and impact)]
    table = [[attribute, "n", *(_TITLES[metric] for metric in columns)]]
    for group in result.listed(attribute):
        if group in audit.suppressed:
            continue
        rates = [impact.get(group) if m == "impact_ratio" else audit.groups[m][group] for m in columns]
        cells = [NOT_SHOWN if audit.hides(m, group) else _cell(rate, m) for rate, m in zip(rates, columns, strict=True)]
        table.append([_short(group), f"{audit.sizes[group]:,}", *cells])
    if block is _BLOCKS[0]:
        table += _hidden_lines(audit.suppressed)
    return aligned(table)


def _hidden_lines(suppressed: Sequence[str]) -> list[list[str]]:
    if len(suppressed) > MANY:
        return [[f"{len(suppressed)} further groups", "not shown"]]
    return [[_short(group), "not shown"] for group in suppressed]


def _measure_block(result: BiasResult, attribute: str) -> list[str]:
    measures = result.shown[attribute].estimates
    columns = [metric for metric in _MEASURES if metric in measures]
    table = [[attribute, *(_MEASURES[metric] for metric in columns)]]
    for group in result.listed(attribute):
        if group not in result.audits[attribute].suppressed:
            table.append([_short(group), *(_number(measures[metric].get(group)) for metric in columns)])
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


def _gap_lines(result: BiasResult, attribute: str) -> Iterator[str]:
    gaps = result.audits[attribute].shown_gaps
    if all(gap.highest is None for gap in gaps.values()):
        yield "no gaps, because fewer than two groups can be compared"
        return
    for metric in (*result.metrics, *(name for name in gaps if name in _MEASURES)):
        if metric not in _MIRRORED:
            yield gap_line(gaps[metric])
    odds = result.shown[attribute].parities.get("equalized_odds")
    if odds is not None and odds.difference is not None and odds.low is not None and odds.high is not None:
        yield (
            f"equalized odds: {odds.highest} over {odds.lowest}, "
            f"{points_words(odds.difference, odds.low, odds.high)}; any two at most "
            f"{100 * odds.over_all_pairs['high']:.1f} points"
        )
    yield from (line.strip() for line in distance_lines(result.shown[attribute]))


def _verdict(result: BiasResult) -> Iterator[str]:
    if result.rows.guessed and result.rows.favourable is not None:
        yield guess_words(result.rows.favourable)
    if result.verdict is None:
        yield "verdict: none, because no limit was given (--limit 'selection_rate>=0.8')"
        return
    yield from (f"limit: {finding.reason}" for finding in result.findings)
    yield f"verdict: {result.verdict}"


def _short(group: str) -> str:
    name = group if group != UNKNOWN else "unknown"
    return name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 1]}…"
