"""What was spent on each data set: charged before data is opened, and never counted short."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable
from pathlib import Path

from fedcore.errors import RefusedError, StorageError
from fedcore.files import append_line, write_whole
from fedcore.privacy.accounting import composed_epsilon, rounded_up
from fedcore.privacy.plan import PrivacyPlan
from fedcore_clients.policy.approvals import Clock
from fedcore_clients.policy.charge import Charge
from fedcore_clients.policy.privacy_gate import promised
from fedcore_clients.policy.request_facts import RequestFacts, shown
from fedcore_clients.policy.sections import PrivacySection

_CODE = "BUDGET"


class Spending:
    """The append-only account of a client, ``spends.jsonl``: one line for each request to train.

    The account belongs to the data sets, not to a run or a server. Its lines are events, and ε is computed from
    them, so that a better accountant improves old ones too.

    A line that a crash tore has stopped its own `charge`, so that no data was opened for it. It is counted all the
    same, as a charge like the one asked for next: the account may count too much, and never too little. Damage
    anywhere else stops all training until the owner has looked.

    Args:
        path: The file; may be absent. One process at a time writes it.
        clock: The present, with its time zone.
    """

    def __init__(self, path: Path, clock: Clock) -> None:
        self._path = path
        self._clock = clock

    def charge(self, request: RequestFacts, policy: PrivacySection) -> None:
        """Charge a request to train, durably; only then may data be opened. Each call charges once more.

        Guarantee:
            Where it returns and the policy requires privacy, all charges on the data set compose to at most the
            budget's ε at the budget's δ, and those of this run to at most `max_epsilon` at the plan's δ. Unit: one
            record of this client. Composed as if all parameters were fixed beforehand: that a server chooses
            those of a later run after it saw an earlier one is not covered.

        Raises:
            RefusedError: With the code ``BUDGET``; nothing was charged.
            StorageError: The account cannot be read or written; nothing may be opened.
        """
        asked = self._asked(request)
        if policy.required:
            _check_promised([asked])  # before a torn line could be counted as one more like it
        before = [one for one in self._recovered(asked) if one.data_set == asked.data_set]
        _check(asked, before, request, policy)
        append_line(self._path, asked.to_line())

    def charges(self) -> tuple[Charge, ...]:
        """All whole charges on record, oldest first.

        Raises:
            StorageError: The account cannot be read, or is damaged before its last line.
        """
        return self._read()[0]

    def epsilon(self, data_set: str, delta: float) -> float:
        """What was spent on a data set, as ε at `delta`; infinite after any training without privacy."""
        return _epsilon([one for one in self.charges() if one.data_set == data_set], delta)

    def _asked(self, request: RequestFacts) -> Charge:
        privacy = promised(request.plan)
        return Charge(
            data_set=request.data_set,
            run=request.run,
            incarnation=request.incarnation,
            round=request.round,
            attempt=request.attempt,
            event=None if privacy is None else privacy.event(1),
            time=self._clock(),
        )

    def _recovered(self, asked: Charge) -> tuple[Charge, ...]:
        """All charges, after a torn last line was replaced by one like `asked`."""
        charges, torn = self._read()
        if torn:
            charges = (*charges, asked)
            write_whole(self._path, "".join(f"{one.to_line()}\n" for one in charges))
        elif not charges:
            _create_durably(self._path)
        return charges

    def _read(self) -> tuple[tuple[Charge, ...], bool]:
        """Whole charges, and whether there is a torn line after them."""
        *lines, last = self._content().split(b"\n")
        try:
            return tuple(Charge.from_line(line) for line in lines), last != b""
        except ValueError as error:
            raise StorageError(
                f"{self._path} is damaged, so that what was spent is not known; nothing is trained before it is "
                "restored from a backup"
            ) from error

    def _content(self) -> bytes:
        try:
            return self._path.read_bytes()
        except FileNotFoundError:
            return b""
        except OSError as error:
            raise StorageError(f"{self._path} cannot be read: {error.strerror or error}") from error


def _check(asked: Charge, before: list[Charge], request: RequestFacts, policy: PrivacySection) -> None:
    """Refuse a charge that does not fit.

    Args:
        before: Charges on the same data set.
    """
    privacy = promised(request.plan)
    if policy.required:
        _check_promised([*before, asked])
    if privacy is None:
        return
    same_run = [one for one in before if one.run == asked.run]
    _check_run([*same_run, asked], privacy, policy)
    rounds_ahead = 1 if same_run else max(1, privacy.rounds - request.round + 1)
    _check_budget(before, asked, privacy, rounds_ahead, policy)


def _check_promised(charges: list[Charge]) -> None:
    bare = sum(one.event is None for one in charges)
    if bare:
        raise RefusedError(
            _CODE,
            f"{bare} charges on data set {shown(charges[-1].data_set)}, this one included, promise no privacy, so that "
            "what is told about it has no bound, and privacy.required is true",
        )


def _check_run(charges: list[Charge], privacy: PrivacyPlan, policy: PrivacySection) -> None:
    spent = _private_epsilon(charges, privacy.delta)
    if spent > policy.max_epsilon:
        raise RefusedError(
            _CODE,
            f"privacy.max-epsilon is {policy.max_epsilon:g}, and with rounds tried again the run would spend "
            f"{_number(spent)} at δ = {privacy.delta:g}",
        )


def _check_budget(
    before: list[Charge], asked: Charge, privacy: PrivacyPlan, rounds: int, policy: PrivacySection
) -> None:
    budget = policy.budget
    events = [one.event for one in before if one.event is not None]
    total = composed_epsilon([*events, privacy.event(rounds)], budget.delta)
    if total <= budget.epsilon:
        return
    what = "this round" if rounds == 1 else f"the {rounds} rounds of this run"
    raise RefusedError(
        _CODE,
        f"data set {shown(asked.data_set)}: privacy.budget is ε = {budget.epsilon:g} at δ = {budget.delta:g}, "
        f"{_number(_private_epsilon(before, budget.delta))} are spent, and with {what} it would be {_number(total)}, "
        f"too much by {_number(total - budget.epsilon)}",
    )


def _epsilon(charges: Iterable[Charge], delta: float) -> float:
    listed = list(charges)
    return math.inf if any(one.event is None for one in listed) else _private_epsilon(listed, delta)


def _private_epsilon(charges: Iterable[Charge], delta: float) -> float:
    return composed_epsilon([one.event for one in charges if one.event is not None], delta)


def _number(epsilon: float) -> str:
    return f"{rounded_up(epsilon):g}" if math.isfinite(epsilon) else "unbounded"


def _create_durably(path: Path) -> None:
    """Make the empty file, and flush the directory: a file that a power cut takes away would count nothing."""
    try:
        path.touch(mode=0o600)
        directory = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
    except OSError as error:
        raise StorageError(f"{path} could not be made: {error.strerror or error}") from error
