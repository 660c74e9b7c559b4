"""The tests that every audit hook must pass; subclass them in your own, and build the hook in ``make_hook``.

::

    from fedcore.testing.audit_hook import HookContract

    class TestMyHook(HookContract):
        def make_hook(self):
            return MyHook()
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from fedcore.audit.tables.groups import UNKNOWN, GroupTable
from fedcore.audit.verdict.fairness import audit_tables
from fedcore.audit.verdict.gate import Verdict
from fedcore.audit.verdict.hooks import AuditContext, AuditHook, Decision, Point, run_hooks
from fedcore.audit.verdict.settings import AuditSettings

_MADE = {"female": (55, 15, 10, 20), "male": (40, 20, 10, 30)}


def example_context(
    point: Point = Point.BEFORE_RELEASE, groups: Mapping[str, tuple[int, int, int, int]] | None = None, **parts: Any
) -> AuditContext:
    """Return what a hook could be handed at a point: counts of one attribute, ``sex``, and their audit.

    Args:
        point: Where in a run; at ``plan`` nothing is counted yet.
        groups: Rows of each group that are true negative, false positive, false negative and true positive.
        **parts: Fields of ``AuditContext`` that are to be others.
    """
    cells = {**(_MADE if groups is None else groups), UNKNOWN: (0, 0, 0, 0)}
    table = GroupTable(
        attribute="sex",
        groups=tuple(cells),
        labels=("no", "yes"),
        num_bins=2,
        scored=False,
        counts=np.array([np.reshape(cell, (2, 2)) for cell in cells.values()], dtype=np.int64),
    )
    begun = point is not Point.PLAN
    empty = GroupTable.zeros(attribute="sex", groups=table.groups, labels=table.labels, num_bins=2, scored=False)
    fields: dict[str, Any] = {
        "point": point,
        "round": 3 if begun else 0,
        "tables": {"sex": table if begun else empty},
        "audits": audit_tables([table], AuditSettings()) if begun else {},
        "metrics": {"loss": 0.5, "accuracy": 0.725} if begun else {},
        "plan_sha256": "0" * 64,
        "epsilon": None,
        "plan": {"audit": {"sensitive": ["sex"]}},
    }
    return AuditContext(**{**fields, **parts})


class HookContract:
    """What a run relies on, at every point that the hook waits for."""

    def make_hook(self) -> AuditHook:
        """Return a new hook."""
        raise NotImplementedError

    def test_it_has_a_name_and_points(self) -> None:
        """Without them no run can call it."""
        hook = self.make_hook()
        assert isinstance(hook, AuditHook), "a hook has name, points and check"
        assert isinstance(hook.name, str), "its name is text"
        assert hook.name, "its name is not empty"
        assert isinstance(hook.points, frozenset), "its points are a frozenset"
        assert hook.points, "it waits for a point"
        assert hook.points <= frozenset(Point), "its points are of fedcore.audit.verdict.hooks.Point"

    def test_it_is_called_at_its_points_only(self) -> None:
        """Its points do not change while it is asked."""
        hook = self.make_hook()
        for point in Point:
            assert bool(run_hooks([hook], example_context(point))) == (point in hook.points), point

    def test_it_returns_a_decision_in_its_own_name(self) -> None:
        """A run prints the findings, and the verdict decides."""
        for point in self.make_hook().points:
            self._check(example_context(point))

    def test_it_accepts_groups_without_rows(self) -> None:
        """The rate of a group without rows is None."""
        for groups in ({"female": (0, 0, 0, 0), "male": (40, 20, 10, 30)}, dict.fromkeys(_MADE, (0, 0, 0, 0))):
            for point in self.make_hook().points:
                self._check(example_context(point, groups))

    def test_it_accepts_a_run_that_audits_nothing(self) -> None:
        """A plan may name the hook and no attribute."""
        for point in self.make_hook().points:
            self._check(example_context(point, tables={}, audits={}, plan={}))

    def test_equal_contexts_give_equal_decisions(self) -> None:
        """A resumed run asks again, and others may check the decision."""
        for point in self.make_hook().points:
            first, second = self.make_hook(), self.make_hook()
            said = first.check(example_context(point))
            assert first.check(example_context(point)) == said, "asked again, it decided otherwise"
            assert second.check(example_context(point)) == said, "a new hook decided otherwise"

    def test_it_changes_nothing_that_it_is_handed(self) -> None:
        """The hooks after it are handed the same."""
        for point in self.make_hook().points:
            context, untouched = example_context(point), example_context(point)
            self.make_hook().check(context)
            assert dict(context.tables) == dict(untouched.tables), "it changed a table"
            assert dict(context.audits) == dict(untouched.audits), "it changed an audit"
            assert dict(context.metrics) == dict(untouched.metrics), "it changed a metric"

    def _check(self, context: AuditContext) -> None:
        hook = self.make_hook()
        decision = hook.check(context)
        assert isinstance(decision, Decision), f"at {context.point} it returned no Decision"
        assert decision.verdict is None or isinstance(decision.verdict, Verdict), "its verdict is a Verdict or None"
        assert decision.hook == hook.name, "its decision has another hook's name"
        assert isinstance(decision.findings, tuple), "its findings are a tuple"
        assert all(isinstance(finding, str) for finding in decision.findings), "its findings are sentences"
