"""The ledger of a data owner: reserve before a run, charge before data is opened, seal before a reply leaves."""

from __future__ import annotations

import json
import secrets
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fedcore.errors import PrivacyError, StorageError
from fedcore.messages import LedgerReceipt
from fedcore.privacy.plan import PrivacyEvent
from fedcore.refusals import Refusal
from fedcore_clients.ledger.asked import Asked
from fedcore_clients.ledger.balance import Balance, Budget, balance_of, budget_of, over_budget, reservation_of
from fedcore_clients.ledger.claims import (
    charge_cost,
    is_begun,
    is_charged,
    missing_rounds,
    over_reservation,
    same_kind,
    terms_in,
)
from fedcore_clients.ledger.entry import USES, Entry, Kind
from fedcore_clients.ledger.mechanism import Mechanism, to_text
from fedcore_clients.ledger.rows import note_of, rows_in
from fedcore_clients.ledger.schema import OVER_BUDGET, OVER_RESERVATION
from fedcore_clients.ledger.store import Book, LedgerFile
from fedcore_clients.ledger.terms import Cost, Terms
from fedcore_clients.policy.approvals import Clock

_USES = f"kind IN ({', '.join(repr(str(kind)) for kind in USES)})"


class Ledger:
    """A data owner's account, one budget for each data set, over all runs and servers.

    Guarantee:
        Whatever is asked, by however many processes, in whatever order, and wherever they are killed: what was
        charged or reserved on a data set is at most its budget's cap, and a request is charged before `charge`
        returns. What was spent by hand is recorded also where it exceeds the cap. See `Terms` for what the cap
        guarantees.
    """

    def __init__(self, path: Path, clock: Clock, *, data: Mapping[str, Path] | None = None) -> None:
        self.file = LedgerFile(path, clock, data or {})

    def budgets(self) -> dict[str, Budget]:
        with self.file.reading() as book:
            names = dict.fromkeys(entry.data_set for entry in book.entries("kind = 'budget'"))
            return {name: budget for name in names if (budget := budget_of(book, name)) is not None}

    def set_budget(self, data_set: str, terms: Terms, *, maker: str) -> None:
        """Give a data set a budget, or another ε and δ.

        Raises:
            PrivacyError: A budget in another mode, or with another reference, was spent from.
        """
        with self.file.writing() as book:
            old = budget_of(book, data_set)
            if old is not None and is_begun(book, data_set) and not same_kind(old.terms, terms):
                raise PrivacyError(
                    f"the budget of data set {data_set!r} counts in mode {old.terms.mode}, as it was fixed when it "
                    "was made, since what was spent is known only in its units; only ε and δ can be changed"
                )
            if old != Budget(terms=terms, maker=maker):
                note = json.dumps(terms.to_fields() | {"maker": maker}, sort_keys=True)
                cap = {"units": terms.cap.units, "slots": terms.cap.slots}
                book.append(Kind.BUDGET, data_set, note=note, reference=_fresh("budget"), **cap)

    def is_begun(self, data_set: str) -> bool:
        """Whether anything was ever reserved or spent of a budget, so that its mode is fixed."""
        with self.file.reading() as book:
            return is_begun(book, data_set)

    def balance(self, data_set: str) -> Balance:
        """Raises PrivacyError: The data set has no budget."""
        with self.file.reading() as book:
            return balance_of(book, data_set, terms_in(book, data_set).cap)

    def uses(self, data_set: str | None = None) -> list[Entry]:
        """Every use of a data set, or of all; oldest first."""
        with self.file.reading() as book:
            return list(book.entries(f"{_USES} AND (data_set = ?1 OR ?1 IS NULL)", data_set))

    def entries(self) -> list[Entry]:
        with self.file.reading() as book:
            return list(book.entries())

    def reserve(self, asked: Asked, check: Callable[[Sequence[Entry]], None] = lambda _: None) -> None:
        """Reserve what the run still needs; a round tried again needs one more.

        Args:
            check: Given the uses of the data set, raises where something else forbids the request.

        Raises:
            RefusedError: With the code ``BUDGET``; the ledger is unchanged.
        """
        with self.file.writing() as book:
            if is_charged(book, asked):
                return
            check(list(book.entries(f"{_USES} AND data_set = ?", asked.data_set)))
            if asked.event is None:
                return
            terms = terms_in(book, asked.data_set)
            if rounds := missing_rounds(book, asked):
                self._set_aside(book, asked, terms, asked.event, rounds)

    def charge(self, asked: Asked) -> None:
        """Charge a request durably; only then may data be opened.

        Raises:
            RefusedError: It was charged before (``STALE``), or not reserved (``BUDGET``); the ledger is unchanged.
            StorageError: Nothing may be opened.
        """
        with self.file.writing() as book:
            if is_charged(book, asked):
                raise Refusal.STALE("this request was charged before; its data is opened once")
            values: dict[str, Any] = {
                "run": asked.run,
                "incarnation": asked.incarnation,
                "round": asked.round,
                "attempt": asked.attempt,
                "reference": f"charge {asked.place}",
                "note": note_of(asked.rows, _rows_before(book, asked.data_set)),
            }
            if asked.event is None:
                book.append(Kind.UNBOUNDED, asked.data_set, **values)
                return
            cost = charge_cost(book, asked, asked.event)
            values |= {"units": cost.units, "slots": cost.slots, "rounds": 1}
            with _refusing(OVER_RESERVATION, over_reservation(asked)):
                book.append(Kind.CHARGE, asked.data_set, mechanism=to_text(asked.event), **values)

    def last_rows(self, data_set: str) -> Entry | None:
        """The newest charge with a fingerprint of its rows."""
        with self.file.reading() as book:
            return _last_rows(book, data_set)

    def seal(self, asked: Asked, digest: str) -> None:
        """Record the hash of the reply that is about to leave.

        Raises:
            StorageError: The request was not charged, or has a reply already; nothing may leave.
        """
        with self.file.writing() as book:
            if not is_charged(book, asked) or any(book.entries("reference = ?", f"seal {asked.place}")):
                raise StorageError("a reply to a request that was not charged, or a second one; it must not leave")
            book.append(Kind.SEAL, asked.data_set, run=asked.run, note=digest, reference=f"seal {asked.place}")

    def sealed(self, asked: Asked) -> str | None:
        """The hash of the reply to a request; ``None`` where none was ready."""
        with self.file.reading() as book:
            return next((entry.note for entry in book.entries("reference = ?", f"seal {asked.place}")), None)

    def receipt(self, asked: Asked) -> LedgerReceipt | None:
        """What may be released about a request's charge; ``None`` without a charge, or where it promises nothing."""
        with self.file.reading() as book:
            charge = next(book.entries("reference = ? AND kind = 'charge'", f"charge {asked.place}"), None)
            return None if charge is None else LedgerReceipt.of(book.id, charge.number, charge.hash)

    def spend(
        self, data_set: str, mechanism: Mechanism | None, note: str, *, reference: str | None = None, run: str = ""
    ) -> Cost:
        """Record a use of the data elsewhere, also where it exceeds what is left.

        Args:
            mechanism: ``None`` where nothing was promised.
            reference: With an existing one nothing is written.

        Raises:
            PrivacyError: The data set has no budget, or its mode no bound for the mechanism.
        """
        named = reference or _fresh("spend")
        with self.file.writing() as book:
            cost = Cost(units=0) if mechanism is None else terms_in(book, data_set).cost(mechanism)
            if not any(book.entries("reference = ?", named)):
                kind, text = (Kind.UNBOUNDED, "") if mechanism is None else (Kind.SPEND, to_text(mechanism))
                measures = {"units": cost.units, "slots": cost.slots}
                book.append(kind, data_set, mechanism=text, note=note, run=run, reference=named, **measures)
        return cost

    def close(self, data_set: str, run: str) -> Cost:
        """Return what a run has reserved and not used; returns how much.

        A run that asks again after that must fit anew.
        """
        with self.file.writing() as book:
            left = reservation_of(book, data_set, run)
            if left.rounds:
                measures = {"rounds": left.rounds, "units": left.cost.units, "slots": left.cost.slots}
                book.append(Kind.REFUND, data_set, run=run, reference=_fresh("refund"), **measures)
        return left.cost

    def _set_aside(self, book: Book, asked: Asked, terms: Terms, event: PrivacyEvent, rounds: int) -> None:
        try:
            cost = terms.run_cost(event, rounds)
        except PrivacyError as error:
            raise Refusal.BUDGET(str(error)) from error
        balance = balance_of(book, asked.data_set, terms.cap)
        with _refusing(OVER_BUDGET, over_budget(asked.data_set, terms, balance, cost, rounds)):
            book.append(
                Kind.RESERVE,
                asked.data_set,
                run=asked.run,
                rounds=rounds,
                units=cost.units,
                slots=cost.slots,
                mechanism=to_text(event),
                note=asked.plan,
                reference=_fresh("reserve"),
            )


@contextmanager
def _refusing(what: str, message: str) -> Iterator[None]:
    try:
        yield
    except sqlite3.IntegrityError as error:
        raise Refusal.BUDGET(message) if what in str(error) else error from error


def _last_rows(book: Book, data_set: str) -> Entry | None:
    return book.last("data_set = ? AND reference LIKE 'charge %' AND note != ''", data_set)


def _rows_before(book: Book, data_set: str) -> str | None:
    last = _last_rows(book, data_set)
    return None if last is None else rows_in(last)


def _fresh(what: str) -> str:
    return f"{what} {secrets.token_hex(8)}"
