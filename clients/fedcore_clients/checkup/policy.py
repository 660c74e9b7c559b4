"""Whether this client would do what a plan asks, judged as a request would be; nothing in the home is changed."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from fedcore.checkup.finding import Finding, ok, problem
from fedcore.errors import RefusedError
from fedcore.text.wording import counted
from fedcore.trust.roster import Roster
from fedcore_clients.agent.home import ClientHome
from fedcore_clients.checkup.plan_trial import PlanTrial
from fedcore_clients.ledger.account import Ledger
from fedcore_clients.ledger.store import LedgerFile, copied
from fedcore_clients.policy.approvals import Approvals, Clock
from fedcore_clients.policy.budget import Account, coordinator_of
from fedcore_clients.policy.daily_requests import DailyRequests
from fedcore_clients.policy.request_facts import RequestFacts
from fedcore_clients.policy.request_gate import KnownMembers, check_request
from fedcore_clients.policy.settings import Policy
from fedcore_clients.training.device import resolve_device
from fedcore_clients.training.device_choice import choose_device

Kind = Literal["train", "evaluate"]
_KINDS: tuple[Kind, ...] = ("train", "evaluate")
_RUN = "fedcore-doctor"
_ADVICE = (
    "change policy.toml if you agree to it (a budget made by hand: fedcore ledger init --supersede), or have the plan "
    "changed; further refusals may follow this one"
)


def plan_findings(home: ClientHome, trial: PlanTrial, clock: Clock) -> Iterator[Finding]:
    """Each refusal that the plan would meet here, and whether its task is available.

    Raises:
        FedcoreError: The plan or the policy itself is wrong.
    """
    policy, plan, roster = Policy.from_toml(home.policy), trial.plan, _roster(home)
    refusals: list[str] = []
    with tempfile.TemporaryDirectory() as scratch:
        gate = _Gate(home=home, policy=policy, roster=roster or _Everybody(), clock=clock, scratch=Path(scratch))
        for kind in _KINDS:
            refusals += gate.refusals(_facts(trial, kind, home.settings().name, roster))
    for refusal in dict.fromkeys(refusals):
        yield problem("plan", refusal, _ADVICE)
    if not refusals:
        assumed = "" if roster else "; a roster with all of its clients is assumed"
        message = f"the policy allows {plan.task.name} to be trained and evaluated on {trial.data_set} for"
        yield ok("plan", f"{message} {counted(plan.federation.rounds, 'round')} (plan {plan.sha256[:12]}){assumed}")


def device_findings(trial: PlanTrial) -> Iterator[Finding]:
    """Empty where the plan's device can be used and is the one that is found first.

    Raises:
        DeviceError: It cannot be used.
    """
    name = trial.plan.training.device
    resolve_device(name)
    if trial.may_be_built and (note := choose_device(name, trial.plan, lambda: trial.model).note):
        yield ok("plan device", note)


class _Everybody:
    """Replaces a roster that was not received yet."""

    version = 1

    def member(self, name: str, /) -> object | None:
        return name


@dataclass(frozen=True, slots=True, kw_only=True)
class _Gate:
    """The gate and the account of a client, on copies of the files that they would write to."""

    home: ClientHome
    policy: Policy
    roster: KnownMembers
    clock: Clock
    scratch: Path

    def refusals(self, facts: RequestFacts) -> Iterator[str]:
        try:
            check_request(
                facts,
                policy=self.policy,
                roster=self.roster,
                me=self.home.settings().name,
                approvals=Approvals(self._copy(self.home.approvals), self.clock),
                requests_today=DailyRequests(self.home.path / "requests.json", self.clock).today,
            )
            if facts.kind == "train":
                self._account().charge(facts)
        except RefusedError as error:
            yield f"refused with {error.code}: {error}"

    def _account(self) -> Account:
        path = self.scratch / self.home.ledger.name
        copied(LedgerFile(self.home.ledger, self.clock, {}), path, self.clock)
        return Account(Ledger(path, self.clock), self.policy.privacy, coordinator=coordinator_of(self.home))

    def _copy(self, path: Path) -> Path:
        with suppress(FileNotFoundError):
            shutil.copyfile(path, self.scratch / path.name)
        return self.scratch / path.name


def _roster(home: ClientHome) -> Roster | None:
    if not home.roster.exists():
        return None
    return Roster.read(home.roster.read_bytes(), home.coordinator().key)


def _facts(trial: PlanTrial, kind: Kind, me: str, roster: Roster | None) -> RequestFacts:
    """The first request of a run, to as many clients as the plan asks for."""
    plan = trial.plan
    size = plan.federation.cohort_size or plan.federation.clients
    known = [member.name for member in roster.members] if roster else [f"other-{index}" for index in range(1, size)]
    return RequestFacts(
        run=_RUN,
        incarnation=1,
        round=1,
        attempt=0,
        kind=kind,
        plan=plan,
        cohort=(me, *[name for name in known if name != me][: size - 1]),
        roster_version=roster.version if roster else _Everybody.version,
        model_dtype=plan.training.precision,
        array_bytes=trial.model_bytes,
    )
