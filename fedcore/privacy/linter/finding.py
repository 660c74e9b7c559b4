"""A rule, its input, and its findings."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

from fedcore.plan import RunPlan
from fedcore.privacy.promise import Promise, promise_of
from fedcore.privacy.resolution import resolve_privacy

if TYPE_CHECKING:
    from torch import nn

    from fedcore.data.examples import Examples
    from fedcore.method.exchange import Exchange
    from fedcore.privacy.isolation import Isolation
    from fedcore.task import Task


@dataclass(frozen=True, kw_only=True)
class Subject:
    """The input of the linter; absent parts are not checked.

    Attributes:
        largest_client: Public number of training records of the largest client.
        training: Rows to learn from, for rules that measure; only where they may be seen.
        held_out: Rows to evaluate on.
        probe: Measures on model and rows that records are isolated; raises PrivacyError.
    """

    plan: RunPlan
    task: Task | None = None
    model: nn.Module | None = None
    exchange: Exchange | None = None
    largest_client: int | None = None
    training: Examples | None = None
    held_out: Examples | None = None
    probe: Callable[[], object] | None = None
    isolation: Isolation | None = None

    @cached_property
    def privacy(self) -> Promise | None:
        """The promise, its target ε turned into noise; ``None`` without one."""
        section = self.plan.privacy
        if section.unit == "none":
            return None
        if section.epsilon is None and section.nominal_batch is not None:
            return promise_of(self.plan)
        resolved = self.plan.updated(privacy=resolve_privacy(self.plan, nominal_batch=1.0))
        return promise_of(resolved)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One mistake that voids or weakens a guarantee.

    Attributes:
        severity: ``refuse`` if the claim would be false, ``warn`` if it is weaker than it seems.
        find: Yields one text for each place at fault.
        of_rows: Whether findings depend on rows: they are then shown where the rows are, not in the statement.
    """

    id: str
    severity: Literal["refuse", "warn"]
    why: str
    fix: str
    find: Callable[[Subject], Iterable[str]]
    of_rows: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A rule that is broken somewhere."""

    rule: Rule
    where: str

    @property
    def text(self) -> str:
        """Where, why, and what to do, in one line."""
        return f"{self.where}: {self.rule.why}; {self.rule.fix}"

    def to_json(self) -> dict[str, Any]:
        rule = self.rule
        return {"rule": rule.id, "severity": rule.severity, "where": self.where, "why": rule.why, "fix": rule.fix}
