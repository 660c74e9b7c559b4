"""The state of an account, shown to its owner."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from fedcore_clients.ledger.account import Ledger
from fedcore_clients.ledger.balance import Balance, Budget
from fedcore_clients.ledger.entry import Entry, Kind
from fedcore_clients.ledger.mechanism import epsilon_together
from fedcore_clients.ledger.terms import NANO

if TYPE_CHECKING:
    from rich.table import Table

VALID = "valid if no parameter of a run was chosen from private outputs"


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """Statement of one data set.

    Attributes:
        epsilon: Of all releases, at the budget's δ, by the privacy loss distribution; see `VALID`.
        charges: How many uses were charged.
    """

    data_set: str
    budget: Budget
    balance: Balance
    epsilon: float
    charges: int

    def to_fields(self) -> dict[str, Any]:
        """An infinite ε is ``None``."""
        terms, balance = self.budget.terms, self.balance
        return {
            "epsilon": self.epsilon if math.isfinite(self.epsilon) else None,
            "epsilon_is": VALID,
            "budget": terms.epsilon,
            "delta": terms.delta,
            "charges": self.charges,
            "mode": str(terms.mode),
            "relation": str(terms.relation),
            "made_by": self.budget.maker,
            "unit": terms.unit,
            "cap": balance.cap.units / NANO,
            "spent": balance.spent.units / NANO,
            "reserved": balance.reserved.units / NANO,
            "left": balance.usable / NANO,
            "left_share": balance.share(balance.usable),
        }


def statements_of(ledger: Ledger, seen: Callable[[Budget], Budget] = lambda budget: budget) -> list[Statement]:
    """One for each data set that has a budget, by name; none where no account was begun.

    Args:
        seen: How a budget is read.

    Raises:
        StorageError: The account cannot be read, is gone, or contradicts its marks.
    """
    if not ledger.file.exists():
        ledger.file.marks.check_absent(ledger.file.path)
        return []
    return [_statement(ledger, name, seen(budget)) for name, budget in sorted(ledger.budgets().items())]


def open_reservations(entries: list[Entry]) -> dict[tuple[str, str], int]:
    left: dict[tuple[str, str], int] = {}
    for entry in entries:
        if entry.kind in (Kind.RESERVE, Kind.CHARGE, Kind.REFUND):
            sign = 1 if entry.kind is Kind.RESERVE else -1
            left[entry.data_set, entry.run] = left.get((entry.data_set, entry.run), 0) + sign * entry.rounds
    return {key: rounds for key, rounds in left.items() if rounds}


def budget_table(budgets: Mapping[str, Mapping[str, Any]]) -> Table:
    """For a terminal; from `Statement.to_fields` by data set."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for heading in ("data set", "ε spent", "ε of the budget", "δ", "charges", "mode", "reserved", "left"):
        table.add_column(heading)
    for name, each in budgets.items():
        spent = "∞" if each["epsilon"] is None else f"{each['epsilon']:.3f}"
        reserved = each["reserved"] / each["cap"] if each["cap"] else 0.0
        table.add_row(
            name,
            spent,
            f"{each['budget']:g}",
            f"{each['delta']:g}",
            str(each["charges"]),
            each["mode"],
            f"{100.0 * reserved:.1f} %",
            f"{100.0 * each['left_share']:.1f} %",
        )
    return table


def _statement(ledger: Ledger, name: str, budget: Budget) -> Statement:
    uses = ledger.uses(name)
    return Statement(
        data_set=name,
        budget=budget,
        balance=replace(ledger.balance(name), cap=budget.terms.cap),
        epsilon=epsilon_together([use.parsed_mechanism() for use in uses], budget.terms.delta, budget.terms.relation),
        charges=len(uses),
    )
