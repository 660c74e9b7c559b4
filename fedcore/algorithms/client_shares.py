"""Algorithms that weigh clients by shares computed from evaluations."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from fedcore.algorithms.contract import Algorithm, Contribution
from fedcore.parameters import State

if TYPE_CHECKING:
    from fedcore.plan import RunPlan

_DECIMALS = 3
"""In full precision the share of a client could be searched for the counts behind its gap."""


class ClientShares(Algorithm):
    """An algorithm whose state is a share of each client; subclasses define `learn`."""

    learns = weighs_clients = True

    def start(self, size: int) -> State:
        return {"clients": {}}

    def weigh(self, contribution: Contribution, state: State, plan: RunPlan) -> tuple[float, float]:
        share = share_of(contribution.client, state["clients"])
        return share, share

    def report(self, state: State) -> dict[str, Any]:
        return {"clients": {name: round(share, _DECIMALS) for name, share in state["clients"].items()}}


def share_of(client: str, shares: Mapping[str, float]) -> float:
    """A client's share; one without counts as much as the mean of the others."""
    return shares.get(client, sum(shares.values()) / len(shares) if shares else 1.0)
