"""What happens in a run before its first round is closed, in words: this may take minutes."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from fedcore.text.wording import counted, named


class Beginning:
    """Follows the event log of a run.

    Args:
        events: The log; may be absent yet.
        plan: Sections of the run's plan.
        incarnation: The newest finished one, whose events are left out.
    """

    def __init__(self, events: Path, plan: Mapping[str, Any], *, incarnation: int) -> None:
        self._events, self._federation, self._before = events, plan["federation"], incarnation
        self._offset = 0
        self._begun = self._asked = False
        self._here: set[str] = set()

    def news(self) -> Iterator[str]:
        """A line for each event since the last call; none once clients were asked."""
        if self._asked:
            return
        connected: list[str] = []
        for event in self._new_events():
            match event["event"]:
                case "driver-started" if event["incarnation"] > self._before:
                    self._begun = True
                    yield self._waiting()
                case "clients-connected" if self._begun:
                    connected += [name for name in event["clients"] if name not in self._here]
                    self._here.update(event["clients"])
                case "round-asked" if self._begun:
                    yield from self._connected(connected)
                    self._asked = True
                    yield self._working(event)
                    return
        yield from self._connected(connected)

    def _waiting(self) -> str:
        clients = counted(self._federation["clients"], "client")
        return f"the run has started; it waits for {clients}, at most {self._federation['patience-seconds']:g} s"

    def _connected(self, names: list[str]) -> Iterator[str]:
        if names:
            yield f"{named(names)} connected, {len(self._here)} of {self._federation['clients']}"

    def _working(self, event: Mapping[str, Any]) -> str:
        return (
            f"round {event['round']}/{self._federation['rounds']} is with {counted(len(event['asked']), 'client')}; "
            "it takes longer than the next ones: each client loads PyTorch and tries the model"
        )

    def _new_events(self) -> Iterator[Mapping[str, Any]]:
        with suppress(FileNotFoundError), self._events.open("rb") as file:
            file.seek(self._offset)
            for line in file:
                if not line.endswith(b"\n"):  # it is being written
                    return
                self._offset += len(line)
                yield json.loads(line)
