"""A threshold for each group: chosen on one half of the rows, judged on the other, with its price.

Rows of unknown group, and of groups too small to choose for, keep the threshold that is for all. Groups that the audit
keeps back do so too: a threshold of their own would tell of their scores.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from fedcore.audit.attribute_audit import rate_json
from fedcore.audit.estimates import Measure
from fedcore.audit.gap_json import gap_json
from fedcore.audit.gaps import Gap
from fedcore.audit.groups import UNKNOWN, GroupTable
from fedcore.audit.intervals import tango_interval
from fedcore.audit.rate_gaps import gap_between
from fedcore.audit.rates import Rate, denominators, group_rates, leeways, overall_rates
from fedcore.audit.resampling import SEED
from fedcore.audit.score_cuts import ScoreCuts
from fedcore.audit.suppression import OF_ALL_ROWS, is_small, suppressed_groups
from fedcore.audit.threshold_choice import closing_cuts

TITLE_VII = (
    "in the United States 42 U.S.C. 2000e-2(l) forbids the use of different cutoff scores for employment related tests "
    "on the basis of race, color, religion, sex or national origin"
)
WARNING = (
    "A threshold for each group decides by the group that a person belongs to. In places and for purposes this is "
    f"unlawful; {TITLE_VII}. Of everyone who is decided about it must be known, then, which group they belong to. "
    "This is no legal advice: whether it may be done is a question for a lawyer, before it is done."
)
RATES = ("selection_rate", "true_positive_rate", "false_positive_rate", "accuracy")
"""What is told before and after."""

_METHOD = "Tango score interval of paired rows (Tango 1998)"

Rates = Mapping[str, Mapping[str, Rate]]


@dataclass(frozen=True, kw_only=True)
class Judged:
    """The decisions of one set of thresholds about the rows that were not chosen on.

    Attributes:
        decisions: Labels by decision, unfavourable and favourable.
        confidence: Of every interval.
        hidden: Groups that are not shown.
        thin: Groups of which only what rests on all their rows is shown.
        of_thin: What that is.
    """

    decisions: GroupTable
    confidence: float
    hidden: frozenset[str]
    thin: frozenset[str] = frozenset()
    of_thin: tuple[str, ...] = OF_ALL_ROWS

    def hides(self, metric: str, group: str) -> bool:
        """Whether a rate of a group is not shown."""
        return group in self.hidden or (group in self.thin and metric not in self.of_thin)

    @cached_property
    def rates(self) -> Rates:
        """Return ``{metric: {group: rate}}`` over all groups."""
        found = group_rates(self.decisions, confidence=self.confidence)
        return {metric: found[metric] for metric in RATES}

    @cached_property
    def accuracy(self) -> Rate:
        """The accuracy over all rows, those of unknown group included."""
        return overall_rates(self.decisions, confidence=self.confidence)["accuracy"]

    @cached_property
    def gaps(self) -> dict[str, Gap]:
        """Gaps over the groups that are shown, whether they have a threshold of their own or not."""
        return {
            metric: gap_between(
                self.decisions.attribute,
                metric,
                {group: rate for group, rate in rates.items() if not self.hides(metric, group)},
                confidence=self.confidence,
            )
            for metric, rates in self.rates.items()
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupThresholds:
    """Thresholds by group, and what they do on rows that they were not chosen on.

    Attributes:
        metric: Whose gap they are chosen to close.
        threshold: That of all other rows.
        rising: Whether a score of at least the threshold is selected, and not one below.
        chosen: Threshold of each group that has one of its own.
        kept: Why each other known group keeps that for all.
        rows: How many rows the thresholds were chosen on, and how many they are judged on.
        few: Whether there are too few rows to show anything.
        before: With one threshold for all.
        after: With those of the groups.
        gained: Rows judged that are decided rightly after and were not before.
        lost: Rows judged that were decided rightly before and are not after.
    """

    metric: str
    threshold: float
    rising: bool
    chosen: Mapping[str, float]
    kept: Mapping[str, str]
    rows: tuple[int, int]
    few: bool
    before: Judged
    after: Judged
    gained: int
    lost: int

    @property
    def shown(self) -> tuple[str, ...]:
        """Groups whose numbers are shown; an "unknown" of no rows is not among them."""
        sizes = self.before.decisions.group_sizes
        return tuple(g for g, n in sizes.items() if g not in self.before.hidden and (g != UNKNOWN or n))

    @property
    def hides_accuracy(self) -> bool:
        """Whether the accuracy over all rows is not shown, for it would give that of a group back."""
        return self.few or "accuracy" not in self.before.of_thin

    @property
    def cost(self) -> Measure:
        """What is lost of accuracy, in [-1, 1]: below 0 where it is gained. Of the same rows before and after."""
        n = self.rows[1]
        if not n:
            return Measure(value=None, low=None, high=None, n=0)
        ends = tango_interval(self.lost, self.gained, n, confidence=self.before.confidence)
        return Measure(value=(self.lost - self.gained) / n, low=ends.low, high=ends.high, n=n)

    def to_json(self) -> dict[str, Any]:
        """Return what may be shown; undefined and kept back are null, never 0 or NaN."""
        return {
            "warning": WARNING,
            "metric": self.metric,
            "threshold": self.threshold,
            "selected": "score at least the threshold" if self.rising else "score below the threshold",
            "rows": {"chosen_on": None, "judged_on": None}
            if self.few
            else dict(zip(("chosen_on", "judged_on"), self.rows, strict=True)),
            "groups": {group: self._group_json(group) for group in self.before.decisions.groups},
            "gaps": {
                "before": {metric: gap_json(gap) for metric, gap in self.before.gaps.items()},
                "after": {metric: gap_json(gap) for metric, gap in self.after.gaps.items()},
            },
            "accuracy": {
                "before": rate_json(self.before.accuracy, suppressed=self.hides_accuracy),
                "after": rate_json(self.after.accuracy, suppressed=self.hides_accuracy),
                "cost": rate_json(self.cost, suppressed=self.few),
                "method": _METHOD,
            },
        }

    def _group_json(self, group: str) -> dict[str, Any]:
        hides = self.before.hides
        return {
            "threshold": self.chosen.get(group, self.threshold),
            "kept": self.kept.get(group),
            "before": {m: rate_json(of[group], suppressed=hides(m, group)) for m, of in self.before.rates.items()},
            "after": {m: rate_json(of[group], suppressed=hides(m, group)) for m, of in self.after.rates.items()},
        }


def price_words(value: float, low: float, high: float) -> str:
    """Return a cost in accuracy as it stands in a sentence; one below 0 is a gain.

    Args:
        value: In [-1, 1], with the ends of its interval.
    """
    name, first, last = ("cost", low, high) if value >= 0 else ("gain", -high, -low)
    return f"a {name} of {100 * abs(value):.1f} points ({100 * first:z.1f} to {100 * last:z.1f})"


def group_thresholds(
    counts: ScoreCuts,
    *,
    metric: str,
    threshold: float,
    confidence: float = 0.95,
    min_cell: int = 10,
    suppressed: Iterable[str] = (),
    thin: Iterable[str] = (),
) -> GroupThresholds:
    """Choose a threshold for each known group, and judge all of them.

    One random half of the rows chooses and the other judges, so that intervals hold for the thresholds that
    were chosen. The same counts give the same halves.

    Args:
        counts: Rows by group, label and score.
        metric: Whose gap is closed, of ``CLOSABLE``.
        threshold: The one for all, at a cut.
        confidence: Of every interval.
        min_cell: Groups of fewer rows in a half are not shown, and have none of their own.
        suppressed: Groups that the audit of the same rows keeps back.
        thin: Groups of which it shows only what rests on all their rows.

    Raises:
        DataError: The threshold is at no cut, or there are too many rows to be halved.
    """
    usual = counts.cut_at(threshold)
    chosen_on, judged_on = counts.halved(np.random.default_rng(SEED))
    hidden = _hidden(chosen_on, judged_on, min_cell) | frozenset(suppressed)
    halves, usually = (chosen_on, judged_on), dict.fromkeys(counts.groups, usual)
    few = frozenset(thin) | _few_of_a_rate(halves, usually, min_cell)
    while True:
        kept = {UNKNOWN, *hidden, *few}
        known = [group for group, size in counts.sizes.items() if size and group not in kept]
        cuts = closing_cuts(chosen_on, metric, known, usual=usual)
        after = {**usually, **cuts}
        more = _few_of_a_rate(halves, after, min_cell)
        if more <= few:
            break
        few |= more  # thresholds are chosen anew without these
    decided = judged_on.decided(usually), judged_on.decided(after)
    judged: dict[str, Any] = {
        "confidence": confidence, "hidden": hidden, "thin": few, "of_thin": _of_thin(decided, few - hidden, min_cell)
    }  # fmt: skip
    gained, lost = _changed(judged_on, usual, after)
    rows = sum(chosen_on.sizes.values()), sum(judged_on.sizes.values())
    return GroupThresholds(
        metric=metric,
        threshold=threshold,
        rising=counts.rising,
        chosen={group: counts.threshold_of(cut) for group, cut in cuts.items()},
        kept={group: _why(group, known, min_cell) for group in counts.groups if group not in (UNKNOWN, *cuts)},
        rows=rows,
        few=min(rows) < min_cell,
        before=Judged(decisions=decided[0], **judged),
        after=Judged(decisions=decided[1], **judged),
        gained=gained,
        lost=lost,
    )


def _hidden(chosen_on: ScoreCuts, judged_on: ScoreCuts, min_cell: int) -> frozenset[str]:
    """Return groups of few rows in a half, with those that would give them back: the rest of the rows tells it."""
    halves = (suppressed_groups({half.attribute: half.sizes}, min_cell=min_cell) for half in (chosen_on, judged_on))
    return frozenset[str]().union(*(hidden[chosen_on.attribute] for hidden in halves))


def _few_of_a_rate(halves: Iterable[ScoreCuts], cuts: Mapping[str, int], min_cell: int) -> frozenset[str]:
    """Return groups of few rows of a label or a decision in a half: their error rates, and thresholds, tell of these.

    No total of the halves' error rates is shown, so that no other group gives them back.
    """
    found = (denominators(half.decided(cuts)).items() for half in halves)
    return frozenset(group for half in found for group, counts in half if is_small(counts, min_cell))


def _of_thin(decided: Iterable[GroupTable], thin: frozenset[str], min_cell: int) -> tuple[str, ...]:
    """Return what is shown of thin groups: no accuracy where it and the selection rate tell almost all the rest."""
    pinned = any(
        table.group_sizes[group] and left_open < min_cell
        for table in decided
        for group, left_open in leeways(table).items()
        if group in thin
    )
    return tuple(metric for metric in OF_ALL_ROWS if not (pinned and metric == "accuracy"))


def _why(group: str, known: list[str], min_cell: int) -> str:
    if group in known and len(known) > 1:
        return "no threshold selects some of the rows that the rate counts among, and not all"
    if group in known:
        return "no second group to bring it nearer to"
    return f"none or fewer than {min_cell} rows of a label or decision in a half, or kept back with such a group"


def _changed(judged_on: ScoreCuts, usual: int, cuts: Mapping[str, int]) -> tuple[int, int]:
    """Return how many rows are decided rightly only after, and only before."""
    gained = lost = 0
    for group, (unfavourable, favourable) in zip(judged_on.groups, judged_on.counts, strict=True):
        first, last = sorted((usual, cuts[group]))
        moved = int(favourable[first:last].sum()), int(unfavourable[first:last].sum())
        right, wrong = moved if cuts[group] < usual else moved[::-1]
        gained, lost = gained + right, lost + wrong
    return gained, lost
