"""What the next rounds are steered by."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from fedcore.mitigation.row_weights import RowWeights


@dataclass(frozen=True, slots=True, kw_only=True)
class Steering:
    """What the next rounds are steered by; everything in it follows from evaluations alone.

    Attributes:
        row_weights: By what rows' losses are multiplied.
        groups: Each group's share of the loss.
        clients: Each client's share of the mean; under q-FedAvg its mean loss.
    """

    row_weights: RowWeights | None = None
    groups: Mapping[str, float] = field(default_factory=dict)
    clients: Mapping[str, float] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        rows = None if self.row_weights is None else self.row_weights.to_json()
        return {"row_weights": rows, "groups": dict(self.groups), "clients": dict(self.clients)}

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> Self:
        """The way back from `to_json`."""
        rows = plain["row_weights"]
        return cls(
            row_weights=None if rows is None else RowWeights.from_json(rows),
            groups={str(name): float(share) for name, share in plain["groups"].items()},
            clients={str(name): float(share) for name, share in plain["clients"].items()},
        )
