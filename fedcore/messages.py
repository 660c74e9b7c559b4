"""What travels between a server and its clients."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from fedcore.audit.groups import GroupTable
from fedcore.metrics import Metrics
from fedcore.mitigation.row_weights import RowWeights
from fedcore.privacy.plan import PrivacyEvent

if TYPE_CHECKING:
    from fedcore.parameters import Parameters


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainRequest:
    """Ask a cohort to train on the current model.

    Attributes:
        round: Counted from 1.
        attempt: 0, and one more each time a round is tried again.
        cohort: Names of the clients asked, sorted.
        parameters: The current model.
        row_weights: By what the rows' losses are multiplied; ``None`` where all weigh the same.
    """

    round: int
    attempt: int
    cohort: tuple[str, ...]
    parameters: Parameters
    row_weights: RowWeights | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluateRequest:
    """Ask clients to evaluate a model on their held-out rows."""

    round: int
    cohort: tuple[str, ...]
    parameters: Parameters


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientUpdate:
    """What a client sends back from training.

    Attributes:
        difference: Trained minus received parameters.
        num_examples: Training rows of the client; ``None`` where the privacy relation makes it secret.
        metrics: Training metrics; empty under privacy, where they would be a release of their own.
        privacy_event: What the client spent, or ``None`` without privacy.
    """

    client: str
    round: int
    difference: Parameters
    num_examples: int | None
    metrics: Metrics = field(default_factory=Metrics)
    privacy_event: PrivacyEvent | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientReport:
    """What a client sends back from evaluation: sums and group counts, never a row.

    Attributes:
        metrics: Sums over the client's held-out rows.
        tables: One group table for each audited attribute, by its name.
    """

    client: str
    round: int
    metrics: Metrics
    tables: Mapping[str, GroupTable] = field(default_factory=dict)
