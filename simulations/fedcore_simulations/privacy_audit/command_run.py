"""``fedcore audit privacy``, from options to exit code."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import Progress

from fedcore.errors import PlanError
from fedcore.method.method import Method
from fedcore.plan import RunPlan
from fedcore.privacy.accounting import rounded_up
from fedcore.privacy.statement.statement import read_statement
from fedcore.tasks.registry import load_task, settled
from fedcore.text.wording import counted
from fedcore_clients.training.local_model import Client
from fedcore_server.runs.place import is_finished
from fedcore_simulations.commands.options import plan_from_options
from fedcore_simulations.preparation import Preparation, prepare
from fedcore_simulations.privacy_audit.audit import FAILING_P, PrivacyAudit, Subject, audit_privacy
from fedcore_simulations.privacy_audit.client_level import ClientLevelSubject
from fedcore_simulations.privacy_audit.membership import AttackRates, attack
from fedcore_simulations.privacy_audit.noise_probe import Probe
from fedcore_simulations.privacy_audit.record_level import RecordLevelSubject
from fedcore_simulations.privacy_audit.run_marking import is_run, keep

_VIOLATED = 1
_SLACK = 1e-3
"""By how much another version of the accountant may differ."""


def audit_command(
    subject: str, *, canaries: int, attack_models: int, client: str | None, seed: int, as_json: bool
) -> int:
    """Audit, show, and mark a refuted run; return the exit code."""
    console = Console(stderr=True, highlight=False)
    run = Path(subject) if is_run(subject) else None
    console.print("preparing: data, partition, checks, privacy accounting …", style="dim")
    if run is None:
        plan = plan_from_options(subject, {}, [])
    else:
        plan = RunPlan.from_toml(run / "plan.toml")
        statement = read_statement(run / "privacy.json") if is_finished(run) else None
        plan = plan.updated(federation={"rounds": _charged(statement, plan)})
    if plan.privacy.unit == "none":
        raise PlanError("privacy.unit: the plan promises nothing, so there is nothing to audit")
    plan = settled(plan)
    ready = prepare(load_task(plan), plan)
    if attack_models and Method.of(ready.plan).algorithm.buffer is not None:
        raise PlanError(
            f"algorithm.name: the membership attack trains in rounds, which {plan.algorithm.name!r} has not; leave "
            "it out with --attack-models 0"
        )
    generator = torch.Generator().manual_seed(seed)
    with Progress(console=console, transient=True) as progress:
        bar = progress.add_task("canaries", total=1 + attack_models)
        found = audit_privacy(_subject(ready, canaries, client), generator=generator)
        if run is not None and statement is not None:
            found = replace(found, probes=(*found.probes, _stated(statement, found.proven)))
        progress.update(bar, advance=1, description="membership attack")
        rates = (
            attack(ready, models=attack_models, generator=generator, progress=lambda _: progress.update(bar, advance=1))
            if attack_models
            else {}
        )
    report = found.to_json() | {"attack": {name: _plain(each) for name, each in rates.items()}}
    if run is not None:
        keep(run, report, violated=found.violated)
    if as_json:
        print(json.dumps(report, indent=2, ensure_ascii=False))
    else:
        _show(Console(highlight=False), found, rates)
    return _VIOLATED if found.violated else 0


def _charged(statement: Mapping[str, Any] | None, plan: RunPlan) -> int:
    """Rounds that clients were charged for: more than the plan's where some were repeated."""
    return max(plan.federation.rounds, int(statement["participations"]) if statement else 0)


def _stated(statement: Mapping[str, Any], proven: float) -> Probe:
    """Whether a run claims no smaller ε than its plan proves."""
    stated = math.inf if statement["epsilon"] is None else float(statement["epsilon"])
    return Probe(
        name="the ε that privacy.json states",
        passed=stated >= proven * (1.0 - _SLACK),
        found=f"{stated:.4g}, and the plan proves {proven:.4g}",
    )


def _subject(ready: Preparation, canaries: int, name: str | None) -> Subject:
    if ready.plan.privacy.unit == "client":
        return ClientLevelSubject(ready.plan, num_canaries=canaries)
    return RecordLevelSubject(ready.task, ready.plan, _client(ready, name).training, num_canaries=canaries)


def _client(ready: Preparation, name: str | None) -> Client:
    chosen = [client for client in ready.clients if name in (None, client.name)]
    if not chosen:
        names = ", ".join(client.name for client in ready.clients[:10])
        raise PlanError(f"--client: no client {name!r} in this plan; they are {names}")
    return chosen[0]


def _plain(rates: AttackRates) -> dict[str, Any]:
    shares = {f"{share:g}": rate for share, rate in rates.true_positive_rates.items()}
    return {"rows": rates.rows, "true_positive_rate_at_false_positive_rate": shares, "auc": rates.area}


def _show(console: Console, found: PrivacyAudit, rates: Mapping[str, AttackRates]) -> None:
    report = found.to_json()
    proven = "∞: there is no noise" if report["proven_epsilon"] is None else f"{rounded_up(found.proven):.2f}"
    console.print(f"proven    ε ≤ {proven}  (per {found.unit}, δ = {found.delta:g})", soft_wrap=True)
    for bound in report["measured_epsilon"]:
        ceiling = "no ceiling" if bound["ceiling"] is None else f"so many canaries show {bound['ceiling']:.2f} at most"
        least = "∞" if bound["at_least"] is None else f"{bound['at_least']:.2f}"
        console.print(
            f"measured  ε ≥ {least}  ({bound['method']}, {bound['confidence']:.0%} sure, {ceiling}; "
            f"assumes: {bound['assumption']})",
            soft_wrap=True,
        )
    least = "∞" if report["failing_epsilon"] is None else f"{found.failing:.2f}"
    console.print(
        f"measured  ε ≥ {least}  (canary head, {1.0 - FAILING_P:.2%} sure: this one refutes the claim if it is above "
        f"{found.refutable:.2f}; one in twenty of the bounds above is too large by chance)",
        soft_wrap=True,
    )
    for name, each in rates.items():
        shares = ", ".join(
            f"{'too few rows' if rate is None else f'{rate:.1%}'} at {share:.1%} false alarms"
            for share, rate in each.true_positive_rates.items()
        )
        console.print(f"attack    finds {shares}  ({name}; AUC {each.area:.3f})", soft_wrap=True)
    for probe in found.probes:
        if not probe.passed:
            console.print(f"FAILED    {probe.name}: {probe.found}", style="bold red", soft_wrap=True)
    if found.violated:
        console.print("privacy: VIOLATED. The stated ε is refuted; do not rely on it.", style="bold red")
    else:
        probes = counted(len(found.probes), "probe")
        console.print(f"privacy: not refuted ({probes} passed). A test that finds nothing is no proof.")
