"""Who took part in a run: nobody who was lost goes unnamed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

_NO_FAULT = frozenset({"LATE", "ABSENT", "REFUSED"})
"""Codes that say nothing against a client: it was away, or used its right to refuse."""


def participation(registered: Iterable[str], rounds: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Count, for every client, how often it was asked and counted, and why not.

    Args:
        registered: Names on the roster; clients that are met in the journal are added.
        rounds: Lines of the journal, failed attempts included.

    Returns:
        ``clients`` by name with ``asked``, ``counted``, ``rejected`` by code and ``strikes``, the rejections that
        were the client's own fault; and ``lost``, the clients that were not counted in the last round though they
        were on the roster, or were rejected at any time.
    """
    asked: Counter[str] = Counter()
    counted: Counter[str] = Counter()
    rejected: dict[str, Counter[str]] = {}
    last: set[str] = set()
    for line in rounds:
        asked.update(line["asked"])
        counted.update(line["counted"])
        last = set(line["counted"]) if line["committed"] else last
        for each in line["rejected"]:
            rejected.setdefault(each["client"], Counter())[each["code"]] += 1
    names = sorted({*registered, *asked, *rejected})
    return {
        "clients": {
            name: {
                "asked": asked[name],
                "counted": counted[name],
                "rejected": dict(sorted(rejected.get(name, Counter()).items())),
                "strikes": sum(n for code, n in rejected.get(name, Counter()).items() if code not in _NO_FAULT),
            }
            for name in names
        },
        "lost": [
            name for name in names if name in rejected or (asked[name] > 0 and name not in last) or not asked[name]
        ],
    }
