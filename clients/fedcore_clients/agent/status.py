"""What a client does, shown to its owner."""

from __future__ import annotations

import json
from collections import Counter
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from rich.console import Console

from fedcore.storage.events import read_events
from fedcore.storage.lock import is_locked
from fedcore_clients.agent.home import ClientHome
from fedcore_clients.ledger.account import Ledger
from fedcore_clients.ledger.statement import budget_table, statements_of
from fedcore_clients.policy.approvals import Approvals
from fedcore_clients.policy.budget import following
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
        console.print(budget_table(found["budgets"]))
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
    wanted = Policy.from_toml(home.policy).privacy.budget
    listed = statements_of(Ledger(home.ledger, _now), lambda budget: following(budget, wanted))
    return {each.data_set: each.to_fields() for each in listed}


def _now() -> datetime:
    return datetime.now(UTC)
