"""Finds plans, models and tasks that would break a privacy guarantee, before training.

Every rule is one `Rule` with its reason and its fix; ``docs/privacy-linter.md`` lists them all.
"""

from __future__ import annotations

from collections.abc import Iterable

from torch import nn

from fedcore.errors import PrivacyError
from fedcore.plan import RunPlan
from fedcore.privacy.linter.finding import Finding, Rule, Subject
from fedcore.privacy.linter.layers import LAYER_RULES
from fedcore.privacy.linter.measured import MEASURED_RULES
from fedcore.privacy.linter.rows import ROW_RULES
from fedcore.privacy.linter.settings import DROWNED, SETTING_RULES
from fedcore.privacy.linter.source import SOURCE_RULES

RULES: tuple[Rule, ...] = (*LAYER_RULES, *SOURCE_RULES, *SETTING_RULES, *MEASURED_RULES, *ROW_RULES)
_FOR_RECORDS = frozenset(rule.id for rule in (*LAYER_RULES, *SOURCE_RULES, *ROW_RULES)) - {"trained-rows-evaluated"}

__all__ = ["DROWNED", "RULES", "Finding", "Rule", "Subject", "lint", "lint_model", "lint_rows", "refuse", "warnings_of"]


def lint(subject: Subject) -> tuple[Finding, ...]:
    """Apply every rule; nothing is found without a privacy promise.

    Rules that measure on rows run only if those before them refuse nothing, since they would find
    the same. Rules on layers and losses are for record-level privacy only.
    """
    unit = subject.plan.privacy.unit
    if unit == "none":
        return ()
    found: list[Finding] = []
    for rule in RULES:
        if rule.id in _FOR_RECORDS and unit != "record":
            continue
        if rule in (*MEASURED_RULES, *ROW_RULES) and any(finding.rule.severity == "refuse" for finding in found):
            break
        found += [Finding(rule=rule, where=where) for where in rule.find(subject)]
    return tuple(found)


def lint_rows(subject: Subject) -> tuple[Finding, ...]:
    """Apply the rules that need rows; the others ran before."""
    return tuple(Finding(rule=rule, where=where) for rule in ROW_RULES for where in rule.find(subject))


def refuse(findings: Iterable[Finding]) -> None:
    """Refuse findings other than warnings; the `PrivacyError` lists every one with reason and fix."""
    refused = [f"  {finding.text}" for finding in findings if finding.rule.severity == "refuse"]
    if refused:
        raise PrivacyError("this cannot be trained with the privacy that the plan promises:\n" + "\n".join(refused))


def warnings_of(findings: Iterable[Finding]) -> list[str]:
    """Warnings for the statement, one line each."""
    return [f"{finding.rule.id}: {finding.text}" for finding in findings if finding.rule.severity == "warn"]


def lint_model(model: nn.Module) -> None:
    """Refuse a model whose layers couple records or keep statistics of them.

    Raises:
        PrivacyError: Lists every layer at fault, the reason and the fix.
    """
    subject = Subject(plan=RunPlan(), model=model)
    refuse(Finding(rule=rule, where=where) for rule in LAYER_RULES for where in rule.find(subject))
