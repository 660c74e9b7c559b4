"""Finished runs, made up."""

from __future__ import annotations

from typing import Any

from fedcore.plan import RunPlan, merge
from fedcore.report.comparison.figures import ComparedRun
from fedcore.report.page.run_record import Round, RunRecord


def run(
    accuracy: float, *, seed: int = 0, rounds: int = 2, name: str = "run", summary: dict[str, Any] | None = None,
    evaluation: dict[str, float] | None = None, **sections: dict[str, Any],
) -> ComparedRun:  # fmt: skip
    """A run whose accuracy grows evenly to `accuracy`."""
    plan = RunPlan.from_mapping(merge({"federation": {"seed": seed, "rounds": rounds}}, sections))
    lines = [
        {
            "round": k,
            "evaluation": evaluation or {"loss": 1.0, "accuracy": accuracy * k / rounds},
            "groups": {"sex": {"f": {"value": accuracy - 0.1, "n": 50}, "m": {"value": accuracy, "n": 50}}},
            "group_metric": "accuracy",
            "epsilon": (summary or {}).get("epsilon") and summary["epsilon"] * k / rounds,  # type: ignore[index]
            "bytes_sent": 2000, "bytes_received": 1000, "wall_seconds": 0.5,
        }
        for k in range(1, rounds + 1)
    ]  # fmt: skip
    content = {
        "task": "digits",
        "examples": 100,
        "clients": 10,
        "rounds": rounds,
        "metrics": evaluation or {"loss": 1.0, "accuracy": accuracy},
        "wall_seconds": 1.5,
        "bytes_sent": 2000 * rounds,
        "bytes_received": 1000 * rounds,
        "epsilon": None,
        "audit_verdict": None,
    }
    record = RunRecord(summary=content | (summary or {}), plan=plan.to_toml(), rounds=tuple(map(Round.of, lines)))
    return ComparedRun.of(name, record)
