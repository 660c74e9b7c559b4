"""What ``fedcore privacy plan`` shows: a table of choices, noise against ε, and a picture."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from fedcore.errors import PlanError, PrivacyError
from fedcore.files import write_whole
from fedcore.privacy.planning import Prospect, alternatives

_EPSILONS = (0.5, 1.0, 2.0, 4.0, 8.0)
_BAR = 30


def described(prospect: Prospect) -> dict[str, Any]:
    """Everything about a plan and its alternatives, as plain values."""
    return {
        "plan": _line("this plan", prospect),
        "verdict": prospect.verdict,
        "why": prospect.why,
        "alternatives": [_line(name, each) for name, each in alternatives(prospect)],
        "noise_against_epsilon": [
            {"epsilon": epsilon, "noise_over_the_run": noise}
            for epsilon, noise in _curve(prospect)
            if noise is not None
        ],
        "upper_bound": True,
    }


def show(found: Mapping[str, Any]) -> None:
    """Print the table, the chart and the verdict on standard output."""
    console = Console(highlight=False, soft_wrap=True)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("choice", "noise multiplier", "noise on the mean, in a step", "over the run", "verdict"):
        table.add_column(title, justify="left" if title in {"choice", "verdict"} else "right")
    for line in (found["plan"], *found["alternatives"]):
        noise = [f"{line[key]:.4g}" for key in ("noise_multiplier", "noise_in_a_step", "noise_over_the_run")]
        table.add_row(line["choice"], *noise, line["verdict"])
    console.print(table)
    console.print("\nnoise over the run against ε (in clip norms)")
    points = found["noise_against_epsilon"]
    largest = max((point["noise_over_the_run"] for point in points), default=1.0)
    for point in points:
        bar = "█" * max(1, round(_BAR * point["noise_over_the_run"] / largest))
        console.print(f"  ε = {point['epsilon']:<4g} {bar} {point['noise_over_the_run']:.3g}")
    console.print(f"\n{found['verdict']}: {found['why']}")


def draw(prospect: Prospect, path: Path) -> None:
    """Write the picture.

    Raises:
        PlanError: The name does not end in ``.svg``.
        StorageError: The file cannot be written.
    """
    from fedcore_server.report.noise_chart import noise_picture

    if path.suffix != ".svg":
        raise PlanError(f"--picture: expected a name that ends in .svg, found {path}")
    curves = {"this plan": _curve(prospect)}
    for name, each in alternatives(prospect):
        if each.epsilon == prospect.epsilon:
            curves[name.partition(" (")[0]] = _curve(each)
    write_whole(path, noise_picture(curves, useless_above=1.0))


def _line(name: str, prospect: Prospect) -> dict[str, Any]:
    return {
        "choice": name,
        "epsilon": prospect.epsilon,
        "noise_multiplier": prospect.noise_multiplier,
        "noise_in_a_step": prospect.noise_in_a_step,
        "noise_over_the_run": prospect.noise_over_the_run,
        "verdict": prospect.verdict,
    }


def _curve(prospect: Prospect) -> list[tuple[float, float | None]]:
    """Noise over the run at some ε, the plan's own among them; none where no noise reaches it."""
    return [(epsilon, _noise(replace(prospect, epsilon=epsilon))) for epsilon in sorted({*_EPSILONS, prospect.epsilon})]


def _noise(prospect: Prospect) -> float | None:
    try:
        return prospect.noise_over_the_run
    except PrivacyError:
        return None
