"""How many requests were accepted today."""

from __future__ import annotations

import json
from datetime import UTC
from pathlib import Path

from fedcore.errors import StorageError
from fedcore.storage.files import write_whole
from fedcore_clients.policy.approvals import Clock


class DailyRequests:
    """A count on disk that starts anew with each day of UTC, and survives a restart.

    Args:
        path: In the client's home; may be absent.
        clock: The present, with its time zone.
    """

    def __init__(self, path: Path, clock: Clock) -> None:
        self._path = path
        self._clock = clock

    @property
    def today(self) -> int:
        """Raises StorageError: The file is damaged."""
        try:
            content = json.loads(self._path.read_text(encoding="utf-8"))
            return int(content["requests"]) if content["day"] == self._day() else 0
        except FileNotFoundError:
            return 0
        except (OSError, UnicodeDecodeError, ValueError, KeyError, TypeError) as error:
            raise StorageError(f"{self._path} cannot be read; remove it, and today's requests count anew") from error

    def note(self) -> None:
        write_whole(self._path, json.dumps({"day": self._day(), "requests": self.today + 1}) + "\n")

    def _day(self) -> str:
        return self._clock().astimezone(UTC).date().isoformat()
