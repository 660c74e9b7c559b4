"""What ``fedcore lint privacy`` does: a plan with its task, model and data through all rules."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import torch
from rich.console import Console
from rich.markup import escape

from fedcore.data.examples import Examples
from fedcore.data.held_out import choose_held_out
from fedcore.errors import FedcoreError, PrivacyError
from fedcore.method.exchange import Exchange
from fedcore.plan import RunPlan
from fedcore.privacy.isolation import Isolation
from fedcore.privacy.isolation_proof import least_isolation
from fedcore.privacy.linter import Finding, Subject, lint
from fedcore.seeding import derive_seed
from fedcore.task import Task, load_examples
from fedcore.tasks.registry import load_task, settled
from fedcore.text.wording import counted
from fedcore_clients.training.dp.probe import isolation_of, probe_isolation


@dataclass(frozen=True, slots=True, kw_only=True)
class LintReport:
    """Result of the linter.

    Attributes:
        promised: Whether the plan promises privacy.
        not_measured: Why nothing was measured on data; empty where it was.
        isolation: How records are isolated; without data the least that is known.
    """

    promised: bool
    findings: tuple[Finding, ...]
    not_measured: str
    isolation: Isolation | None = None

    @property
    def refused(self) -> bool:
        return any(finding.rule.severity == "refuse" for finding in self.findings)


def lint_plan(plan: RunPlan, *, measure: bool) -> LintReport:
    """Apply every rule to a plan, to the task that it names, and to data where there is any.

    Raises:
        FedcoreError: The task, its model or a part of the method is not available.
    """
    if plan.privacy.unit == "none":
        return LintReport(promised=False, findings=(), not_measured="")
    plan = settled(plan)
    task, exchange, for_records = load_task(plan), Exchange.of(plan), plan.privacy.unit == "record"
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(derive_seed(plan.federation.seed, "model"))
        model = task.build_model()
    examples, not_measured = _examples(task, plan) if measure else (None, "--no-measure was given")
    if examples is None:
        least = least_isolation(task, model, plan) if for_records else None
        subject = Subject(plan=plan, task=task, model=model, exchange=exchange, isolation=least)
        return LintReport(promised=True, findings=lint(subject), not_measured=not_measured, isolation=least)
    isolation = None
    with suppress(PrivacyError):  # the rule record-isolation finds the same, with its reason
        isolation = isolation_of(task, model, examples, plan, torch.device("cpu")) if for_records else None
    held_out = choose_held_out(examples, plan, plan.federation.seed)
    training = examples.select(torch.nonzero(~held_out).squeeze(1))
    kept = torch.nonzero(held_out).squeeze(1)
    subject = Subject(
        plan=plan,
        task=task,
        model=model,
        exchange=exchange,
        largest_client=max(1, len(training) // plan.federation.clients),
        training=training,
        held_out=examples.select(kept) if len(kept) else None,
        probe=lambda: probe_isolation(task, model, training, plan),
        isolation=isolation,
    )
    return LintReport(promised=True, findings=lint(subject), not_measured="", isolation=isolation)


def print_findings(report: LintReport) -> None:
    """Print one line for each finding, and a verdict."""
    console = Console(highlight=False, soft_wrap=True)
    for finding in report.findings:
        style = "red" if finding.rule.severity == "refuse" else "yellow"
        console.print(f"[{style}]{finding.rule.severity}[/] {finding.rule.id}: {escape(finding.text)}")
    if report.not_measured:
        console.print(f"not measured on data: {escape(report.not_measured)}")
    if report.isolation is not None:
        why = f" ({report.isolation.why})" if report.isolation.why else ""
        console.print(f"isolation of records: {report.isolation.level.value}{escape(why)}")
    refusals = sum(finding.rule.severity == "refuse" for finding in report.findings)
    if not report.promised:
        console.print('privacy.unit = "none": nothing is promised, so nothing can be false')
    elif refusals:
        console.print(f"refused: {counted(refusals, 'finding')} would make the claim false")
    else:
        console.print(f"nothing refused; {counted(len(report.findings), 'warning')}")


def print_json(report: LintReport) -> None:
    content = {
        "promised": report.promised,
        "refused": report.refused,
        "findings": [finding.to_json() for finding in report.findings],
        "isolation": report.isolation.to_json() if report.isolation else None,
        "not_measured": report.not_measured or None,
    }
    print(json.dumps(content, indent=2, ensure_ascii=False))


def _examples(task: Task, plan: RunPlan) -> tuple[Examples | None, str]:
    """The plan's data, or why there is none here: a deployment's is at its clients."""
    try:
        return load_examples(task, Path(plan.task.data) if plan.task.data else None), ""
    except FedcoreError as error:
        return None, str(error)
