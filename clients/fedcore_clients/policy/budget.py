"""The cost of a request to train, checked against the policy and the account before data is opened."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from fedcore.errors import PrivacyError
from fedcore.plan.evaluation_schedule import before_training
from fedcore.privacy.accounting import composed_epsilon, rounded_up
from fedcore.privacy.evaluation import EvaluationPrivacy
from fedcore.privacy.plan import PrivacyEvent, PrivacyPlan, Relation
from fedcore.refusals import Refusal
from fedcore_clients.agent.home import ClientHome
from fedcore_clients.ledger.account import Ledger
from fedcore_clients.ledger.asked import Asked
from fedcore_clients.ledger.balance import Budget
from fedcore_clients.ledger.entry import Entry, Kind
from fedcore_clients.ledger.rows import Fingerprints, rows_in
from fedcore_clients.ledger.spends_file import OldCharge, take_over
from fedcore_clients.ledger.terms import Mode, Terms, agree
from fedcore_clients.ledger.verification import check
from fedcore_clients.policy.approvals import Clock
from fedcore_clients.policy.privacy_gate import held_out_promise, promised
from fedcore_clients.policy.request_facts import RequestFacts, shown
from fedcore_clients.policy.sections import BudgetSection, PrivacySection

MAKER = "policy"
"""Who made a budget that follows the policy."""


class Account:
    """The client's use of its owner's ledger.

    A data set without a budget of its own gets the policy's, in mode ``rdp``, and follows the policy from then on; one
    that the owner made with ``fedcore ledger init`` stays as it was made.

    Args:
        policy: The privacy section of the client's policy.
        coordinator: Distinguishes runs of the same name in different consortia.
        rows: Fingerprint of each data set's rows.
    """

    def __init__(
        self, ledger: Ledger, policy: PrivacySection, *, coordinator: str, rows: Mapping[str, str] | None = None
    ) -> None:
        self.ledger, self._policy, self._coordinator, self._rows = ledger, policy, coordinator, rows or {}

    @classmethod
    def opened(
        cls, home: ClientHome, policy: PrivacySection, clock: Clock, *, data: Mapping[str, Path] | None = None
    ) -> Account:
        """The account in a home, made if absent, checked, and with what an older version had spent.

        Args:
            data: Path of each data set by its name.

        Raises:
            StorageError: It is gone, damaged, older than it was, or another one; nothing may be trained.
        """
        rows = Fingerprints(data, home.secret()) if data else {}
        account = cls(Ledger(home.ledger, clock, data=data), policy, coordinator=coordinator_of(home), rows=rows)
        account.ledger.file.create()
        check(account.ledger.file)
        take_over(home.spends, account._take_over)
        return account

    def asked(self, request: RequestFacts) -> Asked:
        """Raises RefusedError: With the code ``PRIVACY``; the plan leaves a number of its promise open."""
        if request.kind == "evaluate":
            return self._asked_to_evaluate(request)
        privacy = promised(request.plan)
        return Asked(
            data_set=request.data_set,
            run=f"{request.run}@{self._coordinator}",
            incarnation=request.incarnation,
            round=request.round,
            attempt=request.attempt,
            rounds=request.plan.federation.rounds,
            plan=_hash_of(privacy),
            event=None if privacy is None else privacy.event(1),
            rows=self._rows.get(request.data_set, ""),
        )

    def _asked_to_evaluate(self, request: RequestFacts) -> Asked:
        """Evaluations are a run of their own in the ledger: another mechanism, on other records of the data set."""
        evaluation, federation = held_out_promise(request.plan), request.plan.federation
        return Asked(
            data_set=request.data_set,
            run=f"{request.run}/evaluation@{self._coordinator}",
            incarnation=request.incarnation,
            round=-(-request.round // federation.evaluate_every) + before_training(request.plan) + request.attempt,
            attempt=request.round,
            rounds=evaluation.evaluations if evaluation else 1,
            plan=_hash_of(evaluation),
            event=None if evaluation is None else evaluation.event(1),
            rows=self._rows.get(request.data_set, ""),
        )

    def changed(self) -> Iterator[tuple[str, Entry]]:
        """Data sets whose rows changed since their last charge, and that charge."""
        for name, rows in self._rows.items():
            last = self.ledger.last_rows(name)
            if last is not None and rows_in(last) != rows:
                yield name, last

    def charge(self, request: RequestFacts) -> None:
        """Reserve for the run what it needs, and charge a request; only then may data be opened.

        An evaluation without noise is not charged, since what it reveals has no bound.

        Guarantee:
            Where it returns, the budget of the data set holds as `Ledger` and `Terms` say, and, where the policy
            requires privacy, all that was released about it has a bound; the charges of this run compose to at most
            `max_epsilon` at the plan's δ. Unit: one record of this client.

        Raises:
            RefusedError: With the code ``BUDGET`` or ``STALE``; nothing was charged.
            StorageError: The account cannot be read or written; nothing may be opened.
        """
        asked, privacy = self.asked(request), promised(request.plan)
        if request.kind == "evaluate" and asked.event is None:
            return
        try:
            self._check_relation(asked.data_set, privacy)
        except PrivacyError as error:  # the policy's own budget allows nothing
            raise Refusal.BUDGET(str(error)) from error
        self.ledger.reserve(asked, lambda uses: self._check(asked, privacy, uses))
        self.ledger.charge(asked)

    def _check(self, asked: Asked, privacy: PrivacyPlan | None, uses: Sequence[Entry]) -> None:
        """What the policy says about the uses of a data set, with one more.

        Raises:
            RefusedError: With the code ``BUDGET``.
        """
        bare = sum(use.kind is Kind.UNBOUNDED for use in uses) + (privacy is None)
        if bare and self._policy.required:
            raise Refusal.BUDGET(
                f"{bare} charges on data set {shown(asked.data_set)}, this one included, promise no privacy, so that "
                "releases about it have no bound, and privacy.required is true"
            )
        if privacy is not None and asked.event is not None:
            self._check_run(privacy, asked.event, [use for use in uses if use.run == asked.run])

    def _check_run(self, privacy: PrivacyPlan, event: PrivacyEvent, uses: Sequence[Entry]) -> None:
        events = [found for use in uses if isinstance(found := use.parsed_mechanism(), PrivacyEvent)]
        spent = composed_epsilon([*events, event], privacy.delta, privacy.relation)
        if spent > self._policy.max_epsilon:
            total = f"{rounded_up(spent):g}" if math.isfinite(spent) else "more than can be bounded"
            raise Refusal.BUDGET(
                f"privacy.max-epsilon is {self._policy.max_epsilon:g}, and with rounds tried again the run would spend "
                f"{total} at δ = {privacy.delta:g}"
            )

    def _check_relation(self, data_set: str, privacy: PrivacyPlan | None) -> None:
        relation = self._with_budget(data_set)
        if privacy is not None and relation is Relation.ADD_REMOVE and privacy.relation is not relation:
            raise Refusal.BUDGET(
                "the budget holds for records that are added or removed, and the plan reveals how many there are"
            )

    def _with_budget(self, data_set: str) -> Relation:
        """Make a budget where there is none; one that the policy made follows it."""
        found, wanted = self.ledger.budgets().get(data_set), self._policy.budget
        budget = Budget(terms=terms_of(wanted), maker=MAKER) if found is None else following(found, wanted)
        if budget != found:
            self.ledger.set_budget(data_set, budget.terms, maker=budget.maker)
        return budget.terms.relation

    def _take_over(self, charge: OldCharge) -> None:
        self._with_budget(charge.data_set)
        run = f"{charge.run}@{self._coordinator}"
        note = f"spends.jsonl, round {charge.round}"
        try:
            self.ledger.spend(charge.data_set, charge.mechanism, note, reference=charge.reference, run=run)
        except PrivacyError:  # so little noise that no budget could hold it
            self.ledger.spend(charge.data_set, None, note, reference=charge.reference, run=run)


def following(budget: Budget, wanted: BudgetSection) -> Budget:
    """The budget as the policy has it now, where the policy made it; any other unchanged."""
    terms = budget.terms
    if budget.maker != MAKER or (terms.epsilon, terms.delta) == (wanted.epsilon, wanted.delta):
        return budget
    return Budget(terms=terms.changed(wanted.epsilon, wanted.delta), maker=MAKER)


def coordinator_of(home: ClientHome) -> str:
    """A short name for a home's coordinator."""
    return home.coordinator().key.hex()[:12]


def terms_of(budget: BudgetSection) -> Terms:
    """The terms of a budget that the policy makes.

    Mode ``rdp``, since the policy is written before noise and sampling of future plans are known.
    """
    return agree(epsilon=budget.epsilon, delta=budget.delta, mode=Mode.RDP)


def _hash_of(privacy: PrivacyPlan | EvaluationPrivacy | None) -> str:
    if privacy is None:
        return ""
    return hashlib.sha256(json.dumps(asdict(privacy), sort_keys=True).encode()).hexdigest()
