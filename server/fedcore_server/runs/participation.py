"""Who took part in a run: every lost client is named."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fedcore.plan import RunPlan

_UNANSWERED = frozenset({"LATE", "ABSENT", "ERROR", "DROPOUT"})
_NO_FAULT = _UNANSWERED | {"REFUSED", "BAD_SIGNATURE", "MISSING", "MALFORMED", "TOO_LARGE"}
"""Codes without blame: the client was away, used its right to refuse, or the relay may have caused it."""


def participation(
    registered: Iterable[str],
    rounds: Iterable[Mapping[str, Any]],
    *,
    sampled: bool = False,
    always_there: bool = False,
) -> dict[str, Any]:
    """Count how often each client was asked to train, answered and was counted, and why not.

    Args:
        registered: Names of the clients; others in the journal are added.
        rounds: Lines of the journal, failed attempts included.
        sampled: Whether not all clients are asked in every round, so that some may never be.
        always_there: Whether the clients are simulated: one that was never asked was never drawn, and is not lost.

    Returns:
        ``clients`` by name with ``asked``, ``answered``, ``counted``, ``evaluated`` (accepted reports on its held-out
        rows), ``rejected`` and ``evaluation_rejected`` by code, and ``strikes``, the rejections that its own signature
        proves; and ``lost``, the clients that the run continued without at any time: rejected, or not in every
        committed round where all are asked.
    """
    tallies: defaultdict[str, _Tally] = defaultdict(_Tally, {name: _Tally() for name in registered})
    committed = 0
    for line in rounds:
        committed += line["committed"]
        _add(tallies, line)
    needed = min(committed, 1) if sampled else committed
    return {
        "clients": {name: tally.facts() for name, tally in sorted(tallies.items())},
        "lost": sorted(
            name
            for name, tally in tallies.items()
            if tally.rejections or (tally.counted < needed and not (always_there and tally.asked == 0))
        ),
    }


def charges_acknowledged(rounds: Iterable[Mapping[str, Any]]) -> int | None:
    """The most charges in one client's ledger by the journal's receipts; ``None`` without receipts."""
    entries: defaultdict[str, set[int]] = defaultdict(set)
    for line in rounds:
        for name, receipt in (line.get("receipts") or {}).items():
            entries[name].add(receipt["entry"])
    return max((len(found) for found in entries.values()), default=None)


def took_part_in(
    plan: RunPlan, registered: Iterable[str], rounds: Iterable[Mapping[str, Any]], *, always_there: bool
) -> dict[str, Any] | None:
    """`participation` by the journal of a run; ``None`` where the plan keeps secret who was asked."""
    if plan.privacy.participation == "secret":
        return None
    from fedcore.method.method import Method

    sampled = plan.federation.cohort_size is not None or Method.of(plan).algorithm.buffer is not None
    return participation(registered, rounds, sampled=sampled, always_there=always_there)


def codes_in_words(facts: Mapping[str, Any]) -> str:
    """``LATE 2, METRICS 1 in evaluation``; empty where nothing was rejected."""
    trained = [f"{code} {count}" for code, count in facts["rejected"].items()]
    return ", ".join([*trained, *(f"{code} {n} in evaluation" for code, n in facts["evaluation_rejected"].items())])


def last_receipts(rounds: Iterable[Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    """The last receipt of each client that sent one, by name; failed attempts were charged too.

    Args:
        rounds: Lines of the journal; those of earlier versions hold none.
    """
    receipts = (line.get("receipts", {}).items() for line in rounds)
    return dict(sorted({name: receipt for each in receipts for name, receipt in each}.items()))


@dataclass(slots=True)
class _Tally:
    """What the journal records about a client."""

    asked: int = 0
    unanswered: int = 0
    counted: int = 0
    evaluated: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    evaluation_rejected: Counter[str] = field(default_factory=Counter)

    @property
    def rejections(self) -> Counter[str]:
        return self.rejected + self.evaluation_rejected

    def facts(self) -> dict[str, Any]:
        return {
            "asked": self.asked,
            "answered": self.asked - self.unanswered,
            "counted": self.counted,
            "evaluated": self.evaluated,
            "rejected": dict(sorted(self.rejected.items())),
            "evaluation_rejected": dict(sorted(self.evaluation_rejected.items())),
            "strikes": sum(count for code, count in self.rejections.items() if code not in _NO_FAULT),
        }


def _add(tallies: Mapping[str, _Tally], line: Mapping[str, Any]) -> None:
    """Add a line of the journal; a client that was not asked in it does not count as missing."""
    asked = set(line["asked"])
    for name in asked:
        tallies[name].asked += 1
    for name in line["counted"] if line["committed"] else ():
        tallies[name].counted += 1
    for name in line.get("clients") or ():
        tallies[name].evaluated += 1
    for each in line["rejected"]:
        tallies[each["client"]].rejected[each["code"]] += 1
    for name in asked & {each["client"] for each in line["rejected"] if each["code"] in _UNANSWERED}:
        tallies[name].unanswered += 1
    for each in line.get("evaluation_rejected") or ():
        tallies[each["client"]].evaluation_rejected[each["code"]] += 1
