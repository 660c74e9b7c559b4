"""FedMinMax: the group with the largest risk gets a larger share of the loss.

Papadaki et al. 2022, "Minimax demographic group fairness in federated learning", arXiv 2201.08304.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from fedcore.algorithms.audited import attribute_problems, audited_attribute, label_problems, labelled
from fedcore.algorithms.contract import Algorithm, Evaluated
from fedcore.algorithms.row_weights import RowWeights
from fedcore.algorithms.simplex import ascended, check_step
from fedcore.audit.tables.groups import UNKNOWN, GroupTable
from fedcore.parameters import State

if TYPE_CHECKING:
    from fedcore.audit.tables.values import AuditTable
    from fedcore.plan import RunPlan


class FedMinMax(Algorithm):
    """Row weights that follow the groups' risks."""

    learns = weighs_rows = True

    def __init__(self, step: float = 0.1, attribute: str = "") -> None:
        self.step_size, self.attribute = check_step(step), attribute

    def check(self, plan: RunPlan) -> Iterator[str]:
        yield from attribute_problems(self.attribute, plan)

    def check_tables(self, tables: Mapping[str, AuditTable], plan: RunPlan) -> Iterator[str]:
        yield from label_problems(tables)

    def start(self, size: int) -> State:
        return {"groups": None, "row_weights": None}

    def learn(self, state: State, evaluation: Evaluated, plan: RunPlan) -> State:
        table = labelled(evaluation.tables[audited_attribute(self.attribute, plan)])
        before = state["groups"]
        shares = group_shares(table) if before is None else ascended(before, group_risks(table), step=self.step_size)
        return {"groups": shares, "row_weights": weighed_by_group(table, shares).to_json()}

    def row_weights(self, state: State) -> RowWeights | None:
        plain = state["row_weights"]
        return None if plain is None else RowWeights.from_json(plain)

    def report(self, state: State) -> dict[str, Any]:
        return dict(state)


def group_risks(table: GroupTable) -> dict[str, float]:
    """Mean loss of each known group that has rows, from its counts; noise on them may have made it negative: 0 then.

    With two labels it is the logarithmic loss of the middles of the score bins, else the share of wrong predictions.
    """
    return {group: max(0.0, _risk(table, counts)) for group, counts in _known(table)}


def group_shares(table: GroupTable) -> dict[str, float]:
    sizes = {group: float(counts.sum()) for group, counts in _known(table)}
    total = sum(sizes.values())
    return {group: size / total for group, size in sizes.items()}


def weighed_by_group(table: GroupTable, shares: Mapping[str, float]) -> RowWeights:
    """Factors by which each group has its given share of the loss: ``share / P(group)``, the same for all labels."""
    sizes = np.maximum(table.counts.sum(axis=(1, 2)), 0).astype(np.float64)  # noise may have made them negative
    known = sum(size for group, size in zip(table.groups, sizes, strict=True) if group in shares)
    factors = [
        shares[group] * known / size if group in shares and size > 0 else 1.0
        for group, size in zip(table.groups, sizes, strict=True)
    ]
    return RowWeights.of(table.attribute, np.repeat(np.array(factors)[:, None], len(table.labels), axis=1))


def _known(table: GroupTable) -> Iterator[tuple[str, np.ndarray]]:
    for group, counts in zip(table.groups, table.counts, strict=True):
        if group != UNKNOWN and counts.sum() > 0:
            yield group, counts.astype(np.float64)


def _risk(table: GroupTable, counts: np.ndarray) -> float:
    if not table.scored:
        return 1.0 - float(np.trace(counts) / counts.sum())
    middles = (np.arange(table.num_bins) + 0.5) / table.num_bins
    losses = np.stack([-np.log1p(-middles), -np.log(middles)])
    return float((counts * losses).sum() / counts.sum())
