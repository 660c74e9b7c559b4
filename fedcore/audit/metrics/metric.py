"""One row of the catalogue of group metrics."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from fedcore.audit.metrics.estimates import Estimate
from fedcore.audit.metrics.observed import Observed

Kind = Literal["difference", "ratio", "worst-group"]
Source = Literal[
    "cells", "selection rates", "classes", "several classes", "benefits", "scores", "probabilities", "numbers", "pairs"
]
"""What a metric is computed from; see `Metric.source`."""
Place = Literal["text", "full text", "page", "card", "clients", "sites", "class table", "class pictures", "reference"]
"""Where a metric appears; the JSON has every one.

``text`` is what `fedcore audit bias` prints and ``full text`` what it prints with ``--all``; ``page`` a picture in
the report of a run, ``card`` a column in the model card; ``clients`` and ``sites`` the split of a gap; the others are
tables of gaps, of each class and against a reference.
"""
Estimator = Callable[[Observed], Sequence[Estimate]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """One row of the catalogue.

    Attributes:
        note: An explanation that reports show; empty if the name is enough.
        source: What it is computed from. ``cells``: counts of the confusion table. ``classes``: labels and decisions;
            ``several classes`` only of more than two labels, none of them favourable, ``benefits`` only with a
            favourable label. ``scores`` and ``probabilities``: labels and scores. ``numbers``: numeric targets.
            ``selection rates`` and ``pairs``: other metrics, so that no limit is set on it.
        cells: Of a rate the counted cells, and those of the denominator; see `confusion.cells`.
        estimate: Of other metrics the estimate of each group, in the order of the groups.
        share: Whether it is a share of rows, written in percent and its differences in points.
        at_most_one: Whether no two groups can be more than 1 apart.
        signed: Whether it may be negative, so that a bound may be, too.
        better: Which end is better for a group; empty if neither is.
        has_ratio: Whether its 0 means nothing at all, so that a ratio of two groups is meaningful.
        instead: For a metric without a limit, the nearest limits.
        headline: Whether it shows in one figure how well a group is served.
        shown_of_thin: Whether it is shown of a group with another rate over few rows; see `suppression`.
        bounded_loss: Whether the largest over the groups is reported, as bounded group loss.
        interval: How its interval is formed, if not as for all of its kind.
    """

    name: str
    note: str
    source: Source
    cells: tuple[str, str] | None = None
    estimate: Estimator | None = None
    share: bool = False
    at_most_one: bool = False
    signed: bool = False
    better: Literal["high", "low", ""] = ""
    has_ratio: bool = True
    instead: tuple[tuple[str, Kind], ...] = ()
    headline: bool = False
    shown_of_thin: bool = False
    bounded_loss: bool = False
    interval: str = ""
    column: str = ""
    places: tuple[Place, ...] = ()

    @property
    def limits(self) -> tuple[Kind, ...]:
        """Which kinds of limits may be set; only a rate's ratio has an interval to rely on."""
        if self.source in ("pairs", "selection rates"):
            return ()
        return ("difference", "worst-group") if self.cells is None else ("difference", "ratio", "worst-group")

    @property
    def in_own_unit(self) -> bool:
        """Whether it is in the target's unit, so that its size is unbounded."""
        return self.source == "numbers"

    @property
    def watched(self) -> bool:
        """Whether it is measured in every evaluated round, not of the released model only."""
        return self.cells is not None or self.source == "numbers"

    @property
    def of_noisy_counts(self) -> bool:
        """Whether its interval holds on counts with noise."""
        return self.cells is not None

    @property
    def needs_favourable(self) -> bool:
        return self.cells is not None and "right" not in self.cells
