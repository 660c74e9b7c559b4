"""Whether a ledger is as it was written: its file, its rules, its chain, and its recomputed sums."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator

from fedcore.errors import StorageError
from fedcore.messages import LedgerReceipt
from fedcore_clients.ledger.entry import FIRST, Entry, Kind
from fedcore_clients.ledger.store import Book, LedgerFile

_Sums = dict[tuple[str, ...], list[int]]


def problems_of(file: LedgerFile) -> list[str]:
    """Every problem in words.

    Raises:
        StorageError: The ledger cannot be opened, or contradicts its marks.
    """
    with file.reading() as book:
        return [*book.damage(), *chain_problems(book.entries()), *_sum_problems(book)]


def receipt_problems(file: LedgerFile, receipt: LedgerReceipt | None) -> Iterator[str]:
    """A problem where the charge of a receipt is not in the ledger."""
    with file.reading() as book:
        found = None if receipt is None else next(book.entries("number = ?", receipt.entry), None)
        if receipt and (found is None or LedgerReceipt.of(book.id, found.number, found.hash) != receipt):
            yield f"entry {receipt.entry}: it is not the receipt's"


def check(file: LedgerFile) -> None:
    """Raises StorageError: The ledger has a problem."""
    if problems := problems_of(file):
        raise StorageError(
            f"the ledger {file.path} is damaged or was changed, so what was spent is unknown; nothing is "
            f"trained before it is restored. {problems[0]}; all of it: fedcore ledger verify"
        )


def chain_problems(entries: Iterable[Entry]) -> Iterator[str]:
    head = FIRST
    for number, entry in enumerate(entries, start=1):
        if entry.number != number:
            yield f"{_place(entry)}: expected number {number}, so one is missing before it"
        if entry.previous != head:
            yield f"{_place(entry)}: it does not follow the entry before it"
        if entry.hash != entry.computed_hash():
            yield f"{_place(entry)}: its content does not match its hash"
        try:
            entry.parsed_mechanism()
        except ValueError as error:
            yield f"{_place(entry)}: {error}"
        head = entry.hash


def _sum_problems(book: Book) -> Iterator[str]:
    """Where more was reserved than the cap in force, or more used than was reserved: in units, slots, rounds."""
    caps: dict[str, tuple[int, int]] = {}
    held: _Sums = defaultdict(lambda: [0, 0, 0])
    left: _Sums = defaultdict(lambda: [0, 0, 0])
    for entry in book.entries():
        measures = (entry.units, entry.slots, entry.rounds)
        if entry.kind is Kind.BUDGET:
            caps[entry.data_set] = (entry.units, entry.slots)
        if entry.kind in (Kind.RESERVE, Kind.SPEND, Kind.REFUND):
            _add(held[entry.data_set,], measures, -1 if entry.kind is Kind.REFUND else 1)
        if entry.kind in (Kind.RESERVE, Kind.CHARGE, Kind.REFUND):
            _add(left[entry.data_set, entry.run], measures, 1 if entry.kind is Kind.RESERVE else -1)
        units, slots, _ = held[entry.data_set,]
        cap = caps.get(entry.data_set, (-1, -1))
        if entry.kind is Kind.RESERVE and (units > cap[0] or slots > cap[1]):
            yield f"{_place(entry)}: more is reserved than the budget holds"
        if min(left[entry.data_set, entry.run]) < 0:
            yield f"{_place(entry)}: the run uses more than was reserved for it"


def _place(entry: Entry) -> str:
    run = f", run {entry.run!r}" if entry.run else ""
    return f"entry {entry.number} ({entry.kind}, data set {entry.data_set!r}{run})"


def _add(sums: list[int], measures: Iterable[int], sign: int) -> None:
    for index, value in enumerate(measures):
        sums[index] += sign * value
