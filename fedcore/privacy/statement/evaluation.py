"""What the privacy statement says of held-out records."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from fedcore.privacy.accounting import epsilon_of
from fedcore.privacy.evaluation import EvaluationPrivacy
from fedcore.privacy.statement.strength import finite

UNNOISED_EVALUATION = (
    "evaluation metrics and group counts over the held-out rows, which are never trained on, are released as they are"
)
UNNOISED_CHOICE = "which round's model is released, for it is chosen by these evaluations; the models are protected"
NOISED_EVALUATION = "every report on held-out rows, at the ε under evaluation"


def evaluation_statement(privacy: EvaluationPrivacy | None, evaluated: int) -> dict[str, Any]:
    """The guarantee of held-out records, who are others than those trained on."""
    if privacy is None:
        return {"noise_multiplier": None, "epsilon": None, "words": "exact, and charged to nothing"}
    return {
        "mechanism": "Gaussian on counts and on sums of bounded values, rounded",
        "noise_multiplier": privacy.noise_multiplier,
        "sensitivity": privacy.sensitivity,
        "evaluations": evaluated,
        "epsilon": finite(_epsilon(privacy, evaluated)),
        "delta": privacy.delta,
        "words": "a record is either held out or trained on, so that one of the two ε holds for it",
    }


def evaluation_deviations(privacy: EvaluationPrivacy, evaluated: int, trained: float) -> Iterator[str]:
    """What a reader must know besides."""
    spent = _epsilon(privacy, evaluated)
    if spent > trained:
        yield f"held-out records have the larger ε of {spent:.2f}, for what is told of them in {evaluated} evaluations"


def _epsilon(privacy: EvaluationPrivacy, evaluated: int) -> float:
    return epsilon_of(privacy.event(evaluated), privacy.delta, privacy.relation)
