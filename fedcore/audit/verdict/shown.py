"""What may be shown of one attribute, and as JSON: one shape for a run and for a table.

``groups.<group>.<metric> = {value, low, high, n}`` and ``gaps.<metric> = {difference, ratio, low, high, highest,
lowest}``, the ends those of the difference. Undefined is null with n = 0, and hidden is null with n null;
neither is ever 0 or NaN.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any

from fedcore.audit.metrics.catalogue import CATALOGUE
from fedcore.audit.metrics.classes import WorstClass, worst_classes
from fedcore.audit.metrics.estimates import Measure
from fedcore.audit.metrics.estimators.calibration import bins_json, joined
from fedcore.audit.metrics.gaps import Gap
from fedcore.audit.metrics.measures import Measures, Pair
from fedcore.audit.metrics.parity import Parity, impact_ratios, parities
from fedcore.audit.metrics.rates import Rate, bounds
from fedcore.audit.tables.groups import UNKNOWN
from fedcore.audit.verdict.attribute_audit import AttributeAudit, rate_json
from fedcore.audit.verdict.gap_json import directed_json, explained_json, gap_json

_OWN = {name: metric for name, metric in CATALOGUE.items() if metric.interval}
MEASURE_METHODS = {
    **{name: metric.interval for name, metric in _OWN.items() if not metric.in_own_unit},
    "differences of what is no rate": "square-and-add (Zou and Donner 2008)",
    "ratios of what is no rate": "the same, of logarithms",
    "means and errors of numbers": "furthest of Student's, Hall's (1992), and the exact one of two values (Clopper and "
    "Pearson 1934)",
    **{name: metric.interval for name, metric in _OWN.items() if metric.in_own_unit},
    "worst class": "exact intervals of all classes at once (Clopper and Pearson 1934, Bonferroni)",
    "others": "parametric bootstrap of the counts, 2,000 draws",
}
"""How the intervals of other metrics than plain rates are formed; those of rates are in ``report.METHODS``."""


BOUNDED = tuple(name for name, metric in CATALOGUE.items() if metric.bounded_loss)


@dataclass(frozen=True)
class Shown:
    """One attribute without hidden groups.

    Attributes:
        audit: Rates and gaps; with the gaps of ``measures`` added.
        metrics: Names of the rates that are defined; without labels only the selection rate.
    """

    audit: AttributeAudit
    measures: Measures = field(default_factory=Measures)
    metrics: tuple[str, ...] = ()

    @classmethod
    def of(cls, audit: AttributeAudit, measures: Measures | None = None) -> Shown:
        return cls(audit=audit, measures=measures or Measures(), metrics=tuple(audit.groups))

    @cached_property
    def groups(self) -> tuple[str, ...]:
        """Groups whose numbers are shown; "unknown" only if it has rows."""
        sizes = self.audit.sizes
        return tuple(g for g, n in sizes.items() if g not in self.audit.suppressed and (g != UNKNOWN or n))

    @cached_property
    def rates(self) -> dict[str, dict[str, Rate]]:
        return {
            metric: {group: rate for group, rate in self.audit.groups[metric].items() if self._shows(metric, group)}
            for metric in self.metrics
        }

    @cached_property
    def estimates(self) -> dict[str, dict[str, Measure]]:
        """Metrics other than rates, ``{metric: {group: measure}}``."""
        confidence = self.audit.settings.confidence
        return {
            metric: {group: one.measure(confidence) for group, one in by_group.items() if self._shows(metric, group)}
            for metric, by_group in self.measures.estimates.items()
        }

    def _shows(self, metric: str, group: str) -> bool:
        return group in self.groups and not self.audit.hides(metric, group)

    @cached_property
    def compared(self) -> tuple[str, ...]:
        return tuple(group for group in self.groups if group not in self.audit.not_judged)

    @cached_property
    def _compared_rates(self) -> dict[str, dict[str, Rate]]:
        return {
            metric: {group: rate for group, rate in rates.items() if group in self.compared}
            for metric, rates in self.rates.items()
        }

    @cached_property
    def impact(self) -> dict[str, Rate | None]:
        """Impact ratio of every group; empty if nothing is selected."""
        rates = self._compared_rates.get("selection_rate", {})
        return impact_ratios(rates, confidence=self.audit.settings.confidence)

    @cached_property
    def parities(self) -> dict[str, Parity]:
        return parities(self.audit.attribute, self._compared_rates, confidence=self.audit.settings.confidence)

    @cached_property
    def distances(self) -> dict[str, Parity]:
        confidence = self.audit.settings.confidence
        of_labels = self.measures.distances([g for g in self.compared if self._shows("auc", g)], confidence=confidence)
        found = self.measures.distances(self.compared, confidence=confidence)
        return {name: of_labels[name] if name == "cross_group_auc" else one for name, one in found.items()}

    @cached_property
    def classes(self) -> dict[str, Shown]:
        return {label: Shown.of(one) for label, one in self.audit.classes.items()}

    @cached_property
    def worst_classes(self) -> dict[str, WorstClass]:
        return worst_classes(self.audit)

    @cached_property
    def gaps(self) -> dict[str, Gap]:
        wanted = {*self.metrics, *self.measures.estimates}
        return {metric: gap for metric, gap in self.audit.shown_gaps.items() if metric in wanted}

    def groups_json(self, *, marked: bool = False) -> dict[str, Any]:
        """Return every group with all its metrics; `marked` adds ``suppressed: true`` where hidden."""
        measured: dict[str, Mapping[str, Rate | Measure | None]] = {**self.rates}
        measured |= {"impact_ratio": self.impact} if self.impact else {}
        measured |= self.estimates
        return {
            group: {
                metric: measure_json(of.get(group), suppressed=self.audit.hides(metric, group), marked=marked)
                for metric, of in measured.items()
            }
            for group in self.audit.sizes
        }

    def gaps_json(self, *, explained: bool = False) -> dict[str, Any]:
        """Return the gaps, also under their usual names; with classes the largest; `explained` adds their words."""
        found = {metric: gap_json(gap) if explained else asdict(Parity.of(gap)) for metric, gap in self.gaps.items()}
        of_classes = {name: worst.parity for name, worst in self.worst_classes.items()}
        named = {**of_classes, **self.parities, **self.distances}
        return found | {name: asdict(parity) for name, parity in named.items()}

    def reference_json(self) -> dict[str, Any]:
        """Return ``{reference: group, gaps: {group: {metric: gap to the reference}}}``; empty without one.

        The difference is group minus reference, the ratio group over reference.
        """
        compared = self.audit.as_shown().to_reference
        if not compared:
            return {}
        gaps = {
            group: {metric: directed_json(gap) for metric, gap in by_metric.items() if metric in self.gaps}
            for group, by_metric in compared.items()
        }
        return {"reference": self.audit.reference, "gaps": gaps}

    def bounded_json(self) -> dict[str, Any]:
        """Return the largest of the groups' errors, with intervals: the quantity that bounded group loss bounds.

        Source: Agarwal, Dudík and Wu (2019), "Fair regression", arXiv 1905.12843.
        """
        worst = {metric: self.gaps[metric] for metric in BOUNDED if metric in self.gaps}
        return {metric: _largest(gap) for metric, gap in worst.items() if gap.most is not None}

    def classes_json(self) -> dict[str, Any]:
        """Return ``{worst: {metric: class}, undefined, classes: {class: {groups, gaps}}}``, empty without several."""
        if not self.classes:
            return {}
        return {
            "worst": {name: worst.label for name, worst in self.worst_classes.items()},
            "undefined": {name: list(worst.undefined) for name, worst in self.worst_classes.items() if worst.undefined},
            "classes": {
                label: {"groups": one.groups_json(), "gaps": one.gaps_json()} for label, one in self.classes.items()
            },
        }

    def explained_json(self) -> dict[str, Any]:
        return {metric: explained_json(gap) for metric, gap in self.gaps.items()}

    def bounds_json(self) -> dict[str, Any]:
        """Return each group's lowest and highest possible selection rate, wherever the unknown rows belong."""
        rates = self.rates.get("selection_rate", {})
        unknown = rates.get(UNKNOWN)
        if unknown is None or not unknown.n or unknown.noise.present:
            return {}  # of noisy counts nothing is certain
        found = {group: bounds(rate, unknown) for group, rate in rates.items() if group != UNKNOWN}
        return {group: {"low": ends.low, "high": ends.high} for group, ends in found.items() if ends is not None}

    def cross_areas_json(self) -> dict[str, dict[str, Any]]:
        """Return ``{group of the favourable rows: {group of the others: area}}``."""
        confidence = self.audit.settings.confidence
        return self._by_pair(self.measures.cross_areas, lambda area: measure_json(area.measure(confidence)))

    def area_bounds_json(self) -> dict[str, dict[str, Any]]:
        """Return ``{group of the favourable rows: {group of the others: {low, high}}}``: bounds, not intervals."""
        return self._by_pair(self.measures.area_bounds, lambda ends: {"low": ends[0], "high": ends[1]})

    def _by_pair(self, found: Mapping[Pair, Any], to_json: Callable[[Any], Any]) -> dict[str, dict[str, Any]]:
        shown: dict[str, dict[str, Any]] = {}
        for (first, second), one in found.items():
            if self._shows("auc", first) and self._shows("auc", second):
                shown.setdefault(first, {})[second] = to_json(one)
        return shown

    def calibration_json(self) -> dict[str, list[dict[str, Any]]]:
        """Return each group's curve, ``[{score, value, low, high, n}]``: share of favourable labels by mean score.

        Not for a crossing next to its parts: bin by bin, these would reveal its small groups.
        """
        settings = self.audit.settings
        if self.audit.crosses_shown and settings.min_cell > 1:
            return {}
        shown = [group for group in self.measures.curves if self._shows("calibration_slope", group)]
        curves = joined(self.measures.curves, shown, min_cell=settings.min_cell)
        return {group: bins_json(bins, settings.confidence) for group, bins in curves.items()}


def ratio_ends(gap: Mapping[str, Any]) -> tuple[float, float] | None:
    """Return the interval of a gap's ratio, from its JSON; None without one: the ratio is then not shown."""
    low, high = gap.get("ratio_low"), gap.get("ratio_high")
    return None if gap.get("ratio") is None or low is None or high is None else (low, high)


def _largest(gap: Gap) -> dict[str, Any]:
    """Return the group with certainly a large error and its interval, and how large any group's may be."""
    low, high = gap.highest_ends or (None, None)
    if gap.most is None:
        return {}
    side, ends = gap.most
    return {
        "group": side.group,
        "value": float(side.rate),
        "low": ends.low,
        "high": ends.high,
        "n": side.n,
        "any_group": {"low": low, "high": high},
    }


def measure_json(one: Rate | Measure | None, *, suppressed: bool = False, marked: bool = False) -> dict[str, Any]:
    """Return ``{value, low, high, n}`` of a rate or another metric."""
    content = rate_json(one or Measure(value=None, low=None, high=None, n=0), suppressed=suppressed)
    return content if marked else {name: content[name] for name in ("value", "low", "high", "n")}
