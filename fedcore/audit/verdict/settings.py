"""How a plan reads its tables, declared before any result is seen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction

from fedcore.audit.tables.groups import UNKNOWN
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
    def confidence_together(self) -> float:
        """Confidence with which the intervals of all looks hold at once."""
        return 1 - self.looks * (1 - self.confidence)


def confidence_of_each(confidence: float, looks: int) -> float:
    """Return the confidence of each of several looks with which all hold together (Bonferroni; Dunn 1961)."""
    return 1 - (1 - confidence) / looks
