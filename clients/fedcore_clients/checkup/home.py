"""What ``fedcore doctor`` looks at in a client's home, before a run that would fail in it."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from fedcore.checkup.finding import Check, Finding, ok, problem, skipped, warning
from fedcore.checkup.home import certificate, chain, private_files
from fedcore.checkup.machine import disk
from fedcore.checkup.route import route
from fedcore.errors import PlanError
from fedcore.plan import RunPlan
from fedcore.privacy.accounting import rounded_up
from fedcore.storage.lock import is_locked
from fedcore.text.wording import counted
from fedcore.trust.roster import Roster
from fedcore_clients.agent.home import ClientHome
from fedcore_clients.checkup.data import data_checks
from fedcore_clients.checkup.plan_trial import PlanTrial
from fedcore_clients.checkup.policy import device_findings, plan_findings
from fedcore_clients.ledger.account import Ledger
from fedcore_clients.ledger.rollback_marks import can_be_marked
from fedcore_clients.ledger.statement import Statement, statements_of
from fedcore_clients.ledger.verification import check
from fedcore_clients.policy.approvals import Clock
from fedcore_clients.policy.budget import following
from fedcore_clients.policy.settings import Policy

_REJOIN = "ask the operator, by phone, whether the consortium was created anew"
_NEARLY = 0.8


def client_checks(home: ClientHome, *, plan: RunPlan | None, data: Mapping[str, Path], clock: Clock) -> list[Check]:
    """All checks of a client's home.

    Args:
        plan: The plan that is to be run, if it is known; its task is built only where the policy allows it.
        data: Path of each data set by its name.
    """
    trial = None if plan is None else PlanTrial(plan, lambda: Policy.from_toml(home.policy))
    listed: dict[str, Callable[[], Iterator[Finding]]] = {
        "home": lambda: _joined(home),
        "keys": lambda: private_files(home.path, [(home.identity_key, home.identity), (home.flower_key, home.flower)]),
        "certificate": lambda: certificate("certificate", home.authority_certificate, now=clock(), advice=_REJOIN),
        "route": lambda: route(home.settings().server, home.authority_certificate),
        "roster": lambda: _roster(home),
        "lock": lambda: _lock(home),
        "policy": lambda: _policy(home),
        "ledger": lambda: _ledger(home, data, clock),
        "events": lambda: chain(home.events),
        "disk": lambda: disk(home.path, model_bytes=0 if trial is None else trial.model_bytes_if_known()),
    }
    checks = [Check(name=name, run=run) for name, run in listed.items()]
    if trial is not None:
        checks += [
            Check(name="plan", run=lambda: _plan(home, trial, clock)),
            Check(name="plan device", run=lambda: device_findings(trial)),
        ]
    return [*checks, *data_checks(data, trial, lambda: Policy.from_toml(home.policy))]


def _joined(home: ClientHome) -> Iterator[Finding]:
    settings = home.settings()
    yield ok("home", f"{home.path} is the home of {settings.name} in {settings.consortium}")


def _roster(home: ClientHome) -> Iterator[Finding]:
    if not home.roster.exists():
        yield skipped("roster", "none was received yet; it comes with the first request")
        return
    roster = Roster.read(home.roster.read_bytes(), home.coordinator().key)
    me = home.settings().name
    member = roster.member(me)
    message = f"version {roster.version} with {counted(len(roster.members), 'member')}"
    if member is None:
        yield problem("roster", f"{message} does not hold {me}", "ask the operator to admit this client")
    elif member.identity_key != home.identity().public.key:
        yield problem("roster", f"{message} holds {me} with another key", "ask the operator to admit this client anew")
    else:
        yield ok("roster", f"{message}, {me} among them")


def _lock(home: ClientHome) -> Iterator[Finding]:
    if not is_locked(home.lock):
        yield ok("process", "no client runs in this home")
        return
    trouble = None
    with suppress(OSError, ValueError, AttributeError):
        trouble = json.loads((home.path / "status.json").read_text(encoding="utf-8")).get("problem")
    if trouble:
        yield warning("process", f"a client runs here, with a problem: {trouble}")
    else:
        yield ok("process", "a client runs in this home")


def _policy(home: ClientHome) -> Iterator[Finding]:
    policy = Policy.from_toml(home.policy)
    if not policy.tasks.allowed or not policy.data.allowed:
        yield warning(
            "policy",
            "it is valid, and allows nothing to be trained",
            f"list tasks and data sets in {home.policy}",
        )
        return
    tasks, sets = ", ".join(policy.tasks.allowed), ", ".join(policy.data.allowed)
    yield ok("policy", f"it is valid; tasks {tasks}, data sets {sets}")


def _plan(home: ClientHome, trial: PlanTrial, clock: Clock) -> Iterator[Finding]:
    try:
        Policy.from_toml(home.policy)
    except PlanError:
        return iter([skipped("plan", "the policy that would judge it cannot be read")])
    return plan_findings(home, trial, clock)


def _ledger(home: ClientHome, data: Mapping[str, Path], clock: Clock) -> Iterator[Finding]:
    policy = None
    with suppress(PlanError):  # reported by the check of the policy
        policy = Policy.from_toml(home.policy).privacy
    seen = (lambda budget: following(budget, policy.budget)) if policy else (lambda budget: budget)
    ledger = Ledger(home.ledger, clock, data=data)
    account = statements_of(ledger, seen)
    if account:
        check(ledger.file)
    if home.spends.exists():
        yield warning("ledger", f"{home.spends.name} of an earlier version is imported at the next start")
    if not account:
        yield ok("ledger", "nothing was spent yet")
    for each in account:
        yield _spent(each, required=policy is None or policy.required)
    for name, path in data.items():
        if not can_be_marked(path):
            message = f"no mark can be kept beside {name}, so a home restored from a backup would not be detected"
            yield ok("ledger", f"{message}; keep {path.parent} writable to the client to have one")


def _spent(account: Statement, *, required: bool) -> Finding:
    name, terms = account.data_set, account.budget.terms
    if math.isinf(account.epsilon):
        message = f"{name}: trained on without privacy, so its releases have no bound"
        advice = "every further plan is refused while privacy.required is true"
        return problem("ledger", message, advice) if required else ok("ledger", message)
    balance = account.balance
    used = balance.share(balance.spent.units + balance.reserved.units)
    share = f"{100.0 * used:.3g} %" if math.isfinite(used) else "more than all"
    message = (
        f"{name}: ε = {rounded_up(account.epsilon):g} was released, and {share} of the budget, ε = {terms.epsilon:g} "
        f"at δ = {terms.delta:g}, is spent or reserved"
    )
    if balance.usable == 0:
        return problem("ledger", message, "every further plan is refused; a larger budget is yours to decide")
    return warning("ledger", f"{message}; little is left") if used > _NEARLY else ok("ledger", message)
