"""The audit of one attribute."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from fedcore.audit.metrics.estimates import Measure
from fedcore.audit.metrics.gaps import Gap
from fedcore.audit.metrics.rates import Rate
from fedcore.audit.verdict.limits import Limit
from fedcore.audit.verdict.settings import AuditSettings
from fedcore.audit.verdict.suppression import OF_ALL_ROWS


@dataclass(frozen=True, slots=True, kw_only=True)
class AttributeAudit:
    """The audit of one attribute.

    ``groups`` and ``gaps`` are the estimate, over every group; they are for the gate and for hooks, which
    must see small groups too. ``shown_gaps`` are for people, as `Shown` is: they leave out the suppressed
    groups, since the size of a gap and the ends of its interval would reveal a hidden rate.

    Attributes:
        sizes: Rows of each group, "unknown" included.
        small: Groups of 1 to ``min_cell - 1`` rows.
        suppressed: Groups that are not shown: the small ones, and those that would reveal them.
        thin: Groups with a rate over few rows, and those that would reveal it: only rates over all rows are shown.
        thin_overall: Whether the same holds for all rows together.
        crosses_shown: Whether it crosses attributes that are also audited, alone or in another crossing.
        not_judged: Groups that are too small to be compared, by the settings.
        to_reference: With a reference: for every other group the gap of every metric between these two, with intervals
            that hold for all groups at once; limits on gaps then apply to these.
        classes: With more than two labels and none favourable: each class against the others, with intervals
            that hold for all classes at once. Filled by ``with_classes``, since it takes time.
    """

    attribute: str
    settings: AuditSettings
    sizes: Mapping[str, int]
    overall: Mapping[str, Rate | Measure]
    groups: Mapping[str, Mapping[str, Rate]]
    gaps: Mapping[str, Gap]
    shown_gaps: Mapping[str, Gap]
    small: tuple[str, ...]
    suppressed: tuple[str, ...]
    thin: tuple[str, ...] = ()
    thin_overall: bool = False
    of_thin: tuple[str, ...] = OF_ALL_ROWS
    crosses_shown: bool = False
    not_judged: tuple[str, ...] = ()
    to_reference: Mapping[str, Mapping[str, Gap]] = field(default_factory=dict)
    classes: Mapping[str, AttributeAudit] = field(default_factory=dict)

    @property
    def reference(self) -> str | None:
        """The group that others are compared with; None if all are compared with all."""
        return self.settings.references.get(self.attribute)

    def hides(self, metric: str, group: str) -> bool:
        return group in self.suppressed or (group in self.thin and metric not in self.of_thin)

    def shown_in(self, metric: str) -> list[str]:
        """Return the groups whose metric is shown and compared."""
        return [group for group in self.sizes if not self.hides(metric, group) and group not in self.not_judged]

    @property
    def judged(self) -> list[str]:
        return [group for group in self.sizes if group not in self.not_judged]

    def gaps_held(self, limit: Limit) -> list[tuple[AttributeAudit, Gap]]:
        """Return every gap that must keep a limit, with its audit; empty if the metric is not measured.

        It is the gap over all groups, or between each and the reference, and either of every class if there are
        several.
        """
        if limit.metric not in self.gaps:
            return [held for one in self.classes.values() for held in one.gaps_held(limit)]
        if self.reference is None or limit.kind == "worst-group":
            return [(self, self.gaps[limit.metric])]
        return [(self, gaps[limit.metric]) for gaps in self.to_reference.values() if limit.metric in gaps]

    def as_shown(self) -> AttributeAudit:
        kept = {
            group: {
                metric: gap
                for metric, gap in gaps.items()
                if not self.hides(metric, group) and not self.hides(metric, self.reference or group)
            }
            for group, gaps in self.to_reference.items()
        }
        kept = {group: gaps for group, gaps in kept.items() if gaps}
        classes = {label: one.as_shown() for label, one in self.classes.items()}
        return replace(self, gaps=self.shown_gaps, to_reference=kept, classes=classes)

    def hides_overall(self, metric: str) -> bool:
        few = sum(self.sizes.values()) < self.settings.min_cell
        return few or (self.thin_overall and metric not in self.of_thin)

    def overall_json(self) -> dict[str, Any]:
        """Return ``{metric: rate}`` over all rows, as `rate_json`."""
        return {name: rate_json(rate, suppressed=self.hides_overall(name)) for name, rate in self.overall.items()}


def rate_json(rate: Rate | Measure, *, suppressed: bool = False) -> dict[str, Any]:
    """Return ``{value, low, high, n}``: undefined is nulls and n = 0, suppressed is nulls and ``suppressed: true``."""
    if suppressed:
        return {"value": None, "low": None, "high": None, "n": None, "suppressed": True}
    return {"value": rate.value, "low": rate.low, "high": rate.high, "n": rate.n}
