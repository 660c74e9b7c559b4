"""How it is known that a record's gradient is its own: by proof, by construction, or by measurement."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """How certain it is, the most certain first."""

    PROVEN = "proven"
    """The loss is a ready-made family's, and every layer is one that treats rows apart."""

    ISOLATED = "isolated"
    """The gradient is computed from the record alone, whatever the loss and the model do."""

    PROBED = "probed"
    """A measurement before training found no record that affects another; this is evidence, not proof."""


_DEFINITIONS = {
    Level.PROVEN: "the loss is one of fedcore's families, and every layer of the model is one that treats rows apart",
    Level.ISOLATED: "the operations of the loss are traced once, on a blank row, and run on each record by itself, "
    "so that no record can reach the gradient of another",
    Level.PROBED: "gradients of records in a batch were compared with those of the records alone before training, in a "
    "deployment on made-up rows where the task takes them; this is evidence and no proof: a coupling that the trial "
    "did not meet would void the guarantee",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Isolation:
    """The isolation of a task and a model.

    Attributes:
        why: Why it is not more certain; empty if proven.
    """

    level: Level
    why: str = ""

    def to_json(self) -> dict[str, str]:
        return {"name": self.level.value, "definition": _DEFINITIONS[self.level], "why": self.why}
