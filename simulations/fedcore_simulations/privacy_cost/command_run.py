"""``fedcore audit privacy-cost``, from options to exit code."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from typing import Any

from rich.console import Console
from rich.progress import Progress

from fedcore.audit.metrics.estimates import Measure
from fedcore.audit.table.text.columns import aligned
from fedcore.plan import RunPlan
from fedcore_simulations.privacy_cost.arms import Arm, Outcomes, train_arms
from fedcore_simulations.privacy_cost.costs import PARTS, MetricCost, costs

_NOT_PRIVATE = "two of the three arms are not private: keep these figures where the data are"


def cost_command(plan: RunPlan, *, runs: int, as_json: bool) -> int:
    console = Console(stderr=True, highlight=False)
    with Progress(console=console, transient=True) as progress:
        bar = progress.add_task("training three arms", total=len(Arm) * runs)
        outcomes = train_arms(plan, runs=runs, progress=lambda: progress.update(bar, advance=1))
    audit = plan.audit
    found = {
        attribute: costs(outcomes, attribute, confidence=audit.confidence, min_cell=audit.min_cell)
        for attribute in audit.sensitive
    }
    if as_json:
        print(json.dumps(_plain(found, outcomes, runs), indent=2, ensure_ascii=False))
        return 0
    for line in _text(found, outcomes, runs, confidence=audit.confidence):
        print(line)
    return 0


def _plain(found: Mapping[str, Mapping[str, MetricCost]], outcomes: Outcomes, runs: int) -> dict[str, Any]:
    return {
        "runs": runs,
        "note": _NOT_PRIVATE,
        "clipped_share": outcomes.clipped,
        "attributes": {
            attribute: {metric: _plain_metric(each) for metric, each in by_metric.items()}
            for attribute, by_metric in found.items()
        },
    }


def _plain_metric(cost: MetricCost) -> dict[str, Any]:
    excess = cost.excess
    return {
        "groups": {
            group: {
                "rates": {str(arm): value for arm, value in each.rates.items()},
                **{part: _plain_measure(measure) for part, measure in each.parts.items()},
            }
            for group, each in cost.groups.items()
        },
        "excess": {
            "difference": excess.difference,
            "low": excess.difference_low,
            "high": excess.difference_high,
            "highest": excess.highest,
            "lowest": excess.lowest,
        },
        "gaps": {str(arm): value for arm, value in cost.gaps.items()},
        "amplification": cost.amplification,
    }


def _plain_measure(measure: Measure) -> dict[str, Any]:
    return {"value": measure.value, "low": measure.low, "high": measure.high, "n": measure.n}


def _text(
    found: Mapping[str, Mapping[str, MetricCost]], outcomes: Outcomes, runs: int, *, confidence: float
) -> Iterator[str]:
    yield f"{runs} runs of each arm; points lost, with intervals of {100 * confidence:g} % confidence in brackets"
    for attribute, by_metric in found.items():
        for metric, cost in by_metric.items():
            yield ""
            yield from _table(attribute, metric, cost, outcomes.clipped[attribute])
    yield ""
    yield f"note: {_NOT_PRIVATE}"


def _table(attribute: str, metric: str, cost: MetricCost, clipped: Mapping[str, float | None]) -> Iterator[str]:
    heading = [f"{metric.replace('_', ' ')} by {attribute}", *(str(arm) for arm in Arm), *PARTS, "clipped"]
    rows = [
        [
            group,
            *(_percent(each.rates[arm]) for arm in Arm),
            *(_points(each.parts[part]) for part in PARTS),
            _percent(clipped.get(group)),
        ]
        for group, each in cost.groups.items()
    ]
    yield from aligned([heading, *rows])
    excess = cost.excess
    if excess.difference is not None:
        low, high = excess.difference_low or 0.0, excess.difference_high or math.nan
        yield (
            f"  privacy costs {excess.highest} {100 * excess.difference:.1f} points more than {excess.lowest} "
            f"({100 * low:.1f} to {100 * high:.1f})"
        )
    if cost.amplification is not None:
        wide, narrow = cost.gaps[Arm.PRIVATE] or 0.0, cost.gaps[Arm.OPEN] or 0.0
        yield f"  the gap is {100 * wide:.1f} points with privacy, and {100 * narrow:.1f} without clipping and noise"


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f}"


def _points(measure: Measure) -> str:
    if measure.value is None or measure.low is None or measure.high is None:
        return "-"
    return f"{100 * measure.value:+.1f} ({100 * measure.low:+.1f} to {100 * measure.high:+.1f})"
