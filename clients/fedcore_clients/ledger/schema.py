"""The tables of a ledger, and the triggers by which the database itself keeps it append-only and within its caps."""

from __future__ import annotations

VERSION = 1
APPLICATION = 0x66656443  # marks the file as a ledger

OVER_BUDGET = "over the budget"
OVER_RESERVATION = "over the reservation"
NEVER_CHANGED = "a ledger is only ever appended to"

_HELD = """
    SELECT coalesce(sum(CASE kind WHEN 'refund' THEN -{what} ELSE {what} END), 0) FROM entry
    WHERE data_set = NEW.data_set AND kind IN ('reserve', 'spend', 'refund')"""
_CAP = """
    SELECT {what} FROM entry WHERE data_set = NEW.data_set AND kind = 'budget' ORDER BY number DESC LIMIT 1"""
_LEFT = """
    SELECT coalesce(sum(CASE kind WHEN 'reserve' THEN {what} ELSE -{what} END), 0) FROM entry
    WHERE data_set = NEW.data_set AND run = NEW.run AND kind IN ('reserve', 'charge', 'refund')"""
_OVER_CAP = f"NEW.{{what}} + ({_HELD}) > coalesce(({_CAP}), -1)"
_OVER_RESERVED = f"NEW.{{what}} > ({_LEFT})"
_MEASURES = ("units", "slots", "rounds")

STATEMENTS = (
    """CREATE TABLE identity (id TEXT NOT NULL)""",
    """CREATE TABLE entry (
    number INTEGER PRIMARY KEY,
    time TEXT NOT NULL,
    kind TEXT NOT NULL,
    data_set TEXT NOT NULL,
    run TEXT NOT NULL,
    incarnation INTEGER NOT NULL,
    round INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    rounds INTEGER NOT NULL CHECK (rounds >= 0),
    units INTEGER NOT NULL CHECK (units >= 0),
    slots INTEGER NOT NULL CHECK (slots >= 0),
    mechanism TEXT NOT NULL,
    note TEXT NOT NULL,
    reference TEXT NOT NULL UNIQUE,
    previous TEXT NOT NULL UNIQUE,
    hash TEXT NOT NULL UNIQUE
)""",
    """CREATE INDEX entry_of_run ON entry (data_set, kind, run)""",
    *(
        f"""CREATE TRIGGER no_{verb}_of_{table} BEFORE {verb} ON {table}
BEGIN SELECT RAISE(ABORT, '{NEVER_CHANGED}'); END"""
        for table in ("entry", "identity")
        for verb in ("UPDATE", "DELETE")
    ),
    f"""CREATE TRIGGER within_budget BEFORE INSERT ON entry
WHEN NEW.kind = 'reserve' AND ({" OR ".join(_OVER_CAP.format(what=each) for each in ("units", "slots"))})
BEGIN SELECT RAISE(ABORT, '{OVER_BUDGET}'); END""",
    f"""CREATE TRIGGER within_reservation BEFORE INSERT ON entry
WHEN NEW.kind IN ('charge', 'refund') AND ({" OR ".join(_OVER_RESERVED.format(what=each) for each in _MEASURES)})
BEGIN SELECT RAISE(ABORT, '{OVER_RESERVATION}'); END""",
)
