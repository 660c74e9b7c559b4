"""The messages of a run, determined by the algorithm and the encodings, equally on server and clients."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor

from fedcore.aggregation.codec import Codec
from fedcore.aggregation.contract import Array, Encoding
from fedcore.aggregation.registry import ENCODINGS
from fedcore.algorithms.contract import Algorithm
from fedcore.algorithms.registry import ALGORITHMS
from fedcore.method.per_plan import once_per_plan
from fedcore.plugins import name_of
from fedcore.segments import MODEL, Form, Segment

if TYPE_CHECKING:
    from fedcore.plan import RunPlan


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """The algorithm and the encodings of a run, and the form of its messages."""

    algorithm: Algorithm
    encodings: tuple[Encoding, ...]

    @classmethod
    def of(cls, plan: RunPlan) -> Exchange:
        """The exchange that a plan names.

        Raises:
            PlanError: A name is unknown, or options are wrong.
            TaskError: The user's own part cannot be imported.
        """
        return _exchange_of(plan)

    def refusals(self, plan: RunPlan) -> Iterator[str]:
        """Why the plan's privacy unit would not hold; asked by the server, and by each client for itself."""
        unit = plan.privacy.unit
        parts: list[tuple[str, Algorithm | Encoding]] = [(f"algorithm {plan.algorithm.name!r}", self.algorithm)]
        parts += [
            (f"aggregation.encode {name_of(each)!r}", encoding)
            for each, encoding in zip(plan.aggregation.encode, self.encodings, strict=True)
        ]
        for where, part in parts:
            if unit != "none" and (why := part.refusal(unit)):
                yield f"{where} under privacy unit {unit}: {why}"

    @property
    def remembers(self) -> bool:
        return bool(self.algorithm.keeps) or any(each.keeps for each in self.encodings)

    def request_form(self, vector: Array) -> Form:
        """Segments of a train request: the model and the algorithm's shared vectors."""
        return Form.of(Segment(name, vector.dtype, vector.size) for name in (MODEL, *self.algorithm.shares))

    def codec(self, vector: Array) -> Codec:
        return Codec(self.encodings, self.algorithm.sends, vector, self.algorithm.numbers)

    def memory(self, vector: Array) -> dict[str, Array]:
        """State that a client keeps between rounds, by name."""
        return dict.fromkeys(self.algorithm.keeps, vector) | self.codec(vector).kept


@once_per_plan
def _exchange_of(plan: RunPlan) -> Exchange:
    return Exchange(
        algorithm=ALGORITHMS.make(plan.algorithm.reference),
        encodings=tuple(ENCODINGS.make(each) for each in plan.aggregation.encode),
    )


def vector_of(buffer: Tensor) -> Array:
    """Size and type of a vector as large as the model."""
    return Array(dtype=str(buffer.dtype).removeprefix("torch."), size=len(buffer))
