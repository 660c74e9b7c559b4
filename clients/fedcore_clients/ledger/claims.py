"""What a request may claim in the account as it is now."""

from __future__ import annotations

from fedcore.errors import PrivacyError
from fedcore.privacy.plan import PrivacyEvent
from fedcore.refusals import Refusal
from fedcore_clients.ledger.asked import Asked
from fedcore_clients.ledger.balance import budget_of, reservation_of
from fedcore_clients.ledger.store import Book
from fedcore_clients.ledger.terms import Cost, Mode, Terms


def missing_rounds(book: Book, asked: Asked) -> int:
    """Rounds that are still to be reserved for a request.

    Raises:
        RefusedError: The run is another than was reserved for, or asks for more rounds than it announced.
    """
    others = book.entries("run = ? AND kind = 'reserve'", asked.run)
    if any((entry.note, entry.data_set) != (asked.plan, asked.data_set) for entry in others):
        raise Refusal.BUDGET("the run was reserved for with another promise of privacy, or another data set")
    held = reservation_of(book, asked.data_set, asked.run)
    if not held.is_open:
        return max(1, asked.rounds - asked.round + 1)
    if asked.round in held.done:
        return 1
    if held.rounds == 0:
        raise Refusal.BUDGET(over_reservation(asked))
    return 0


def over_reservation(asked: Asked) -> str:
    return f"the run asks for more rounds than were reserved for it when it began; its plan has {asked.rounds}"


def charge_cost(book: Book, asked: Asked, event: PrivacyEvent) -> Cost:
    """Cost of one round; a grant is used up by the first, since where its run ends may depend on its releases."""
    terms = terms_in(book, asked.data_set)
    if terms.mode is Mode.GRANTS:
        return reservation_of(book, asked.data_set, asked.run).cost
    return terms.round_cost(event)


def is_charged(book: Book, asked: Asked) -> bool:
    return any(book.entries("reference = ?", f"charge {asked.place}"))


def terms_in(book: Book, data_set: str) -> Terms:
    """Raises PrivacyError: The data set has no budget."""
    found = budget_of(book, data_set)
    if found is None:
        raise PrivacyError(f"data set {data_set!r} has no budget in the ledger; give it one with: fedcore ledger init")
    return found.terms


def is_begun(book: Book, data_set: str) -> bool:
    return any(book.entries("data_set = ? AND kind IN ('reserve', 'spend')", data_set))


def same_kind(old: Terms, new: Terms) -> bool:
    """Whether what was spent under the old terms can be counted under the new ones."""
    fixed = ("mode", "relation", "order", "sampling_rate", "noise_multiplier")
    if old.mode is Mode.GRANTS and (old.delta, old.cap.slots) != (new.delta, new.cap.slots):
        return False
    return all(getattr(old, name) == getattr(new, name) for name in fixed)
