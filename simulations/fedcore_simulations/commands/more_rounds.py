"""What may be given with ``--resume``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fedcore.errors import PlanError
from fedcore_simulations.commands.options import read_setting

_ALLOWED = ("engine.name", "engine.workers", "federation.rounds")


@dataclass(frozen=True, slots=True, kw_only=True)
class More:
    """How many rounds a resumed run shall have; as planned when ``None``."""

    rounds: int | None = None

    @classmethod
    def of(cls, subject: str | None, options: Mapping[str, Any], settings: Sequence[str], out: Path | None) -> More:
        """Raises PlanError: Something else of the plan would be changed."""
        given = {path: value for path, value in options.items() if value is not None}
        rest = []
        for setting in settings:
            values = read_setting(setting).get("federation", {})
            if set(values) != {"rounds"}:
                rest.append(setting)
            given |= {"federation.rounds": values.get("rounds")}
        if subject or out or rest or not set(given) <= set(_ALLOWED):
            raise PlanError(
                "--resume continues the plan of the run as it is; only --engine, --ray-address, --workers and "
                "--json may be added, and --rounds for more rounds than it had"
            )
        rounds = given.get("federation.rounds")
        if rounds is not None and not isinstance(rounds, int):
            raise PlanError(f"federation.rounds: expected a whole number, found {rounds!r}")
        return cls(rounds=rounds)
