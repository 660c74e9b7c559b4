"""What the next rounds are steered by."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from fedcore.mitigation.row_weights import RowWeights

_DECIMALS = 3
"""In full precision the share of a client could be searched for the counts behind its gap."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Steering:
    """What the next rounds are steered by; everything in it follows from evaluations alone.

    Attributes:
        row_weights: By what rows' losses are multiplied.
        groups: Each group's share of the loss.
        clients: Each client's share of the mean; under q-FedAvg its mean loss.
        shown: Whether no evaluation so far kept a group or a client back: factors and shares give back label counts.
    """

    row_weights: RowWeights | None = None
    groups: Mapping[str, float] = field(default_factory=dict)
    clients: Mapping[str, float] = field(default_factory=dict)
    shown: bool = True

    def to_json(self) -> dict[str, Any]:
        """Plain values, in full: for the server's own checkpoint."""
        rows = None if self.row_weights is None else self.row_weights.to_json()
        return {"row_weights": rows, "groups": dict(self.groups), "clients": dict(self.clients), "shown": self.shown}

    def shared_json(self) -> dict[str, Any]:
        """What may be shared: nothing where something is kept back, and of clients three decimals."""
        if not self.shown:
            return Steering(shown=False).to_json()
        return {**self.to_json(), "clients": {name: round(share, _DECIMALS) for name, share in self.clients.items()}}

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> Self:
        """The way back from `to_json`."""
        rows = plain["row_weights"]
        return cls(
            row_weights=None if rows is None else RowWeights.from_json(rows),
            groups={str(name): float(share) for name, share in plain["groups"].items()},
            clients={str(name): float(share) for name, share in plain["clients"].items()},
            shown=bool(plain.get("shown", False)),  # a checkpoint of before does not say so
        )
