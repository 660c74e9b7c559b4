"""What a refusal for want of budget says: what was asked for, what is left, and by how much it is too much."""

from __future__ import annotations

from fedcore_clients.ledger.balance import Balance
from fedcore_clients.ledger.terms import NANO, Cost, Terms


def over_budget(data_set: str, terms: Terms, balance: Balance, cost: Cost, rounds: int) -> str:
    """A sentence for the owner's log."""
    what = "this round" if rounds == 1 else f"the {rounds} rounds of this run"
    told = (
        f"data set {ascii(data_set)[:80]}: the budget is ε = {terms.epsilon:g} at δ = {terms.delta:g}; "
        f"{_percent(balance, balance.spent.units)} of it is spent, {_percent(balance, balance.reserved.units)} is "
        f"reserved for runs, and {what} would take {_percent(balance, cost.units)}"
    )
    if cost.units > balance.left:
        beyond = cost.units - (balance.cap.units - balance.spent.units - balance.reserved.units)
        return f"{told}, too much by {_percent(balance, beyond)} ({beyond / NANO:.4g} of {terms.unit})"
    return f"{told}; all {balance.cap.slots} shares of δ are given away, too much by {cost.slots - balance.left_slots}"


def over_reservation(rounds: int) -> str:
    """The same for a server that asks for more than it has said."""
    return f"the run asks for more rounds than were reserved for it when it began; its plan has {rounds}"


def _percent(balance: Balance, units: int) -> str:
    return f"{100.0 * balance.share(units):.4g} %"
