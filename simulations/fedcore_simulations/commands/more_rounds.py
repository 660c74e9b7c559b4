"""What may be given with ``--resume``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fedcore.errors import PlanError
from fedcore_simulations.commands.options import read_setting

_ALLOWED = ("engine.name", "engine.workers", "federation.rounds", "privacy.epsilon")


@dataclass(frozen=True, slots=True, kw_only=True)
class More:
    """How many rounds a resumed run shall have, and the ε that it may have; as planned when ``None``."""

    rounds: int | None = None
    budget: float | None = None

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
                "--json may be added, and --rounds for more rounds than it had (under privacy with --epsilon, the most "
                "that the whole run may have)"
            )
        rounds, budget = given.get("federation.rounds"), given.get("privacy.epsilon")
        if rounds is not None and not isinstance(rounds, int):
            raise PlanError(f"federation.rounds: expected a whole number, found {rounds!r}")
        if rounds is None and budget is not None:
            raise PlanError("--epsilon: with --resume it bounds a run with more --rounds; none are given")
        return cls(rounds=rounds, budget=budget)
