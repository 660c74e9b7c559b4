"""How much of a data set's budget is used, in whole nano-units."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass

from fedcore.errors import StorageError
from fedcore_clients.ledger.entry import Kind
from fedcore_clients.ledger.store import Book
from fedcore_clients.ledger.terms import NANO, Cost, Terms


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """The terms in force.

    Attributes:
        maker: ``policy`` where it follows the client's policy, ``owner`` where it was made by hand.
    """

    terms: Terms
    maker: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Balance:
    """Balance of one data set.

    Attributes:
        spent: Of uses that were charged, here or by hand.
        reserved: Reserved for runs and not used yet.
    """

    cap: Cost
    spent: Cost
    reserved: Cost

    @property
    def overdrawn(self) -> bool:
        """Whether more was spent or reserved than the budget has, of units or of shares of δ."""
        return (
            self.spent.units + self.reserved.units > self.cap.units
            or self.spent.slots + self.reserved.slots > self.cap.slots
        )

    @property
    def left(self) -> int:
        """Nano-units that can be reserved; see `usable`."""
        return max(0, self.cap.units - self.spent.units - self.reserved.units)

    @property
    def left_slots(self) -> int:
        return max(0, self.cap.slots - self.spent.slots - self.reserved.slots)

    @property
    def usable(self) -> int:
        """Nano-units that a run can still have: none where every share of δ is reserved."""
        return 0 if self.cap.slots and not self.left_slots else self.left

    def share(self, units: int) -> float:
        """Share of the whole budget; infinite where the budget is zero."""
        return units / self.cap.units if self.cap.units else math.inf if units else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Reservation:
    """What one run has reserved and not used yet.

    Attributes:
        plan: Hash of the promise that it was made for; empty where there was none.
        done: Rounds that were charged.
        is_open: Whether it was not closed since it was last made.
    """

    rounds: int
    cost: Cost
    plan: str
    done: frozenset[int]
    is_open: bool


def budget_of(book: Book, data_set: str) -> Budget | None:
    """The newest budget of a data set.

    Raises:
        StorageError: This version does not know it.
    """
    latest = None
    for entry in book.entries("data_set = ? AND kind = 'budget'", data_set):
        latest = entry
    if latest is None:
        return None
    try:
        fields = json.loads(latest.note)
        maker = fields.pop("maker")
        return Budget(terms=Terms.from_fields(fields, Cost(units=latest.units, slots=latest.slots)), maker=maker)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise StorageError(f"the budget of data set {data_set!r} in the ledger is not one known here") from error


def balance_of(book: Book, data_set: str, cap: Cost) -> Balance:

    def summed(*kinds: Kind) -> Cost:
        where = f"data_set = ? AND kind IN ({', '.join('?' * len(kinds))})"
        values = (data_set, *map(str, kinds))
        return Cost(units=book.total("units", where, *values), slots=book.total("slots", where, *values))

    reserve, refund = summed(Kind.RESERVE), summed(Kind.REFUND)
    charge, by_hand = summed(Kind.CHARGE), summed(Kind.SPEND)
    return Balance(
        cap=cap,
        spent=Cost(units=charge.units + by_hand.units, slots=charge.slots + by_hand.slots),
        reserved=Cost(
            units=reserve.units - refund.units - charge.units, slots=reserve.slots - refund.slots - charge.slots
        ),
    )


def reservation_of(book: Book, data_set: str, run: str) -> Reservation:
    rounds = units = slots = 0
    plan, done, is_open = "", set[int](), False
    where = "data_set = ? AND run = ? AND kind IN ('reserve', 'charge', 'refund')"
    for entry in book.entries(where, data_set, run):
        sign = 1 if entry.kind is Kind.RESERVE else -1
        rounds, units, slots = rounds + sign * entry.rounds, units + sign * entry.units, slots + sign * entry.slots
        if entry.kind is Kind.CHARGE:
            done.add(entry.round)
        else:
            is_open = entry.kind is Kind.RESERVE
        plan = entry.note if entry.kind is Kind.RESERVE else plan
    return Reservation(
        rounds=rounds, cost=Cost(units=units, slots=slots), plan=plan, done=frozenset(done), is_open=is_open
    )


def over_budget(data_set: str, terms: Terms, balance: Balance, cost: Cost, rounds: int) -> str:
    """The reason of a refusal: what was asked for, what is left, and how much is missing."""
    what = "this round" if rounds == 1 else f"the {rounds} rounds of this run"
    message = (
        f"data set {ascii(data_set)[:80]}: the budget is ε = {terms.epsilon:g} at δ = {terms.delta:g}; "
        f"{_percent(balance, balance.spent.units)} of it is spent, {_percent(balance, balance.reserved.units)} is "
        f"reserved for runs, and {what} would take {_percent(balance, cost.units)}"
    )
    if cost.units > balance.left:
        beyond = cost.units - (balance.cap.units - balance.spent.units - balance.reserved.units)
        return f"{message}, too much by {_percent(balance, beyond)} ({beyond / NANO:.4g} of {terms.unit})"
    return f"{message}; all {balance.cap.slots} shares of δ are used, too much by {cost.slots - balance.left_slots}"


def _percent(balance: Balance, units: int) -> str:
    return f"{100.0 * balance.share(units):.4g} %"
