"""The ledger of a client's home, for its owner's commands."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from fedcore.errors import StorageError
from fedcore_clients.agent.home import ClientHome
from fedcore_clients.ledger.account import Ledger


def open_ledger(home: Path, data: Mapping[str, Path], *, may_be_absent: bool = False) -> Ledger:
    """The ledger in a home that a client has joined in.

    Args:
        data: Path of each data set by its name, as far as it is new.
        may_be_absent: Whether it may not exist yet; ``ledger.file.create`` makes it.

    Raises:
        TrustError: It is no client's home.
        StorageError: There is no ledger, it is gone, or an older version's account must be imported first.
    """
    at = ClientHome(home)
    at.settings()
    ledger = Ledger(at.ledger, lambda: datetime.now(UTC), data=data)
    if not ledger.file.exists():
        ledger.file.marks.check_absent(at.ledger)
        if at.spends.exists():
            raise StorageError(
                f"{at.spends} is the account of an earlier version; fedcore client start imports it first"
            )
    if not (may_be_absent or ledger.file.exists()):
        raise StorageError(f"there is no ledger in {home} yet; fedcore ledger init or fedcore client start makes one")
    return ledger
