"""The options of ``fedcore audit bias``, and their contradictions."""

from __future__ import annotations

import codecs
import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

from fedcore.audit.tables.crossing import ATTRIBUTE_MARK
from fedcore.audit.verdict.profiles import NYC_LL144, PROFILES
from fedcore.errors import PlanError

MIN_CELL = 10
"""Fewest rows of a group, and of a rate's denominator, that are shown in files to share."""
MISSING = ("refuse", "drop")
KINDS = ("classification", "regression")


@dataclass(frozen=True, slots=True, kw_only=True)
class BiasOptions:
    """The columns of a table, and how they are read.

    Attributes:
        label: Column of the truth; None if only decisions are known, as in counts of who was selected.
        prediction: Column of decisions, or None; exactly one of the two is given.
        references: For attributes the group that others are compared with, as ``(attribute, group)``.
        bands: For columns of numbers the edges between groups, as ``(column, edges)``.
        weight: Column of how many each row stands for, or None for 1 each.
        threshold: A row is selected if its score is at least this; in the scores' own unit.
        positive: The label that counts as favourable, or None for the last in order.
        min_cell: Groups and rates of fewer rows are not shown; None for the profile's default, or else for nothing
            hidden on a screen, and those of fewer than ``MIN_CELL`` hidden in files.
        missing: What to do with rows that lack a label, a score or a decision: one of ``MISSING``.
        min_rows: Groups of fewer rows are shown, and not judged.
        min_share: Groups of a smaller share of the rows are shown, and not judged; None for the profile's default.
        kind: What the scores are for, one of ``KINDS``.

    Raises:
        PlanError: The options contradict one another; all problems are listed.
    """

    table: Path
    label: str | None = None
    score: str | None = None
    prediction: str | None = None
    groups: tuple[str, ...] = ()
    references: tuple[tuple[str, str], ...] = ()
    bands: tuple[tuple[str, tuple[float, ...]], ...] = ()
    weight: str | None = None
    site: str | None = None
    threshold: float | None = None
    positive: str | None = None
    score_range: tuple[float, float] = (0.0, 1.0)
    limits: tuple[str, ...] = ()
    profile: str | None = None
    min_cell: int | None = None
    missing: str = "refuse"
    encoding: str = "utf-8"
    min_rows: int = 0
    min_share: float | None = None
    confidence: float = 0.95
    kind: str = "classification"

    def __post_init__(self) -> None:
        problems = [*self._problems()]
        if problems:
            raise PlanError(problems)

    @property
    def attributes(self) -> tuple[str, ...]:
        """Columns of groups, each once, including the parts of crossings."""
        return tuple(dict.fromkeys(part for group in self.groups for part in crossed(group)))

    @property
    def cuts_at_median(self) -> bool:
        """Whether the profile decides which scores are selected."""
        return self.score is not None and self.profile == NYC_LL144.name

    @property
    def judged(self) -> dict[str, Any]:
        return {"min_rows": self.min_rows, "min_share": Fraction(str(self.min_share or 0))}

    @property
    def columns(self) -> tuple[str, ...]:
        named = (self.label, self.score, self.prediction, self.weight, self.site)
        return (*(name for name in named if name is not None), *self.attributes)

    def with_profile(self) -> BiasOptions:
        """Return the options as the profile wants them: two attributes are crossed, too."""
        if self.profile is None:
            return self
        profile, groups = PROFILES[self.profile], self.groups
        if profile is NYC_LL144 and len(groups) == 2 and not any(ATTRIBUTE_MARK in group for group in groups):
            groups = (*groups, ATTRIBUTE_MARK.join(groups))
        share = profile.min_share if self.min_share is None and profile.min_share else self.min_share
        return replace(self, groups=groups, min_share=None if share is None else float(share))

    def _problems(self) -> Iterator[str]:
        if self.kind not in KINDS:
            yield f"there is no --kind {self.kind!r}; there are {', '.join(KINDS)}"
        yield from self._regression_problems() if self.kind == "regression" else self._classification_problems()
        if not self.groups:
            yield "give at least one --group COL"
        yield from self._group_problems()
        yield from self._reference_problems()
        if self.profile not in (None, *PROFILES):
            yield f"there is no profile {self.profile!r}; there are {', '.join(PROFILES)}"
        if self.missing not in MISSING:
            yield f"--missing must be {' or '.join(MISSING)}, not {self.missing!r}"
        try:
            codecs.lookup(self.encoding)
        except LookupError:
            yield f"--encoding {self.encoding!r} is not known; give one such as utf-8, utf-16, latin-1 or cp1252"
        if self.min_rows < 0:
            yield f"--min-rows must be 0 or more, not {self.min_rows}"
        if self.min_share is not None and not 0 <= self.min_share < 1:
            yield f"--min-share must be a share of the rows, at least 0 and below 1, as 0.02, not {self.min_share:g}"
        if not 0.5 <= self.confidence < 1:
            yield f"--confidence must be at least 0.5 and below 1, not {self.confidence:g}"

    def _classification_problems(self) -> Iterator[str]:
        """Yield problems with scores and decisions; a regression has other rules."""
        if (self.score is None) == (self.prediction is None):
            yield "give either --score COL or --prediction COL, and not both"
        yield from self._score_problems()
        if self.label is None and self.positive is not None and self.prediction is None:
            yield "--positive names a label; it needs --label COL or --prediction COL"

    def _regression_problems(self) -> Iterator[str]:
        unfitting = {
            "--score": self.score is not None,
            "--threshold": self.threshold is not None,
            "--positive": self.positive is not None,
            "--site": self.site is not None,
            f"--profile {self.profile}": self.profile in PROFILES and not PROFILES[self.profile].document,
            "--score-range": self.score_range != (0.0, 1.0),
        }
        for option in (option for option, given in unfitting.items() if given):
            yield f"{option} has no meaning in a regression; leave it out"
        if self.label is None or self.prediction is None:
            yield "--kind regression needs --label COL, what turned out true, and --prediction COL, what was predicted"

    def _score_problems(self) -> Iterator[str]:
        low, high = self.score_range
        if self.cuts_at_median and self.threshold is not None:
            yield "--profile nyc-ll144 cuts scores at their median; leave --threshold out, or give --prediction COL"
        if self.threshold is not None and self.score is None:
            yield "--threshold cuts scores; it needs --score COL"
        if not -float("inf") < low < high < float("inf"):
            yield f"--score-range must be LOW,HIGH with LOW below HIGH, not {low:g},{high:g}"
        elif self.threshold is not None and not low <= self.threshold <= high:
            yield f"--threshold {self.threshold:g} is outside the scores' range, {low:g} to {high:g}"

    def _reference_problems(self) -> Iterator[str]:
        for name, count in Counter(name for name, _ in self.references).items():
            if name not in {ATTRIBUTE_MARK.join(crossed(group)) for group in self.groups}:
                yield f"--reference {name}: it is nothing given as --group"
            if count > 1:
                yield f"--reference {name} is given more than once"

    def _group_problems(self) -> Iterator[str]:
        once = Counter(tuple(sorted(crossed(group))) for group in self.groups)
        for parts in (parts for parts, count in once.items() if count > 1):
            given = [group for group in self.groups if tuple(sorted(crossed(group))) == parts]
            yield f"--group {' and '.join(dict.fromkeys(given))} is given more than once"
        for group in self.groups:
            if len(set(crossed(group))) < len(crossed(group)) or not all(crossed(group)):
                yield f"--group {group}: a crossing names two different columns, as in sex*race"
        for name, edges in self.bands:
            if name not in self.attributes:
                yield f"--bands {name}: it is not a column given as --group"
            if not all(first < second for first, second in pairwise((-math.inf, *edges, math.inf))):
                yield f"--bands {name}: the edges must be rising numbers"
        for option in ("label", "score", "prediction", "weight", "site"):
            if (column := getattr(self, option)) in self.attributes:
                yield f"column {column!r} is given both as --group and as --{option}"
        if self.site is not None and self.site in {self.label, self.score, self.prediction, self.weight}:
            yield f"column {self.site!r} is given both as --site and as something else"
        if self.weight is not None and self.weight in {self.label, self.score, self.prediction}:
            yield f"column {self.weight!r} is given both as --weight and as what it weighs"
        if self.label is not None and self.label == self.score:
            yield f"column {self.label!r} is given both as --label and as --score"


def crossed(group: str) -> list[str]:
    return [part.strip() for part in group.split(ATTRIBUTE_MARK)]
