"""Changes to an update on its way: one object with a client half and a server half.

Client halves run in the order of the list, server halves in reverse, as postprocessors do in pfl-research
(Granqvist et al. 2024, arXiv 2404.06430).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from fedcore.errors import TaskError
from fedcore.parameters import Parameters
from fedcore.plan import RunPlan
from fedcore.plugins import load_object


@runtime_checkable
class UpdateTransform(Protocol):
    """A pair of functions on updates: clip, compress, mask, add noise."""

    name: str

    def on_client(self, update: Parameters) -> Parameters:
        """Change one client's update before it leaves; must not keep a reference to it."""

    def on_server(self, aggregate: Parameters) -> Parameters:
        """Undo or finish the client half, on the aggregate of all updates."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NormClip:
    """Scale an update down to Euclidean norm at most `max_norm`; bounds what one client can do to the model.

    It is a bound and no privacy: nothing is promised without noise.
    """

    max_norm: float
    name: str = "norm-clip"

    def on_client(self, update: Parameters) -> Parameters:
        """The update, scaled down where it is too long."""
        norm = update.norm()
        return update if norm <= self.max_norm else update.clone().scale_(self.max_norm / norm)

    def on_server(self, aggregate: Parameters) -> Parameters:
        """The aggregate as it is: clipping is not undone."""
        return aggregate


def load_transforms(plan: RunPlan) -> tuple[UpdateTransform, ...]:
    """The plan's transforms, in order.

    Raises:
        TaskError: One cannot be imported, or is none.
    """
    loaded = tuple(load_object(reference, what="transform") for reference in plan.federation.transforms)
    for reference, transform in zip(plan.federation.transforms, loaded, strict=True):
        if isinstance(transform, type):
            raise TaskError(
                f"{reference!r} is a class, and a transform is an object: make one in its module, such as "
                f"{transform.__name__.lower()} = {transform.__name__}(…), and name that"
            )
        if not isinstance(transform, UpdateTransform):
            raise TaskError(f"{reference!r} is no transform: expected a name, on_client and on_server")
    return loaded


def apply_on_client(transforms: Sequence[UpdateTransform], update: Parameters) -> Parameters:
    """All client halves, in order."""
    for transform in transforms:
        update = transform.on_client(update)
    return update


def apply_on_server(transforms: Sequence[UpdateTransform], aggregate: Parameters) -> Parameters:
    """All server halves, in reverse order."""
    for transform in reversed(transforms):
        aggregate = transform.on_server(aggregate)
    return aggregate
