"""Who took part in a run: nobody who was lost goes unnamed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

_UNANSWERED = frozenset({"LATE", "ABSENT", "ERROR"})
_NO_FAULT = _UNANSWERED | {"REFUSED", "BAD_SIGNATURE", "MISSING", "MALFORMED", "TOO_LARGE"}
"""Codes that say nothing against a client: it was away, used its right to refuse, or the relay may have done it."""


def participation(
    registered: Iterable[str], rounds: Iterable[Mapping[str, Any]], *, sampled: bool = False
) -> dict[str, Any]:
    """Count, for every client, how often it was asked, answered and was counted, and why not.

    Args:
        registered: Names on the roster; clients that are met in the journal are added.
        rounds: Lines of the journal, failed attempts included.
        sampled: Whether the plan asks a sample of the clients, so that not to be asked tells nothing.

    Returns:
        ``clients`` by name with ``asked``, ``answered``, ``counted``, ``rejected`` by code and ``strikes``, the
        rejections that its own signature vouches for; and ``lost``, the clients that the run went on without at
        any time: rejected, or not in every committed round where all are asked.
    """
    asked: Counter[str] = Counter()
    counted: Counter[str] = Counter()
    rejected: dict[str, Counter[str]] = {}
    committed = 0
    for line in rounds:
        asked.update(line["asked"])
        if line["committed"]:
            committed += 1
            counted.update(line["counted"])
        for each in line["rejected"]:
            rejected.setdefault(each["client"], Counter())[each["code"]] += 1
    names = sorted({*registered, *asked, *rejected})
    needed = min(committed, 1) if sampled else committed
    return {
        "clients": {name: _facts(asked[name], counted[name], rejected.get(name, Counter())) for name in names},
        "lost": [name for name in names if name in rejected or counted[name] < needed],
    }


def last_receipts(rounds: Iterable[Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    """Of each client that told one, the last receipt of its ledger, by name; failed attempts were charged too.

    Args:
        rounds: Lines of the journal; those of earlier versions hold none.
    """
    told = (line.get("receipts", {}).items() for line in rounds)
    return dict(sorted({name: receipt for each in told for name, receipt in each}.items()))


def _facts(asked: int, counted: int, rejected: Counter[str]) -> dict[str, Any]:
    return {
        "asked": asked,
        "answered": asked - min(asked, sum(rejected[code] for code in _UNANSWERED)),
        "counted": counted,
        "rejected": dict(sorted(rejected.items())),
        "strikes": sum(count for code, count in rejected.items() if code not in _NO_FAULT),
    }
