"""A request to train, as the account needs it."""

from __future__ import annotations

from dataclasses import dataclass

from fedcore.privacy.plan import PrivacyEvent


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A request to train, as the account needs it.

    Attributes:
        run: Name of the run, ``@`` and its coordinator.
        round: From 1.
        rounds: Of the whole run.
        plan: Hash of what the plan promises; a run has one.
        event: One round's mechanism; ``None`` where nothing is promised.
        rows: Fingerprint of the data set's rows; empty where it is not known.
    """

    data_set: str
    run: str
    incarnation: int
    round: int
    attempt: int
    rounds: int
    plan: str
    event: PrivacyEvent | None
    rows: str = ""

    @property
    def place(self) -> str:
        """The same for every repeat of the request, and for no other."""
        return f"{self.run} {self.incarnation} {self.round} {self.attempt}"
