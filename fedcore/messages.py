"""Messages between a server and its clients."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from fedcore.algorithms.row_weights import RowWeights
from fedcore.audit.tables.values import AuditTable
from fedcore.errors import DataError
from fedcore.metrics import MetricColumns, Metrics
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
        attempt: 0, and one more for each retry of a round.
        cohort: Names of the clients asked, sorted.
        shared: Vectors of the model's size that the algorithm shares with clients, by name.
        row_weights: Weights of the rows' losses; ``None`` if all weigh the same.
        retried: The attempt in which an earlier round was committed, where it was not the first.
        quorate: False if too few clients were connected for a quorum: nobody is asked, and the round fails.
        staleness: Steps of the server since a client received its model, where an algorithm is asynchronous. It stays
            at the server, as `received` does.
        received: The model that a client received, where it is not `parameters` and the algorithm needs it.
    """

    round: int
    attempt: int
    cohort: tuple[str, ...]
    parameters: Parameters
    shared: Mapping[str, Tensor] = field(default_factory=dict)
    row_weights: RowWeights | None = None
    retried: Mapping[int, int] = field(default_factory=dict)
    quorate: bool = True
    staleness: Mapping[str, int] = field(default_factory=dict)
    received: Mapping[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluateRequest:
    """Ask clients to evaluate a model on their held-out rows.

    Attributes:
        round: Rounds closed; 0 for the untrained model.
        cohort: Names of the clients asked, sorted.
        attempt: 0 for that round's own model, 1 for an earlier one that is released at the end.
    """

    round: int
    cohort: tuple[str, ...]
    parameters: Parameters
    attempt: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerReceipt:
    """A client's statement that a round was charged, so that its ledger can be checked later.

    Attributes:
        entry: Number of the charge in the account.
        digest: SHA-256, in hexadecimal, over the account's identity and the hash of that entry, which is chained to
            all entries before. The identity never leaves the owner, so that entries cannot be guessed.

    Raises:
        DataError: The number or digest is malformed.
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
    """A client's reply to a train request.

    Attributes:
        values: Encoded vectors by the name of their segment, such as ``update``, trained minus received.
        num_examples: Training rows of the client; ``None`` if the privacy relation makes it secret.
        metrics: Training metrics; empty under privacy, where they would be a release of their own.
        privacy_event: Privacy spent by the client, or ``None`` without privacy.
        receipt: The state of its ledger, if the owner permits it.
    """

    client: str
    round: int
    values: Mapping[str, Tensor]
    num_examples: int | None
    metrics: Metrics = field(default_factory=Metrics)
    privacy_event: PrivacyEvent | None = None
    receipt: LedgerReceipt | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateBlock:
    """Updates of one or more clients in columns, so that a cohort costs no Python for each of them.

    Attributes:
        clients: Their names.
        values: Encoded vectors by the name of their segment, a row for each client; shape ``(k, n)``.
        num_examples: Of each, as in `ClientUpdate`.
        receipts: Of those that sent one, by name.
        privacy_event: Spent by each of them.
    """

    clients: tuple[str, ...]
    round: int
    values: Mapping[str, Tensor]
    num_examples: tuple[int | None, ...]
    metrics: MetricColumns = field(default_factory=MetricColumns)
    receipts: Mapping[str, LedgerReceipt] = field(default_factory=dict)
    privacy_event: PrivacyEvent | None = None

    @classmethod
    def of(cls, update: ClientUpdate) -> UpdateBlock:
        return cls(
            clients=(update.client,),
            round=update.round,
            values={name: vector.unsqueeze(0) for name, vector in update.values.items()},
            num_examples=(update.num_examples,),
            metrics=MetricColumns.of(update.metrics),
            receipts={update.client: update.receipt} if update.receipt else {},
            privacy_event=update.privacy_event,
        )

    @classmethod
    def joined(cls, blocks: Sequence[UpdateBlock]) -> UpdateBlock:
        """One block of at least one; all of one round and event, with metrics of the same names."""
        import torch

        return replace(
            blocks[0],
            clients=tuple(client for block in blocks for client in block.clients),
            values={name: torch.cat([block.values[name] for block in blocks]) for name in blocks[0].values},
            num_examples=tuple(number for block in blocks for number in block.num_examples),
            metrics=MetricColumns.joined([block.metrics for block in blocks]),
            receipts={client: receipt for block in blocks for client, receipt in block.receipts.items()},
        )

    def rows(self, which: Sequence[int]) -> UpdateBlock:
        """Some of the clients."""
        from fedcore.storage.large_vectors import rows_of

        clients = tuple(self.clients[row] for row in which)
        return replace(
            self,
            clients=clients,
            values={name: rows_of(rows, which) for name, rows in self.values.items()},
            num_examples=tuple(self.num_examples[row] for row in which),
            metrics=self.metrics.rows(which),
            receipts={client: self.receipts[client] for client in clients if client in self.receipts},
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientReport:
    """A client's reply to an evaluate request: sums and group counts, never a row.

    Attributes:
        metrics: Sums over the client's held-out rows.
        tables: One table for each audited attribute, by name.
    """

    client: str
    round: int
    metrics: Metrics
    tables: Mapping[str, AuditTable] = field(default_factory=dict)
