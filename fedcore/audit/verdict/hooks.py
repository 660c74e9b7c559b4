"""The named points of a run at which an audit may object.

A hook gets sums over many rows, never a row and never the model; it returns a decision and changes
nothing. Hooks are called in the order of their registration.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Protocol, runtime_checkable

from fedcore.audit.tables.values import AuditTable
from fedcore.audit.verdict.attribute_audit import AttributeAudit
from fedcore.audit.verdict.gate import Verdict, judge_all, overall
from fedcore.audit.verdict.limits import Limit


class Point(StrEnum):
    """When in a run a hook is called, in order."""

    PLAN = "plan"
    DATA = "data"
    ROUND_EVALUATED = "round-evaluated"
    CANDIDATE = "candidate"
    BEFORE_RELEASE = "before-release"
    AFTER_RELEASE = "after-release"


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditContext:
    """The input of a hook: additive statistics over the cohort, read-only.

    Attributes:
        round: That of the evaluated model: rounds closed so far, or fewer if an earlier model is released.
        tables: Pooled counts by attribute; zeros at ``plan``, where nothing is counted yet.
        audits: Their audits by attribute, empty at ``plan``; small groups are not suppressed here.
        metrics: Further metrics of the evaluation, such as ``loss``.
        plan_sha256: Hash of the plan, so that a decision can be tied to it.
        epsilon: Privacy spent so far, or None without DP.
        plan: The plan as written, its sections by name and keys in kebab-case.
    """

    point: Point
    round: int
    tables: Mapping[str, AuditTable]
    audits: Mapping[str, AttributeAudit]
    metrics: Mapping[str, float]
    plan_sha256: str
    epsilon: float | None
    plan: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("tables", "audits", "metrics"):
            object.__setattr__(self, name, MappingProxyType(dict(getattr(self, name))))
        object.__setattr__(self, "plan", _frozen(self.plan))


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """The decision of a hook.

    Attributes:
        verdict: Only PASS permits a release; None if the hook observed and judged nothing.
        findings: Sentences for the report. They are shown: nothing of a single row belongs in them.
        point: Set by ``run_hooks``.
    """

    verdict: Verdict | None
    findings: tuple[str, ...]
    hook: str
    point: Point | None = field(default=None, compare=False)

    def to_json(self) -> dict[str, Any]:
        """Return ``{hook, verdict, findings}``, and ``point`` if the file does not show it."""
        verdict = None if self.verdict is None else self.verdict.value
        content: dict[str, Any] = {"hook": self.hook, "verdict": verdict, "findings": list(self.findings)}
        if self.point in (None, Point.ROUND_EVALUATED, Point.BEFORE_RELEASE):
            return content
        return {**content, "point": self.point.value}


@runtime_checkable
class AuditHook(Protocol):
    """The contract of a hook; ``fedcore.testing.audit_hook`` has its tests."""

    name: str
    points: frozenset[Point]

    def check(self, context: AuditContext) -> Decision:
        """Return a decision; the same context gives the same decision."""


def run_hooks(hooks: Iterable[AuditHook], context: AuditContext) -> tuple[Decision, ...]:
    """Call the hooks of this point, in order.

    A hook that raises, or returns anything but a ``Decision``, is INCONCLUSIVE and so blocks a PASS before
    release; only the type of the exception is shown, since its text may hold data.
    """
    return tuple(_decide(hook, context) for hook in hooks if context.point in hook.points)


def _decide(hook: AuditHook, context: AuditContext) -> Decision:
    try:
        decision = hook.check(context)
    except Exception as error:  # a plug-in's fault must not end the run
        return _failed(hook.name, f"hook {hook.name} failed: {type(error).__name__}", context.point)
    if not isinstance(decision, Decision) or not isinstance(decision.verdict, Verdict | None):
        return _failed(
            hook.name, f"hook {hook.name} failed: it returned a {type(decision).__name__}, no Decision", context.point
        )
    return replace(decision, hook=hook.name, point=context.point)


def _failed(name: str, finding: str, point: Point) -> Decision:
    return Decision(verdict=Verdict.INCONCLUSIVE, findings=(finding,), hook=name, point=point)


def _frozen(content: Any) -> Any:
    """Return plain values as immutable ones."""
    if isinstance(content, Mapping):
        return MappingProxyType({name: _frozen(value) for name, value in content.items()})
    return tuple(map(_frozen, content)) if isinstance(content, list | tuple) else content


class GateHook:
    """Judges the plan's limits by the audits, after every evaluation and before release.

    Slow metrics, such as those other than rates, are measured before release only; limits on them are judged then.
    Without limits its verdict is None: "no limits" must not read as a PASS.
    """

    def __init__(self, limits: Iterable[Limit]) -> None:
        self.name = "gate"
        self.points = frozenset({Point.ROUND_EVALUATED, Point.BEFORE_RELEASE})
        self.limits = tuple(limits)

    def check(self, context: AuditContext) -> Decision:
        limits = self.limits
        if context.point is Point.ROUND_EVALUATED:
            measured = {metric for audit in context.audits.values() for metric in audit.gaps}
            limits = tuple(limit for limit in limits if not measured or limit.metric in measured)
        findings = judge_all(limits, context.audits)
        words = tuple(finding.reason for finding in findings) or (
            "limits are judged before release" if self.limits else "no limits declared",
        )
        return Decision(verdict=overall(finding.verdict for finding in findings), findings=words, hook=self.name)
