"""FairFed: clients whose gap is farther than average from the federation's get a smaller share.

Ezzeldin et al. 2023, "FairFed: enabling group fairness in federated learning", arXiv 2110.00857, equation 6, on shares
instead of numbers of rows, which would make the correction vanishingly small.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from fedcore.algorithms.audited import attribute_problems, audited_attribute, label_problems, labelled
from fedcore.algorithms.client_shares import ClientShares
from fedcore.algorithms.contract import Evaluated
from fedcore.algorithms.simplex import check_step
from fedcore.audit.metrics.catalogue import RATES
from fedcore.audit.metrics.rates import group_rates
from fedcore.audit.tables.groups import UNKNOWN, GroupTable
from fedcore.parameters import State
from fedcore.text.toml_problems import unknown

if TYPE_CHECKING:
    from fedcore.audit.tables.values import AuditTable
    from fedcore.plan import RunPlan

_ACCURACY = "accuracy"


class FairFed(ClientShares):
    """Shares that follow the clients' gaps."""

    def __init__(self, metric: str = "true_positive_rate", step: float = 1.0, attribute: str = "") -> None:
        if metric not in RATES:
            raise ValueError(unknown(metric, RATES, "metric"))
        self.metric, self.step_size, self.attribute = metric, check_step(step), attribute

    def check(self, plan: RunPlan) -> Iterator[str]:
        yield from attribute_problems(self.attribute, plan)

    def check_tables(self, tables: Mapping[str, AuditTable], plan: RunPlan) -> Iterator[str]:
        yield from label_problems(tables)
        for table in tables.values():
            one_against_others = plan.audit.favourable is not None or len(getattr(table, "labels", ())) <= 2
            if not one_against_others and self.metric != _ACCURACY:
                yield f"{self.metric} of more than two labels needs audit.favourable; name one, or take accuracy"

    def learn(self, state: State, evaluation: Evaluated, plan: RunPlan) -> State:
        if not state["clients"]:
            return {"clients": _row_shares(evaluation, plan)}
        attribute = audited_attribute(self.attribute, plan)
        pooled = self._spread(labelled(evaluation.tables[attribute]), plan)
        known = {}
        for name, tables in evaluation.client_tables.items():
            apart = self._distance(labelled(tables[attribute]), pooled, evaluation, name, plan)
            if apart is not None:
                known[name] = apart
        return {"clients": moved_from_mean(state["clients"], known, step=self.step_size)}

    def _distance(
        self, table: GroupTable, pooled: float | None, evaluation: Evaluated, client: str, plan: RunPlan
    ) -> float | None:
        """How far a client's gap is from the federation's; of accuracy, where a gap is undefined."""
        own = self._spread(table, plan)
        if own is not None and pooled is not None:
            return abs(own - pooled)
        accuracy = evaluation.clients[client].get(_ACCURACY)
        return None if accuracy is None else abs(accuracy - evaluation.metrics[_ACCURACY])

    def _spread(self, table: GroupTable, plan: RunPlan) -> float | None:
        """Highest minus lowest rate over the known groups; ``None`` where fewer than two have one."""
        rates = group_rates(table, threshold=plan.audit.threshold, favourable=plan.audit.favourable)[self.metric]
        known = [rate.value for group, rate in rates.items() if group != UNKNOWN and rate.value is not None]
        return max(known) - min(known) if len(known) > 1 else None


def moved_from_mean(shares: Mapping[str, float], distances: Mapping[str, float], *, step: float) -> dict[str, float]:
    """``share - step * (distance - mean distance)``, not below 0, and normalised.

    Args:
        shares: Non-negative, of sum 1.
        distances: How far each client's gap is from the federation's; a client without one keeps its share.
    """
    if not distances:
        return dict(shares)
    mean = sum(distances.values()) / len(distances)
    moved = {name: max(0.0, share - step * (distances.get(name, mean) - mean)) for name, share in shares.items()}
    total = sum(moved.values())
    return {name: share / total for name, share in moved.items()} if total > 0 else dict(shares)


def _row_shares(evaluation: Evaluated, plan: RunPlan) -> dict[str, float]:
    most = plan.federation.max_examples  # a number of rows is the client's word
    rows = {name: min(means["n"], most) for name, means in evaluation.clients.items()}
    total = sum(rows.values())
    return {name: size / total if total else 1.0 / len(rows) for name, size in rows.items()}
