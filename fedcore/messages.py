"""What travels between a server and its clients."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from fedcore.algorithms.row_weights import RowWeights
from fedcore.audit.tables.values import AuditTable
from fedcore.errors import DataError
from fedcore.metrics import Metrics
from fedcore.privacy.plan import PrivacyEvent

if TYPE_CHECKING:
    from torch import Tensor

    from fedcore.parameters import Parameters

_DIGEST = re.compile("[0-9a-f]{64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainRequest:
    """Ask a cohort to train on the current model.

    Attributes:
        round: Counted from 1.
        attempt: 0, and one more each time a round is tried again.
        cohort: Names of the clients asked, sorted.
        parameters: The current model.
        shared: Vectors of the model's size that the algorithm shares with clients, by name.
        row_weights: Factors of the rows' losses; ``None`` where all weigh the same.
        quorate: False where too few clients were there for a quorum: nobody is asked, and the round fails.
    """

    round: int
    attempt: int
    cohort: tuple[str, ...]
    parameters: Parameters
    shared: Mapping[str, Tensor] = field(default_factory=dict)
    row_weights: RowWeights | None = None
    quorate: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluateRequest:
    """Ask clients to evaluate a model on their held-out rows.

    Attributes:
        round: Rounds closed; 0 for the untrained model.
        cohort: Names of the clients asked, sorted.
        parameters: The model.
        attempt: 0 for that round's own model, 1 for an earlier one that is released at the end.
    """

    round: int
    cohort: tuple[str, ...]
    parameters: Parameters
    attempt: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerReceipt:
    """What a client tells of its ledger: that a round was charged, so that the account can be held against it later.

    Attributes:
        entry: Number of the charge in the account.
        digest: SHA-256, in hexadecimal, over the account's identity and the hash of that entry, which is chained to
            all entries before. The identity never leaves the owner, so that no guess at an entry can be tried.

    Raises:
        DataError: It is no such number or digest.
    """

    entry: int
    digest: str

    def __post_init__(self) -> None:
        if isinstance(self.entry, bool) or not isinstance(self.entry, int) or not 0 < self.entry < 2**53:
            raise DataError("expected the number of a ledger's entry, from 1")
        if not isinstance(self.digest, str) or not _DIGEST.fullmatch(self.digest):
            raise DataError("expected a SHA-256 in hexadecimal as a ledger's receipt")

    @classmethod
    def of(cls, account: str, entry: int, entry_hash: str) -> LedgerReceipt:
        return cls(entry=entry, digest=hashlib.sha256(f"{account} {entry_hash}".encode()).hexdigest())

    def to_json(self) -> dict[str, Any]:
        return {"entry": self.entry, "digest": self.digest}


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientUpdate:
    """What a client sends back from training.

    Attributes:
        values: What travels by the name of its segment: encoded vectors, such as ``update``, trained minus received.
        num_examples: Training rows of the client; ``None`` where the privacy relation makes it secret.
        metrics: Training metrics; empty under privacy, where they would be a release of their own.
        privacy_event: What the client spent, or ``None`` without privacy.
        receipt: Where its ledger stands, if the owner lets that be told.
    """

    client: str
    round: int
    values: Mapping[str, Tensor]
    num_examples: int | None
    metrics: Metrics = field(default_factory=Metrics)
    privacy_event: PrivacyEvent | None = None
    receipt: LedgerReceipt | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientReport:
    """What a client sends back from evaluation: sums and group counts, never a row.

    Attributes:
        metrics: Sums over the client's held-out rows.
        tables: One table for each audited attribute, by its name.
    """

    client: str
    round: int
    metrics: Metrics
    tables: Mapping[str, AuditTable] = field(default_factory=dict)
