"""Runs that differ in the seed alone, with mean and interval of each figure."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean, stdev
from typing import Any

from fedcore.audit.statistics.intervals import student_quantile
from fedcore.privacy.accounting import rounded_up
from fedcore.report.comparison.figures import EPSILON, ComparedRun, quantity_of
from fedcore.report.comparison.settings import EPSILON as TARGET
from fedcore.report.comparison.settings import NOISE, Settings, is_calibrated, short_names, text_of, varied
from fedcore.report.page.wording import Quantity

CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True, kw_only=True)
class Mean:
    """A mean over runs; without an interval where there is one run.

    Attributes:
        half: Half the width of the interval, before shares are cut to [0, 1].
    """

    value: float
    low: float | None = None
    high: float | None = None
    half: float | None = None

    @classmethod
    def of(cls, values: Sequence[float]) -> Mean:
        """The mean with Student's interval, which treats the runs as draws from a normal distribution."""
        value, n = fmean(values), len(values)
        if n < 2:
            return cls(value=value)
        half = student_quantile(CONFIDENCE, n - 1) * stdev(values) / math.sqrt(n)
        return cls(value=value, low=value - half, high=value + half, half=half)


@dataclass(frozen=True, slots=True, kw_only=True)
class Configuration:
    """Runs that differ in the seed alone.

    Attributes:
        settings: What sets this configuration apart, by ``section.key``; the same keys in every configuration.
        figures: By name; ε is the largest of the runs, since it is an upper bound.
        verdicts: How many runs had each verdict of the audit.
    """

    settings: Mapping[str, Any]
    runs: tuple[ComparedRun, ...]
    figures: Mapping[str, Mean]
    verdicts: Mapping[str, int]

    @property
    def label(self) -> str:
        names = short_names([*self.settings])
        return ", ".join(f"{names[path]}={text_of(value)}" for path, value in self.settings.items()) or "all runs"


def by_configuration(runs: Iterable[ComparedRun], *, always: Sequence[str] = ()) -> tuple[Configuration, ...]:
    """Configurations in the order in which they first occur.

    Args:
        always: Keys that are columns even where all runs have the same value.
    """
    by_settings: dict[str, list[ComparedRun]] = {}
    for run in runs:
        by_settings.setdefault(json.dumps(run.settings, sort_keys=True), []).append(run)
    members = list(by_settings.values())
    columns = _columns(members, always)
    return tuple(_configuration(each, shown) for each, shown in zip(members, columns, strict=True))


def _configuration(runs: Sequence[ComparedRun], settings: Mapping[str, Any]) -> Configuration:
    found = [run.figures() for run in runs]
    names = dict.fromkeys(name for each in found for name in each)
    values = {name: [each[name] for each in found if name in each] for name in names}
    figures = {name: _mean(each, quantity_of(name, runs[0])) for name, each in values.items()}
    if EPSILON in figures:
        figures[EPSILON] = Mean(value=max(values[EPSILON]))
    verdicts = Counter(run.verdict for run in runs if run.verdict)
    return Configuration(settings=settings, runs=tuple(runs), figures=figures, verdicts=verdicts)


def _mean(values: Sequence[float], quantity: Quantity) -> Mean:
    mean = Mean.of(values)
    if mean.low is None or mean.high is None:
        return mean
    if not quantity.share:  # what is counted or measured from zero on has no interval below it
        return replace(mean, low=max(0.0, mean.low)) if min(values) >= 0.0 else mean
    return replace(mean, low=max(0.0, mean.low), high=min(1.0, mean.high))


def _columns(members: Sequence[Sequence[ComparedRun]], always: Sequence[str]) -> list[dict[str, Any]]:
    """The settings that vary, for each configuration; a calibrated noise multiplier is shown as its ε."""
    configurations: list[Settings] = [runs[0].settings for runs in members]
    paths = varied(configurations, always=(*always, *([NOISE] if TARGET in always else [])))
    if NOISE in paths and is_calibrated(configurations):
        configurations = [
            {**settings, TARGET: _target(runs)} for settings, runs in zip(configurations, members, strict=True)
        ]
        differs = len({settings[TARGET] for settings in configurations}) > 1
        as_epsilon = {NOISE: TARGET if differs or TARGET in always else None}
        shown = [path for each in paths if (path := as_epsilon.get(each, each)) is not None]
        paths = shown if _set_apart(configurations, shown) else [*shown, NOISE]
    return [{path: settings.get(path) for path in paths} for settings in configurations]


def _target(runs: Sequence[ComparedRun]) -> float | None:
    """The ε of a run that was not interrupted; rounds that were asked twice cost more."""
    spent = [run.record.summary["epsilon"] for run in runs if run.record.summary.get("epsilon") is not None]
    return rounded_up(min(spent)) if spent else None


def _set_apart(configurations: Sequence[Settings], paths: Sequence[str]) -> bool:
    return len({tuple(text_of(settings.get(path)) for path in paths) for settings in configurations}) == len(
        configurations
    )
