"""How a plan reads its tables, declared before any result is seen, and whether its limits can be measured."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from fedcore.audit.metrics.catalogue import CATALOGUE
from fedcore.audit.tables.groups import UNKNOWN
from fedcore.audit.tables.values import AuditTable, ValueTable
from fedcore.audit.verdict.limits import Limit
from fedcore.errors import PlanError


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditSettings:
    """How the tables are read.

    Attributes:
        threshold: A row is predicted positive if its score is at least this; on an edge of the score bins.
        favourable: The label that counts as positive, or None for the second of two.
        confidence: Of every interval; a gap's interval holds with it for all pairs of groups together.
        min_cell: Groups and rates of fewer rows are hidden.
        references: For attributes the group that the others are compared with; limits then apply to these gaps.
        min_rows: Groups of fewer rows are shown, and not judged.
        min_share: Groups of a smaller share of the rows of known group are shown, and not judged.
        looks: Evaluations of the same rows for which the intervals hold together; ``confidence`` is that of each.
        stops_early: Whether these evaluations decide after which round the run ends.

    Raises:
        PlanError: A value is out of range; all problems are listed.
    """

    threshold: float = 0.5
    favourable: str | None = None
    confidence: float = 0.95
    min_cell: int = 10
    score_bins: int = 100
    limits: tuple[Limit, ...] = ()
    references: Mapping[str, str] = field(default_factory=dict)
    min_rows: int = 0
    min_share: Fraction = Fraction(0)
    looks: int = 1
    stops_early: bool = False

    def __post_init__(self) -> None:
        problems = []
        if not 0 < self.threshold < 1:
            problems.append(f"audit: threshold must lie between 0 and 1, not {self.threshold!r}")
        if not 0 < self.confidence < 1:
            problems.append(f"audit: confidence must lie between 0 and 1, not {self.confidence!r}")
        if self.min_cell < 1:
            problems.append(f"audit: min-cell must be 1 or more, not {self.min_cell!r}")
        if self.score_bins < 2:
            problems.append(f"audit: score-bins must be 2 or more, not {self.score_bins!r}")
        elif abs(self.threshold * self.score_bins - round(self.threshold * self.score_bins)) > 1e-9:
            problems.append(
                f"audit: threshold {self.threshold!r} is on no edge of {self.score_bins} score bins; "
                f"the nearest is {round(self.threshold * self.score_bins) / self.score_bins:g}"
            )
        if problems:
            raise PlanError(problems)

    def not_judged(self, attribute: str, sizes: Mapping[str, int]) -> tuple[str, ...]:
        """Return the groups that are too small to be compared; a reference is always compared."""
        known = {group: size for group, size in sizes.items() if group != UNKNOWN}
        fewest = max(Fraction(self.min_rows), self.min_share * sum(known.values()))
        return tuple(group for group, n in known.items() if n < fewest and group != self.references.get(attribute))

    @property
    def reading(self) -> dict[str, Any]:
        """The arguments with which ``group_rates`` reads a table."""
        return {"threshold": self.threshold, "favourable": self.favourable, "confidence": self.confidence}

    @property
    def confidence_together(self) -> float:
        """Confidence with which the intervals of all looks hold at once."""
        return 1 - self.looks * (1 - self.confidence)


def confidence_of_each(confidence: float, looks: int) -> float:
    """Return the confidence of each of several looks with which all hold together (Bonferroni; Dunn 1961)."""
    return 1 - (1 - confidence) / looks


def check_measurable(
    settings: AuditSettings,
    tables: Mapping[str, AuditTable],
    *,
    noisy: bool = False,
) -> None:
    """Refuse limits that these tables can never decide.

    Args:
        tables: A table of each attribute; the counts do not matter.

    Raises:
        PlanError: A limit needs scores, numbers or a favourable label that the tables lack; or a reference is unknown.
    """
    problems = [*dict.fromkeys(_problems(settings.limits, settings.favourable, tables.values()))]
    problems += _reference_problems(settings, {name: table.groups for name, table in tables.items()})
    problems += [
        f"audit.limits: {limit.metric} is not measured of noisy counts; limit a rate, or leave out "
        "privacy.evaluation-noise-multiplier"
        for limit in settings.limits
        if noisy and not CATALOGUE[limit.metric].of_noisy_counts
    ]
    if problems:
        raise PlanError(problems)


def check_references(settings: AuditSettings, groups: Mapping[str, Collection[str]]) -> None:
    """Refuse references that are not groups.

    Raises:
        PlanError: The attribute of a reference is not audited, or lacks that known group.
    """
    if problems := [*_reference_problems(settings, groups)]:
        raise PlanError(problems)


def _reference_problems(settings: AuditSettings, groups: Mapping[str, Collection[str]]) -> Iterable[str]:
    for attribute, group in settings.references.items():
        known = [one for one in groups.get(attribute, ()) if one != UNKNOWN]
        if attribute not in groups:
            yield f"reference of {attribute!r}: it is not audited; audited are {', '.join(groups)}"
        elif group not in known:
            yield f"reference of {attribute!r}: {group!r} is none of its groups, {', '.join(known)}"


def _problems(limits: Iterable[Limit], favourable: str | None, tables: Iterable[AuditTable]) -> Iterable[str]:
    for table in tables:
        for limit in limits:
            source = CATALOGUE[limit.metric].source
            if isinstance(table, ValueTable) != (source == "numbers"):
                targets = "numbers" if isinstance(table, ValueTable) else "labels"
                yield f"audit.limits: {limit.metric} is not measured where targets are {targets}, as those of the task"
            elif isinstance(table, ValueTable):
                continue
            elif source in ("scores", "probabilities") and not table.scored:
                yield (
                    f"audit.limits: {limit.metric} is measured of scores, and these are counted for two labels; "
                    f"the task has {len(table.labels)}"
                )
            elif source == "several classes" and (len(table.labels) == 2 or favourable is not None):
                yield f"audit.limits: {limit.metric} is of more than two labels, none of them favourable"
            elif source == "benefits" and len(table.labels) > 2 and favourable is None:
                yield f"audit.limits: {limit.metric} of more than two labels needs audit.favourable"
