"""What is charged for, as data: ε is computed from it, and an unknown mechanism never counts as nothing."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from fedcore.privacy.accounting import composed_epsilon
from fedcore.privacy.plan import PrivacyEvent, Relation

_SAMPLED_GAUSSIAN = "poisson-subsampled-gaussian"
_GRANT = "approximate-dp"


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """A use of the data of which only (ε, δ) is known."""

    epsilon: float
    delta: float


Mechanism = PrivacyEvent | Grant


def to_text(mechanism: Mechanism) -> str:
    if isinstance(mechanism, Grant):
        return json.dumps({"mechanism": _GRANT, "epsilon": mechanism.epsilon, "delta": mechanism.delta})
    return json.dumps(
        {
            "mechanism": _SAMPLED_GAUSSIAN,
            "sampling_rate": mechanism.sampling_rate,
            "noise_multiplier": mechanism.noise_multiplier,
            "steps": mechanism.steps,
        }
    )


def from_fields(fields: Any) -> Mechanism:
    """Read what `to_text` wrote, after it was parsed.

    Raises:
        ValueError: It is no mechanism, or an unknown one.
    """
    try:
        if fields["mechanism"] == _GRANT:
            return Grant(epsilon=float(fields["epsilon"]), delta=float(fields["delta"]))
        if fields["mechanism"] != _SAMPLED_GAUSSIAN:
            raise ValueError("a mechanism that is unknown here")
        return PrivacyEvent(
            sampling_rate=float(fields["sampling_rate"]),
            noise_multiplier=float(fields["noise_multiplier"]),
            steps=int(fields["steps"]),
        )
    except (KeyError, TypeError) as error:
        raise ValueError("not a mechanism") from error


def epsilon_together(
    mechanisms: Iterable[Mechanism | None], delta: float, relation: Relation = Relation.ZERO_OUT
) -> float:
    """ε of all of them at `delta`; infinite where one is ``None``, which promises nothing.

    Guarantee:
        An upper bound where no parameter was chosen from an earlier private output: events compose as by
        ``fedcore.privacy.accounting``, and the ε and δ of grants are added to theirs.
    """
    events: list[PrivacyEvent] = []
    epsilon = 0.0
    for each in mechanisms:
        if each is None:
            return math.inf
        if isinstance(each, Grant):
            epsilon, delta = epsilon + each.epsilon, delta - each.delta
        else:
            events.append(each)
    if delta <= 0.0:
        return math.inf
    return epsilon + composed_epsilon(events, delta, relation)
