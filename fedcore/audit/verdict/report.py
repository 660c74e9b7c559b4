"""The content of ``bias.json``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import product
from typing import Any

from fedcore.audit.metrics.catalogue import CATALOGUE, HEADLINES
from fedcore.audit.metrics.clients import CLIENT_METHODS, ClientSpread
from fedcore.audit.metrics.gaps import Gap
from fedcore.audit.metrics.measures import Measures
from fedcore.audit.sites.site_splits import Splits, unnamed_json
from fedcore.audit.verdict.attribute_audit import AttributeAudit
from fedcore.audit.verdict.gate import Finding, Verdict, judge_all, overall
from fedcore.audit.verdict.hooks import Decision, Point
from fedcore.audit.verdict.limits import Limit
from fedcore.audit.verdict.settings import AuditSettings
from fedcore.audit.verdict.shown import MEASURE_METHODS, Shown

SCHEMA_VERSION = 1
Used = tuple[float, float]
"""The share of a limit that a gap uses up, surely and by estimate."""
POPULATION = "The intervals treat the evaluation rows as a sample of future cases, drawn independently."
METHODS = {
    "rate": "Wilson score interval (Wilson 1927)",
    "difference": "the wider of Newcombe's hybrid score interval, method 10 (Newcombe 1998), and the same of exact "
    "intervals (Clopper and Pearson 1934)",
    "ratio": "Koopman score interval (Koopman 1984)",
    "gap": "the pair of groups with the largest lower end; the intervals hold for all pairs at once, Bonferroni "
    "(Dunn 1961)",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class BiasReport:
    """The audit of a run at one point.

    Attributes:
        round: That of the audited model.
        measures: Metrics other than rates, by attribute; their gaps are in the audits.
        clients: How evenly clients are served; this is not group fairness.
    """

    plan_sha256: str
    round: int
    settings: AuditSettings
    audits: Mapping[str, AttributeAudit]
    decisions: tuple[Decision, ...] = ()
    measures: Mapping[str, Measures] = field(default_factory=dict)
    sites: Mapping[str, Splits] = field(default_factory=dict)
    clients: ClientSpread | None = None

    @property
    def findings(self) -> tuple[Finding, ...]:
        return judge_all(self.settings.limits, self.audits)

    @property
    def verdict(self) -> Verdict | None:
        """The worst of findings and decisions before release; None if nothing was judged, which is not a PASS."""
        before = [decision.verdict for decision in self.decisions if decision.point is not Point.AFTER_RELEASE]
        return overall([*(finding.verdict for finding in self.findings), *before])

    def worst_gap(self) -> Gap | None:
        """Return the gap for a one-line summary, over the shown groups; None if no gap is defined.

        With limits, the gap furthest beyond its limit, or else nearest to it; without, the largest difference
        in accuracy, or if targets are numbers in the mean absolute error. All by the end of the interval
        nearest to no gap, since the largest estimate is often that of the fewest rows.
        """
        used = self._worst()
        return None if used is None else used[1]

    def worst_gap_is(self) -> str:
        share, gap = self._worst() or ((0.0, 0.0), None)
        if self.settings.limits:
            return "gap beyond its limit" if share[1] > 1 else "gap nearest its limit"
        return "clearest gap" if gap is None else f"clearest gap in {gap.name}"

    def to_json(self) -> dict[str, Any]:
        """Return plain values; undefined and suppressed are null, never 0 or NaN."""
        shown = {name: Shown.of(audit, self.measures.get(name)) for name, audit in self.audits.items()}
        return {
            "schema_version": SCHEMA_VERSION,
            "plan_sha256": self.plan_sha256,
            "round": self.round,
            "confidence": self.settings.confidence,
            "methods": {**METHODS, **(CLIENT_METHODS if self.clients else {}), **MEASURE_METHODS},
            "population": population(self.settings),
            "threshold": self.settings.threshold,
            "favourable": self.settings.favourable,
            "min_cell": self.settings.min_cell,
            "overall": {name: audit.overall_json() for name, audit in self.audits.items()},
            "groups": {name: one.groups_json(marked=True) for name, one in shown.items()},
            "gaps": {name: one.gaps_json(explained=True) for name, one in shown.items()},
            "to_reference": {name: one.reference_json() for name, one in shown.items()},
            "bounded_group_loss": {name: one.bounded_json() for name, one in shown.items()},
            "by_class": {name: one.classes_json() for name, one in shown.items()},
            "unknown_bounds": {name: one.bounds_json() for name, one in shown.items()},
            "cross_group_auc": {name: one.cross_areas_json() for name, one in shown.items()},
            "auc_bounds": {name: one.area_bounds_json() for name, one in shown.items()},
            "calibration": {name: one.calibration_json() for name, one in shown.items()},
            "sites": {name: unnamed_json(self.audits[name], splits) for name, splits in self.sites.items()},
            "clients": None if self.clients is None else self.clients.to_json(),
            "suppressed": {name: list(audit.suppressed) for name, audit in self.audits.items()},
            "partly_suppressed": {name: list(audit.thin) for name, audit in self.audits.items()},
            "findings": [finding.to_json() for finding in self.findings],
            "decisions": [decision.to_json() for decision in self.decisions],
            "verdict": None if self.verdict is None else self.verdict.value,
        }

    def _worst(self) -> tuple[Used, Gap] | None:
        """Return the gap, and its share of its limit or of the largest difference."""
        if self.settings.limits:
            named = product(self.settings.limits, self.audits.values())
            held = ((limit, audit) for limit, audit in named if limit.attribute in ("*", audit.attribute))
            used = [use for limit, audit in held for use in _uses(limit, audit)]
        else:
            shown = product((audit.shown_gaps for audit in self.audits.values()), HEADLINES)
            gaps = [found[name] for found, name in shown if name in found]
            used = [((gap.difference_low or 0.0, gap.difference or 0.0), gap) for gap in gaps]
        defined = [(share, gap) for share, gap in used if gap.difference is not None]
        return max(defined, key=lambda pair: pair[0]) if defined else None


def population(settings: AuditSettings) -> str:
    if settings.looks == 1:
        return POPULATION
    what = "The run could end after any" if settings.stops_early else "The model was chosen among those"
    return (
        f"{POPULATION} {what} of {settings.looks} rounds, evaluated on these same rows: with "
        f"{100 * settings.confidence:g} % confidence each, the intervals of all {settings.looks} rounds hold together "
        f"with {100 * settings.confidence_together:g} %."
    )


def _uses(limit: Limit, audit: AttributeAudit) -> Iterator[tuple[Used, Gap]]:
    """Return the share of the limit that each gap uses up (over 1: beyond it), and the gap."""
    for _, gap in audit.as_shown().gaps_held(limit):
        if gap.difference is not None:
            named = gap.by_ratio() if limit.kind == "ratio" else gap
            sure, estimate = _surely_held(limit, named)
            yield (_share_used(limit, sure), _share_used(limit, estimate)), named


def _surely_held(limit: Limit, gap: Gap) -> tuple[float | None, float | None]:
    """Return the limited value at the end of the interval nearest to meeting it, and by estimate."""
    if limit.kind == "difference":
        return gap.difference_low, gap.difference
    if limit.kind == "ratio":
        return gap.ratio_high, gap.ratio
    worst = gap.most if limit.at_most is not None else gap.least
    if worst is None:
        return None, None
    side, ends = worst
    return ends.low if limit.at_most is not None else ends.high, float(side.rate)


def _share_used(limit: Limit, held: float | None) -> float:
    if CATALOGUE[limit.metric].signed and limit.kind == "worst-group":  # no share of a bound that may be 0
        value, bound = held or 0.0, float(limit.bound)
        return 2.0 if (value > bound if limit.at_most is not None else value < bound) else 0.0
    if limit.at_most is not None:
        return (held or 0.0) / float(limit.at_most)
    if held is None or limit.at_least is None:
        return 0.0
    return float(limit.at_least) / held if held else float("inf")
