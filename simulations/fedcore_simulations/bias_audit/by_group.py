"""Thresholds by group of a table of one's own, and what they do, as text."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from fedcore.audit.attribute_audit import AttributeAudit
from fedcore.audit.gaps import Gap
from fedcore.audit.group_thresholds import WARNING, GroupThresholds, group_thresholds, price_words
from fedcore.audit.rates import Rate
from fedcore.audit.score_cuts import ScoreCuts
from fedcore_simulations.bias_audit.comparisons import points_words
from fedcore_simulations.bias_audit.options import MIN_CELL, BiasOptions
from fedcore_simulations.bias_audit.rows import Rows
from fedcore_simulations.bias_audit.selection import threshold_of
from fedcore_simulations.bias_audit.text_table import aligned

STEPS = 100
"""Thresholds are tried at so many equal steps of the scores' range, and at the one that is for all."""


def thresholds_of(rows: Rows, options: BiasOptions, audits: Mapping[str, AttributeAudit]) -> dict[str, GroupThresholds]:
    """Choose and judge a threshold for each group of every attribute; empty where none are asked for.

    Raises:
        DataError: There are too many rows to be halved.
    """
    threshold = threshold_of(options)
    if options.group_thresholds is None or rows.truth is None or rows.scores is None or threshold is None:
        return {}
    found = {}
    for attribute, coded in rows.groups.items():
        counts = ScoreCuts.of_rows(
            attribute=attribute,
            groups=coded.vocabulary,
            group_codes=coded.codes,
            label_codes=rows.truth,
            scores=rows.scores,
            thresholds=_tried(options.score_range, threshold),
            weights=rows.weights,
        )
        audit = audits[attribute]
        found[attribute] = group_thresholds(
            counts,
            metric=options.group_thresholds,
            threshold=threshold,
            confidence=audit.settings.confidence,
            min_cell=max(MIN_CELL, audit.settings.min_cell),  # a threshold is chosen on so many rows, or on none
            suppressed=audit.suppressed,
            thin=audit.thin,
        )
    return found


def threshold_lines(attribute: str, found: GroupThresholds) -> Iterator[str]:
    """Return the thresholds with rates, gap and accuracy before and after."""
    metric = found.metric.replace("_", " ")
    yield f"a threshold for each {attribute}, to close the gap in {metric}; judged on rows that it was not chosen on"
    table = [[attribute, "threshold", f"{metric}, before", "after", "accuracy, before", "after"]]
    for group in found.shown:
        cells = [
            "not shown" if one.hides(name, group) else _percent(one.rates[name][group])
            for name in (found.metric, "accuracy")
            for one in (found.before, found.after)
        ]
        kept = "" if group in found.chosen else ", kept"
        threshold = found.chosen.get(group, found.threshold)
        table.append([group, f"{threshold:g}{kept}", *cells])
    yield from aligned(table)
    yield from _summary(found)
    for group, reason in found.kept.items():
        yield f"{group} keeps the threshold for all: {reason}"


def warning_lines() -> list[str]:
    """Return what must be known before thresholds by group are used."""
    return textwrap.wrap(f"warning: {WARNING}", 118, subsequent_indent="  ")


def _tried(span: tuple[float, float], threshold: float) -> NDArray[np.float64]:
    low, high = span
    steps = low + (high - low) * (np.arange(1, STEPS) / STEPS)
    others = steps[np.abs(steps - threshold) > 1e-9 * (high - low)]
    return np.sort(np.append(others, threshold))


def _summary(found: GroupThresholds) -> Iterator[str]:
    gaps = [one.gaps[found.metric] for one in (found.before, found.after)]
    yield f"gap in {found.metric.replace('_', ' ')}: {_points(gaps[0])} before, {_points(gaps[1])} after"
    cost = found.cost
    if cost.value is not None and cost.low is not None and cost.high is not None and not found.few:
        before, after = _percent(found.before.accuracy), _percent(found.after.accuracy)
        told = "not shown" if found.hides_accuracy else f"{before} before, {after} after"
        yield f"accuracy: {told}, {price_words(cost.value, cost.low, cost.high)}"


def _points(gap: Gap) -> str:
    return points_words(gap.difference, gap.difference_low, gap.difference_high)


def _percent(rate: Rate) -> str:
    if rate.value is None or rate.low is None or rate.high is None:
        return "undefined"
    return f"{100 * rate.value:.1f} ({100 * rate.low:.1f}-{100 * rate.high:.1f})"
