"""The audit of a table of ranked lists, from options to findings."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from fedcore.audit.attribute_audit import AttributeAudit
from fedcore.audit.gate import Finding, Verdict, judge_all, overall
from fedcore.audit.groups import UNKNOWN
from fedcore.audit.measures import Measures
from fedcore.audit.ranked_groups import RankedGroups
from fedcore.audit.ranked_lists import MOST_GRADES, ranked_cells
from fedcore.audit.ranking import measure_ranking
from fedcore.audit.resampling import SEED
from fedcore.audit.settings import AuditSettings
from fedcore.audit.shown import Shown
from fedcore.audit.suppression import suppressed_groups, thin_groups
from fedcore_simulations.bias_audit.group_notes import alike_notes, not_judged_notes
from fedcore_simulations.bias_audit.grouping import Coded
from fedcore_simulations.bias_audit.limits import limits_of
from fedcore_simulations.bias_audit.options import MIN_CELL, BiasOptions
from fedcore_simulations.bias_audit.ranking_rows import RankedRows, notes_of, read_ranking

Found = Mapping[str, RankedGroups]


@dataclass(frozen=True, kw_only=True)
class RankingResult:
    """What was found in a table of ranked lists.

    Attributes:
        options: What was asked for.
        rows: The table.
        settings: How it was read.
        found: Every measure of each attribute's groups.
    """

    options: BiasOptions
    rows: RankedRows
    settings: AuditSettings
    found: Mapping[str, Found]

    @cached_property
    def shown(self) -> dict[str, Shown]:
        """What may be shown of each attribute; its audit is what limits are held against."""
        sizes = {attribute: _sizes(self.rows, coded) for attribute, coded in self.rows.groups.items()}
        hidden = suppressed_groups(sizes, min_cell=self.settings.min_cell)
        worth = {attribute: _by_relevance(self.rows, coded) for attribute, coded in self.rows.groups.items()}
        thin = thin_groups(worth, min_cell=self.settings.min_cell)
        return {
            attribute: _shown(
                attribute, sizes[attribute], hidden[attribute], thin[attribute], found=found, settings=self.settings
            )
            for attribute, found in self.found.items()
        }

    def to_share(self) -> RankingResult:
        """Return the same without small groups, unless the options say from how many rows on they are shown."""
        if self.options.min_cell is not None:
            return self
        return replace(self, settings=replace(self.settings, min_cell=MIN_CELL))

    @cached_property
    def findings(self) -> tuple[Finding, ...]:
        """Every limit held against every attribute it names."""
        return judge_all(self.settings.limits, {name: one.audit for name, one in self.shown.items()})

    @property
    def verdict(self) -> Verdict | None:
        """The worst of the findings; None without limits, which is no PASS."""
        return overall(self.findings)


def audited_ranking(options: BiasOptions, *, tell: Callable[[str], None] = lambda _: None) -> RankingResult:
    """Audit a table of ranked lists.

    Args:
        options: What is asked for.
        tell: Told what is being done, for whoever waits.

    Raises:
        PlanError: A limit contradicts what is audited.
        DataError: The table cannot be read, or its lists cannot be compared.
    """
    rows = read_ranking(options)
    tell(f"comparing the places of {int(rows.weights.sum()):,} rows …")
    found = {attribute: _measured(rows, coded) for attribute, coded in rows.groups.items()}
    limits = limits_of(options.limits, attributes=found, metrics={metric for one in found.values() for metric in one})
    settings = AuditSettings(
        confidence=options.confidence,
        min_cell=options.min_cell or 1,
        limits=limits,
        **options.judged,
    )
    return RankingResult(options=options, rows=rows, settings=settings, found=found)


def result_notes(result: RankingResult) -> list[str]:
    """Return what a reader must know beside the numbers, in sentences."""
    notes = [*notes_of(result.rows)]
    for attribute, shown in result.shown.items():
        audit = shown.audit
        if audit.sizes[UNKNOWN] and UNKNOWN not in audit.suppressed:
            notes.append(f"{attribute}: rows of unknown group keep their places in the lists, and are not compared")
        if audit.suppressed:
            notes.append(
                f"{attribute}: not shown, because it has fewer than {result.settings.min_cell} rows or would give such "
                f"a group back: {', '.join(audit.suppressed)}"
            )
        if audit.thin:
            notes.append(
                f"{attribute}: shown in part, because it has fewer than {result.settings.min_cell} rows of a relevance "
                f"or would give such a group back: {', '.join(audit.thin)}"
            )
        notes += [*alike_notes(attribute, audit.sizes), *not_judged_notes(attribute, audit)]
    return notes


def _measured(rows: RankedRows, coded: Coded) -> Found:
    cells, order = ranked_cells(rows.lists, rows.scores, coded.codes, rows.relevance)
    weights = rows.weights[order].astype(np.float64)
    return measure_ranking(cells, weights, rows.top, coded.vocabulary, generator=np.random.default_rng(SEED))


def _sizes(rows: RankedRows, coded: Coded) -> dict[str, int]:
    counts = np.bincount(coded.codes, weights=rows.weights, minlength=len(coded.vocabulary)).astype(np.int64)
    return dict(zip(coded.vocabulary, counts.tolist(), strict=True))


def _by_relevance(rows: RankedRows, coded: Coded) -> dict[str, tuple[int, ...]]:
    """Return each group's rows, and those of each relevance; where there are many, those of some and of none."""
    if rows.relevance is None:
        return {group: (size,) for group, size in _sizes(rows, coded).items()}
    few = len(np.unique(rows.relevance)) <= MOST_GRADES
    grades, codes = np.unique(rows.relevance if few else rows.relevance > 0, return_inverse=True)
    counts = np.zeros((len(coded.vocabulary), len(grades)), dtype=np.int64)
    np.add.at(counts, (coded.codes, codes), rows.weights)
    return {group: (sum(own), *own) for group, own in zip(coded.vocabulary, counts.tolist(), strict=True)}


def _shown(
    attribute: str,
    sizes: Mapping[str, int],
    hidden: Collection[str],
    thin: Collection[str],
    *,
    found: Found,
    settings: AuditSettings,
) -> Shown:
    not_judged = settings.not_judged(attribute, sizes)
    judged = [group for group in sizes if group not in not_judged]
    audit = AttributeAudit(
        attribute=attribute,
        settings=settings,
        sizes=sizes,
        overall={},
        groups={},
        gaps={name: one.gap(attribute, judged, confidence=settings.confidence) for name, one in found.items()},
        shown_gaps={},
        small=tuple(group for group, size in sizes.items() if 0 < size < settings.min_cell),
        suppressed=tuple(group for group in sizes if group in hidden),
        thin=tuple(group for group in sizes if group in thin and group not in hidden),
        not_judged=not_judged,
    )
    shown_gaps = {
        name: one.gap(attribute, audit.shown_in(name), confidence=settings.confidence) for name, one in found.items()
    }
    audit = replace(audit, shown_gaps=shown_gaps)
    return Shown(audit=audit, measures=Measures(estimates={name: one.estimates() for name, one in found.items()}))
