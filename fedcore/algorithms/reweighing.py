"""Reweighing: losses of rows are multiplied so that group and label become independent.

Kamiran and Calders 2012, "Data preprocessing techniques for classification without discrimination", section 4.3. The
factors follow from the first evaluation, that of the untrained model, and stay.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from fedcore.algorithms.audited import attribute_problems, audited_attribute, label_problems, labelled
from fedcore.algorithms.contract import Algorithm, Evaluated
from fedcore.algorithms.row_weights import RowWeights
from fedcore.audit.tables.groups import UNKNOWN, GroupTable
from fedcore.parameters import State

if TYPE_CHECKING:
    from fedcore.audit.tables.values import AuditTable
    from fedcore.plan import RunPlan


class Reweighing(Algorithm):
    """Row weights ``P(group) P(label) / P(group, label)``.

    Args:
        strength: Exponent of the factors; 0 leaves the rows as they are.
    """

    learns = weighs_rows = True

    def __init__(self, strength: float = 1.0, attribute: str = "") -> None:
        if not 0 <= strength < math.inf:
            raise ValueError(f"strength: expected a number of 0 or more, found {strength!r}")
        self.strength, self.attribute = float(strength), attribute

    def check(self, plan: RunPlan) -> Iterator[str]:
        yield from attribute_problems(self.attribute, plan)

    def check_tables(self, tables: Mapping[str, AuditTable], plan: RunPlan) -> Iterator[str]:
        yield from label_problems(tables)

    def start(self, size: int) -> State:
        return {"row_weights": None}

    def learn(self, state: State, evaluation: Evaluated, plan: RunPlan) -> State:
        if state["row_weights"] is not None:
            return state
        table = labelled(evaluation.tables[audited_attribute(self.attribute, plan)])
        return {"row_weights": reweighed(table, strength=self.strength).to_json()}

    def row_weights(self, state: State) -> RowWeights | None:
        plain = state["row_weights"]
        return None if plain is None else RowWeights.from_json(plain)

    def report(self, state: State) -> dict[str, Any]:
        return dict(state)


def reweighed(table: GroupTable, *, strength: float = 1.0) -> RowWeights:
    """The factors of a table. Rows of unknown group, and cells without rows, keep the factor 1."""
    counts = np.maximum(table.counts.sum(axis=2), 0).astype(np.float64)  # noise may have made them negative
    unknown = table.groups.index(UNKNOWN)
    counts[unknown] = 0.0
    expected = np.outer(counts.sum(axis=1), counts.sum(axis=0)) / max(1.0, counts.sum())
    factors = np.divide(expected, counts, out=np.ones_like(counts), where=counts > 0)
    return RowWeights.of(table.attribute, factors**strength)
