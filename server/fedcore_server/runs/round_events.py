"""A run's rounds and its end, in its hash-chained event log."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fedcore.listeners import Beginning, Ending
from fedcore.plan import RunPlan
from fedcore.storage.events import EventLog


class RoundEvents:
    """A listener that appends an event for each round, and one for the model."""

    name = "events"

    def __init__(self, events: EventLog) -> None:
        self._events = events

    def run_begins(self, plan: RunPlan, beginning: Beginning) -> None:
        """The driver notes its start itself, before it opens anything."""

    def round_closed(self, line: Mapping[str, Any]) -> None:
        self._events.append(
            "round-committed" if line["committed"] else "round-failed",
            round=line["round"],
            attempt=line["attempt"],
            counted=line["counted"],
            rejected={each["client"]: each["code"] for each in line["rejected"]},
        )

    def run_ends(self, ending: Ending) -> None:
        if ending.summary is not None:
            ended = "withheld" if ending.summary["withheld"] else "released"
            self._events.append(ended, model_sha256=ending.summary["model_sha256"])
