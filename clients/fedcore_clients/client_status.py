"""What a client does, for its owner to see."""

from __future__ import annotations

import json
import math
from collections import Counter
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from rich.console import Console
from rich.table import Table

from fedcore.events import read_events
from fedcore.lock import is_locked
from fedcore_clients.client_home import ClientHome
from fedcore_clients.policy.approvals import Approvals
from fedcore_clients.policy.budget import Spending
from fedcore_clients.policy.settings import Policy


def client_status(home: ClientHome) -> dict[str, Any]:
    """Plain values: who the client is, whether it is connected, what it did, and its budgets.

    Raises:
        FedcoreError: The home is not one, or a file of it is damaged.
    """
    settings = home.settings()
    events = Counter[str]()
    refused = Counter[str]()
    for event in read_events(home.events):
        events[event["event"]] += 1
        if event["event"] == "refused":
            refused[event["code"]] += 1
    return {
        "name": settings.name,
        "consortium": settings.consortium,
        "server": settings.server,
        "process": _process(home),
        "accepted": events["accepted"],
        "answered": events["answered"],
        "refused": dict(sorted(refused.items())),
        "budgets": _budgets(home),
        "waiting_for_approval": [one.plan_sha256 for one in Approvals(home.approvals, _now).pending()],
    }


def print_status(found: dict[str, Any]) -> None:
    """The same on a terminal."""
    console = Console(highlight=False)
    process = found["process"]
    state = "connected" if process.get("connected") else "not running" if not process.get("pid") else "not connected"
    console.print(f"{found['name']} of {found['consortium']}, server {found['server']}: {state}")
    if process.get("problem"):
        console.print(f"  {process['problem']}", markup=False, soft_wrap=True)
    if process.get("run"):
        console.print(
            f"  last: run {process['run']}, round {process['round']} ({process['kind']}), {process['time']}",
            markup=False,
        )
    console.print(f"requests accepted {found['accepted']}, answered {found['answered']}")
    for code, count in found["refused"].items():
        console.print(f"  refused {code}: {count}")
    if found["budgets"]:
        table = Table(box=None, pad_edge=False)
        for heading in ("data set", "ε spent", "ε of the budget", "δ", "charges"):
            table.add_column(heading)
        for name, each in found["budgets"].items():
            spent = "∞" if each["epsilon"] is None else f"{each['epsilon']:.3f}"
            table.add_row(name, spent, f"{each['budget']:g}", f"{each['delta']:g}", str(each["charges"]))
        console.print(table)
    for digest in found["waiting_for_approval"]:
        console.print(f"waits for approval: fedcore client approve {digest[:12]}")


def _process(home: ClientHome) -> dict[str, Any]:
    with suppress(FileNotFoundError, ValueError):
        values: dict[str, Any] = json.loads((home.path / "status.json").read_text(encoding="utf-8"))
        return values if is_locked(home.lock) else values | {"connected": False, "pid": None}  # it may have been killed
    return {}


def _budgets(home: ClientHome) -> dict[str, Any]:
    if not home.policy.is_file():
        return {}
    spending, policy = Spending(home.spends, _now), Policy.from_toml(home.policy).privacy.budget
    charges = Counter(charge.data_set for charge in spending.charges())
    spent = {name: spending.epsilon(name, policy.delta) for name in charges}
    return {
        name: {
            "epsilon": spent[name] if math.isfinite(spent[name]) else None,
            "budget": policy.epsilon,
            "delta": policy.delta,
            "charges": charges[name],
        }
        for name in sorted(charges)
    }


def _now() -> datetime:
    return datetime.now(UTC)
