"""Ledgers and requests with defaults."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

from fedcore.privacy.plan import PrivacyEvent
from fedcore_clients.ledger.account import Ledger
from fedcore_clients.ledger.asked import Asked
from fedcore_clients.ledger.terms import NANO, Cost, Mode, Terms, agree
from tests.clients.policy.builders import Clock

WARDS = "wards"
RUN = "run@coordinator"
EVENT = PrivacyEvent(sampling_rate=0.1, noise_multiplier=1.0, steps=1)
UNITS = Terms(
    epsilon=8.0,
    delta=1e-5,
    mode=Mode.UNIT,
    relation=agree(epsilon=8.0, delta=1e-5, mode=Mode.GDP).relation,
    cap=Cost(units=8 * NANO),
    sampling_rate=0.1,
    noise_multiplier=1.0,
)
"""Eight steps: terms with a cap that is easy to count, and that nobody has to compute."""


def build_ledger(root: Path, *, terms: Terms | None = UNITS, data: Path | None = None, clock: Any = None) -> Ledger:
    (root / "home").mkdir(exist_ok=True)
    ledger = Ledger(root / "home" / "ledger.db", clock or Clock(), data={} if data is None else {WARDS: data})
    ledger.file.create()
    if terms is not None:
        ledger.set_budget(WARDS, terms, maker="owner")
    return ledger


def build_asked(round: int = 1, **changes: Any) -> Asked:
    values: dict[str, Any] = {
        "data_set": WARDS,
        "run": RUN,
        "incarnation": 1,
        "round": round,
        "attempt": 0,
        "rounds": 4,
        "plan": "promise",
        "event": EVENT,
    }
    return Asked(**(values | changes))


def train(ledger: Ledger, asked: Asked) -> None:
    ledger.reserve(asked)
    ledger.charge(asked)


def without_rules(ledger: Ledger, *statements: str) -> None:
    """Change the file behind the back of its rules, and put them back."""
    connection = sqlite3.connect(ledger.file.path)
    kept = connection.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'").fetchall()
    for name, _ in kept:
        connection.execute(f"DROP TRIGGER {name}")
    for statement in statements:
        connection.execute(statement)
    for _, sql in kept:
        connection.execute(sql)
    connection.commit()
    connection.close()
