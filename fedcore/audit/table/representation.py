"""Sizes, labels and missing cells by group, with intervals."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedcore.audit.metrics.gaps import Gap
from fedcore.audit.metrics.group_gaps import gap_between
from fedcore.audit.metrics.rates import Rate
from fedcore.audit.table.columns import Coded
from fedcore.audit.table.rows import Labels, Rows
from fedcore.audit.tables.groups import UNKNOWN
from fedcore.audit.verdict.suppression import suppressed_groups

BASE_RATE = "base_rate"


@dataclass(frozen=True, slots=True, kw_only=True)
class Representation:
    """The groups of one attribute in a table.

    Attributes:
        shares: Of all rows, by group.
        base_rates: Share of the favourable label, by group.
        missing: For each column that has empty cells anywhere, the share of them by group.
        gaps: Of the base rate and of each column's missing share, over the groups that are shown.
    """

    shares: Mapping[str, Rate]
    base_rates: Mapping[str, Rate]
    missing: Mapping[str, Mapping[str, Rate]]
    gaps: Mapping[str, Gap]
    suppressed: frozenset[str]


def represent(
    rows: Rows[Labels], empty: Mapping[str, NDArray[np.bool_]], *, confidence: float, min_cell: int
) -> dict[str, Representation]:
    """Return the representation of each group, by attribute.

    Args:
        empty: For each column which cells are empty, shape (rows,).
    """
    sizes = {name: _sums(coded, rows.weights) for name, coded in rows.groups.items()}
    hidden = suppressed_groups(sizes, min_cell=min_cell)
    return {
        name: _of_attribute(name, rows, empty, sizes[name], hidden[name], confidence=confidence) for name in rows.groups
    }


def _of_attribute(
    attribute: str,
    rows: Rows[Labels],
    empty: Mapping[str, NDArray[np.bool_]],
    sizes: Mapping[str, int],
    hidden: frozenset[str],
    *,
    confidence: float,
) -> Representation:
    coded, total = rows.groups[attribute], rows.total
    there = {g: n for g, n in sizes.items() if g not in hidden and (n or g != UNKNOWN)}

    def rates(hit: NDArray[np.bool_]) -> dict[str, Rate]:
        counted = _sums(coded, rows.weights * hit)
        return {group: Rate.of(counted[group], size, confidence=confidence) for group, size in there.items()}

    by_metric = {BASE_RATE: rates(rows.outcomes.selected == 1)} | {name: rates(cells) for name, cells in empty.items()}
    return Representation(
        shares={group: Rate.of(size, total, confidence=confidence) for group, size in there.items()},
        base_rates=by_metric[BASE_RATE],
        missing={name: by_metric[name] for name in empty},
        gaps={name: gap_between(attribute, name, each, confidence=confidence) for name, each in by_metric.items()},
        suppressed=hidden,
    )


def _sums(coded: Coded, weights: NDArray[np.int64]) -> dict[str, int]:
    counts = np.bincount(coded.codes, weights=weights, minlength=len(coded.vocabulary))
    return dict(zip(coded.vocabulary, (round(count) for count in counts.tolist()), strict=True))
