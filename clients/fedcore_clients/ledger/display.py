"""Printed budgets."""

from __future__ import annotations

import json

from rich.console import Console

from fedcore_clients.ledger.account import Ledger
from fedcore_clients.ledger.rows import changes_in
from fedcore_clients.ledger.statement import VALID, budget_table, statements_of


def print_budgets(account: Ledger, *, as_json: bool) -> None:
    found = {each.data_set: each.to_fields() for each in statements_of(account)}
    if as_json:
        print(json.dumps(found, indent=1, ensure_ascii=False))
    elif not found:
        print("no data set has a budget yet")
    else:
        Console(highlight=False).print(budget_table(found))
        print(f"ε spent: {VALID}")
        for entry in changes_in(account.entries()):
            print(f"{entry.data_set}: other rows since entry {entry.number}, {entry.time[:10]}")
        for name in (name for name, each in found.items() if each["epsilon"] is None):
            print(
                f"{name}: something was released without a bound, which no figure of what is left includes: the budget "
                "holds only for the rest"
            )
