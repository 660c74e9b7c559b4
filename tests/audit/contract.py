"""The contract of ``AuditHook``: subclass it in the tests of a plug-in, and build the hook in ``make_hook``.

::

    class TestMyHook(AuditHookContract):
        def make_hook(self):
            return MyHook()
"""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest

from fedcore.audit.gate import Verdict
from fedcore.audit.hooks import AuditHook, Decision, Point, run_hooks
from tests.audit.builders import audit_of_selections, context_of


class AuditHookContract:
    def make_hook(self) -> AuditHook:
        raise NotImplementedError

    def test_it_has_a_name_and_points(self) -> None:
        hook = self.make_hook()

        assert isinstance(hook, AuditHook)
        assert isinstance(hook.name, str)
        assert hook.name
        assert isinstance(hook.points, frozenset)
        assert hook.points
        assert hook.points <= frozenset(Point)

    @pytest.mark.parametrize("point", list(Point))
    def test_it_returns_a_decision_in_its_own_name_at_each_of_its_points(self, point: Point) -> None:
        hook = self.make_hook()
        if point not in hook.points:
            assert run_hooks([hook], context_of(point=point)) == ()
            return

        decision = hook.check(context_of(point=point))

        assert isinstance(decision, Decision)
        assert decision.verdict is None or isinstance(decision.verdict, Verdict)
        assert decision.hook == hook.name
        assert all(isinstance(finding, str) for finding in decision.findings)

    def test_it_says_the_same_about_the_same_context(self) -> None:
        hook = self.make_hook()
        context = context_of(point=min(hook.points))

        assert hook.check(context) == hook.check(context)

    def test_it_changes_nothing_that_it_is_handed(self) -> None:
        hook = self.make_hook()
        context = context_of(point=min(hook.points))
        before = {name: copy.deepcopy(table.to_json()) for name, table in context.tables.items()}

        hook.check(context)

        assert {name: table.to_json() for name, table in context.tables.items()} == before

    def test_it_bears_a_group_without_rows(self) -> None:
        hook = self.make_hook()
        audits = {"sex": audit_of_selections({"female": (0, 0), "male": (40, 100)})}

        decision = hook.check(replace(context_of(audits), point=min(hook.points)))

        assert isinstance(decision, Decision)
