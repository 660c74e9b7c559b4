"""Every group metric in one row: how it is computed, limited, shown and explained.

A metric of your own is a function from `Observed` to one `Estimate` a group, a row here, a test, and a row in
``docs/audit-tables.md``. Metrics are shown in the order of their rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from fedcore.audit.metrics.estimates import UNDEFINED, Estimate
from fedcore.audit.metrics.estimators.calibration import brier_score, calibration_errors
from fedcore.audit.metrics.estimators.calibration_slope import calibration_slope
from fedcore.audit.metrics.estimators.class_accuracy import balanced_accuracy, worst_class_accuracy
from fedcore.audit.metrics.estimators.moments import Moments
from fedcore.audit.metrics.metric import Metric, Place, Source
from fedcore.audit.metrics.observed import Observed
from fedcore.audit.tables.values import ValueTable


def _metric(name: str, source: Source, note: str, *places: Place, **about: Any) -> Metric:
    return Metric(**{"column": name.replace("_", " "), **about}, name=name, source=source, note=note, places=places)


def _rate(name: str, counted: str, among: str, note: str, *places: Place, **about: Any) -> Metric:
    return _metric(name, "cells", note, *places, cells=(counted, among), share=True, at_most_one=True, **about)


def _number(name: str, of: Callable[[Moments], Estimate], note: str, *places: Place, **about: Any) -> Metric:
    def estimate(seen: Observed) -> list[Estimate]:
        return [of(one) if one.n >= 2 else UNDEFINED for one in seen.moments]

    return _metric(name, "numbers", note, *places, estimate=estimate, **about)


_ROWS = (
    _rate(
        "selection_rate", "TP FP", "rows", "Share of the group's rows that the model selects.",
        "text", "full text", "page", "card", "clients", "sites", "class table", "class pictures", "reference",
        column="selected", shown_of_thin=True,
    ),
    _metric(
        "impact_ratio", "selection rates", "A group's selection rate over the highest of all groups, which has 1.",
        "full text", "page", "card",
        better="high", shown_of_thin=True, interval="Koopman score intervals to every group at once, Bonferroni",
    ),
    _rate(
        "accuracy", "right", "rows", "",
        "text", "full text", "page", "card", "clients", "reference",
        better="high", headline=True, shown_of_thin=True,
    ),
    _rate(
        "true_positive_rate", "TP", "TP FN", "Of the rows to be selected, the share that is.",
        "text", "full text", "page", "card", "clients", "sites", "class table", "class pictures", "reference",
        column="true positive", better="high",
    ),
    _rate(
        "false_positive_rate", "FP", "FP TN", "Of the rows not to be selected, the share that is.",
        "text", "full text", "page", "card", "clients", "sites", "class table", "reference",
        column="false positive", better="low",
    ),
    _rate("true_negative_rate", "TN", "FP TN", "Of the rows not to be selected, the share that is not.", better="high"),
    _rate("false_negative_rate", "FN", "TP FN", "Of the rows to be selected, the share that is not.", better="low"),
    _rate(
        "positive_predictive_value", "TP", "TP FP", "Of the rows that are selected, the share that should be.",
        "full text", "card", "class table", column="predictive value", better="high",
    ),
    _rate(
        "negative_predictive_value", "TN", "FN TN", "Of the rows that are not selected, the share that should not be.",
        "full text", column="neg. pred. value", better="high",
    ),
    _rate("base_rate", "TP FN", "rows", "Share of the group's rows that should be selected.", "full text", "sites"),
    _metric(
        "auc", "scores",
        "The chance that a favourable row of the group scores higher than another row of it; 0.5 is chance.",
        "full text", "page", "card",
        estimate=lambda seen: [seen.areas.estimate(g, g) for g in range(len(seen.groups))],
        at_most_one=True, better="high", column="AUC",
        interval="score interval of the Mann-Whitney statistic, method 5 (Newcombe 2006), "
        "at DeLong's variance if larger",
    ),
    _metric(
        "brier_score", "probabilities", "Mean squared distance between probability and outcome.", "full text",
        estimate=lambda seen: [brier_score(seen.labelled_scores.points, own) for own in seen.labelled_scores.counts],
        at_most_one=True, better="low", interval="Wilson score interval at the effective number of rows",
        column="Brier score",
    ),
    _metric(
        "expected_calibration_error", "probabilities",
        "Mean distance between probability and the share of favourable rows, over bins of the probability.",
        "full text", "card",
        estimate=lambda seen: calibration_errors(seen.labelled_scores, generator=seen.generator),
        at_most_one=True, better="low", column="calibration error",
    ),
    _metric(
        "calibration_slope", "probabilities",
        "Slope of outcomes over probabilities: 1 where these are right, below 1 where they are too extreme.",
        "full text",
        estimate=lambda seen: [
            calibration_slope(seen.labelled_scores.points, own) for own in seen.labelled_scores.counts
        ],
        interval="slopes that a test does not reject, by its own variance; Bell and McCaffrey's degrees (2002)",
    ),
    _metric(
        "balanced_accuracy", "classes",
        "Mean over the classes of the share of their rows that are predicted correctly.", "full text",
        estimate=lambda seen: [balanced_accuracy(own) for own in seen.confusion],
        share=True, at_most_one=True, better="high",
        interval="score interval as Wilson's, with the largest variance that rates of that mean can have",
    ),
    _metric(
        "worst_class_accuracy", "several classes",
        "The smallest share across classes of rows that are predicted correctly.", "full text",
        estimate=lambda seen: [worst_class_accuracy(own) for own in seen.confusion],
        share=True, at_most_one=True, better="high", column="worst class",
    ),
    _metric(
        "generalized_entropy", "benefits",
        "How unequally benefits fall on the people of the group, by the squared coefficient of variation.",
        estimate=lambda seen: seen.entropy["generalized_entropy"], better="low",
    ),
    _metric(
        "theil_index", "benefits", "How unequally benefits fall on the people of the group, by the Theil index.",
        estimate=lambda seen: seen.entropy["theil_index"], better="low",
    ),
    _number("mean_prediction", Moments.mean_prediction, "Mean of the predictions.", "full text", signed=True),
    _number("mean_target", Moments.mean_target, "Mean of the true values.", "full text", signed=True),
    _number(
        "mean_error", Moments.mean_error,
        "Prediction less target: over 0 the group's targets are overestimated, under 0 underestimated.",
        "text", "full text", "page", "card", signed=True, has_ratio=False,
    ),
    _number(
        "mean_absolute_error", Moments.mean_absolute_error, "How far predictions are off, in the target's unit.",
        "text", "full text", "page", "card", "reference",
        better="low", headline=True, bounded_loss=True, column="absolute error",
    ),
    _number(
        "root_mean_squared_error", Moments.root_mean_squared_error,
        "How far predictions are off, in the target's unit; large errors count for more.",
        "text", "full text", "card", better="low", bounded_loss=True, column="root mean square",
    ),
    _number(
        "r_squared", Moments.r_squared,
        "Share of the spread of targets that predictions explain; below 0 the group's mean would do better.",
        "text", "full text", "page", "card", better="high", signed=True, has_ratio=False, column="R²",
        interval="delta method on the logarithm of 1 - R², widened for skewed errors",
    ),
    _metric(
        "bounded_group_loss", "pairs", "The largest error of any group.",
        instead=(("mean_absolute_error", "worst-group"), ("root_mean_squared_error", "worst-group")),
    ),
    _metric(
        "cross_group_auc", "pairs", "How unlike two groups' favourable rows rank over the other rows of each other.",
        "full text",
        instead=(("auc", "difference"),), column="AUC across groups",
    ),
    _metric(
        "kolmogorov_smirnov", "pairs", "Largest difference between the shares of two groups' rows under a score.",
        "full text", "card",
        instead=(("selection_rate", "difference"), ("mean_prediction", "difference")),
        column="Kolmogorov-Smirnov distance",
    ),
    _metric(
        "wasserstein", "pairs", "Area between the curves of these shares, in the unit of the score.", "full text",
        "card",
        instead=(("selection_rate", "difference"), ("mean_prediction", "difference")), column="Wasserstein distance",
    ),
)  # fmt: skip
CATALOGUE = {metric.name: metric for metric in _ROWS}


def _first_headlines(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(names, key=lambda name: not CATALOGUE[name].headline))


RATES = _first_headlines(name for name, metric in CATALOGUE.items() if metric.cells is not None)
ESTIMATED = tuple(name for name, metric in CATALOGUE.items() if metric.estimate is not None)
HEADLINES = tuple(name for name, metric in CATALOGUE.items() if metric.headline)


def shown_in(place: Place) -> tuple[str, ...]:
    """Return the metrics shown in this place, in the order of the catalogue."""
    return tuple(name for name, metric in CATALOGUE.items() if place in metric.places)


def headlines_of(place: Place) -> tuple[str, ...]:
    return _first_headlines(shown_in(place))


def split_over_clients() -> tuple[str, ...]:
    return tuple(sorted(shown_in("clients"), key=HEADLINES.__contains__))


def is_share(name: str) -> bool:
    """Whether a metric is written in percent; False for a name not in the catalogue."""
    return name in CATALOGUE and CATALOGUE[name].share


def estimates_of(seen: Observed) -> dict[str, dict[str, Estimate]]:
    """Return ``{metric: {group: estimate}}`` of every metric other than rates that these counts allow."""
    there = [(metric, metric.estimate) for source in seen.sources for metric in _ROWS if metric.source == source]
    return {metric.name: dict(zip(seen.groups, estimate(seen), strict=True)) for metric, estimate in there if estimate}


def value_estimates(table: ValueTable) -> dict[str, dict[str, Estimate]]:
    """Return ``{metric: {group: estimate}}`` where targets are numbers."""
    return estimates_of(Observed(values=table))
