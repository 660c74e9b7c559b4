"""One charge against a data set's budget, as a line of ``spends.jsonl``."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from fedcore.privacy.plan import PrivacyEvent

_MECHANISM = "poisson-subsampled-gaussian"


@dataclass(frozen=True, slots=True, kw_only=True)
class Charge:
    """What one request to train may tell about a data set.

    Attributes:
        event: The mechanism that was run; ``None`` where nothing is promised, which is an infinite ε.
    """

    data_set: str
    run: str
    incarnation: int
    round: int
    attempt: int
    event: PrivacyEvent | None
    time: datetime

    def to_line(self) -> str:
        """One line of JSON."""
        content = {
            "time": self.time.isoformat(),
            "data_set": self.data_set,
            "run": self.run,
            "incarnation": self.incarnation,
            "round": self.round,
            "attempt": self.attempt,
            "event": None if self.event is None else _event_fields(self.event),
        }
        return json.dumps(content)

    @classmethod
    def from_line(cls, line: str | bytes) -> Charge:
        """Read what `to_line` wrote.

        Raises:
            ValueError: It is no charge, or one of a mechanism unknown here.
        """
        try:
            content = json.loads(line)
            return cls(
                data_set=str(content["data_set"]),
                run=str(content["run"]),
                incarnation=int(content["incarnation"]),
                round=int(content["round"]),
                attempt=int(content["attempt"]),
                event=None if content["event"] is None else _event(content["event"]),
                time=datetime.fromisoformat(content["time"]),
            )
        except (KeyError, TypeError) as error:
            raise ValueError("not a charge") from error


def _event_fields(event: PrivacyEvent) -> dict[str, Any]:
    return {
        "mechanism": _MECHANISM,
        "sampling_rate": event.sampling_rate,
        "noise_multiplier": event.noise_multiplier,
        "steps": event.steps,
    }


def _event(fields: Any) -> PrivacyEvent:
    if fields["mechanism"] != _MECHANISM:
        raise ValueError("a mechanism that is unknown here")
    return PrivacyEvent(
        sampling_rate=float(fields["sampling_rate"]),
        noise_multiplier=float(fields["noise_multiplier"]),
        steps=int(fields["steps"]),
    )
