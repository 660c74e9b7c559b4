"""The tests that every listener, and so every tracker, must pass; subclass `ListenerContract` in a test of your own.

::

    from fedcore.testing.listener import ListenerContract

    class TestMyTracker(ListenerContract):
        def make_listener(self):
            return MyTracker()
"""

from __future__ import annotations

import copy
from typing import Any

from fedcore.listeners import Beginning, Ending, RunListener
from fedcore.plan import RunPlan


def example_line(number: int = 1, *, committed: bool = True) -> dict[str, Any]:
    """Return a line of ``rounds.jsonl``; one that is not committed was neither counted nor evaluated."""
    rate = {"value": 0.8, "low": 0.7, "high": 0.9, "n": 50}
    hidden = {"value": None, "low": None, "high": None, "n": None, "suppressed": True}
    return {
        "round": number,
        "attempt": 0,
        "committed": committed,
        "asked": ["a", "b"],
        "counted": ["a", "b"] if committed else [],
        "examples": {"a": 40, "b": 60} if committed else {},
        "receipts": {},
        "rejected": [] if committed else [{"client": "b", "code": "NONFINITE", "reason": "it is not finite"}],
        "evaluation_rejected": [],
        "training": {"loss": 0.7} if committed else {},
        "learning_rate": 0.1,
        "update_norm": 0.5 if committed else None,
        "clip_norm": None,
        "evaluation": {"loss": 0.6, "accuracy": 0.8} if committed else None,
        "evaluated_on": None,
        "groups": {"sex": {"female": rate, "male": hidden}} if committed else {},
        "group_metric": "accuracy" if committed else None,
        "clients": {"a": {"n": 10}} if committed else {},
        "decisions": [],
        "epsilon": 1.5 if committed else None,
        "algorithm": None,
        "chosen_round": None,
        "stop": None,
        "bytes_sent": 4000,
        "bytes_received": 2000,
        "wall_seconds": 0.25,
    }


def example_summary() -> dict[str, Any]:
    """Return what listeners may rely on in the summary of a finished run."""
    return {
        "task": "example",
        "rounds": 2,
        "metrics": {"loss": 0.6, "accuracy": 0.8},
        "epsilon": None,
        "audit_verdict": "PASS",
        "withheld": False,
        "model_sha256": "0" * 64,
    }


class ListenerContract:
    """Set `make_listener`."""

    def make_listener(self) -> RunListener:
        """A new listener."""
        raise NotImplementedError

    def test_it_has_a_name(self) -> None:
        assert self.make_listener().name

    def test_it_follows_a_run_to_its_end(self) -> None:
        listener = self._begun()
        for line in (example_line(1), example_line(2, committed=False), example_line(2)):
            listener.round_closed(line)
        listener.run_ends(Ending(summary=example_summary()))

    def test_it_accepts_a_run_that_fails_before_its_first_round(self) -> None:
        self._begun().run_ends(Ending(failure="paused: no client is connected"))

    def test_it_accepts_a_run_that_is_resumed(self) -> None:
        listener = self._begun(example_line(1), example_line(2, committed=False))
        listener.round_closed(example_line(2))
        listener.run_ends(Ending(summary=example_summary()))

    def test_it_accepts_a_beginning_that_failed(self) -> None:
        listener = self.make_listener()
        listener.round_closed(example_line())
        listener.run_ends(Ending(summary=example_summary()))

    def test_it_changes_nothing_that_it_is_shown(self) -> None:
        listener, line, summary = self._begun(), example_line(), example_summary()
        shown = copy.deepcopy((line, summary))
        listener.round_closed(line)
        listener.run_ends(Ending(summary=summary))
        assert (line, summary) == shown

    def _begun(self, *lines: dict[str, Any]) -> RunListener:
        listener = self.make_listener()
        listener.run_begins(RunPlan(), Beginning(run="run-0001", task="example", clients=("a", "b"), lines=lines))
        return listener
