"""Output of ``fedcore privacy plan``: a table of choices, noise by ε, and a picture."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from fedcore.errors import PlanError, PrivacyError
from fedcore.privacy.planning import Prospect, alternatives
from fedcore.storage.files import write_whole
from fedcore.text.wording import counted

_EPSILONS = (0.5, 1.0, 2.0, 4.0, 8.0)
_BAR = 30


def described(prospect: Prospect, progress: Callable[[], None] = lambda: None) -> dict[str, Any]:
    """A plan and its alternatives, as plain values.

    Args:
        progress: Called after each computed noise; `trials` gives their number.
    """
    lines = [_line(name, each, progress) for name, each in (("this plan", prospect), *alternatives(prospect))]
    return {
        "plan": lines[0],
        "parameters": prospect.parameters,
        "verdict": prospect.verdict,
        "why": prospect.why,
        "warning": prospect.publishing or None,
        "alternatives": lines[1:],
        "noise_against_epsilon": [
            {"epsilon": epsilon, "noise_over_the_run": noise}
            for epsilon, noise in _curve(prospect, progress)
            if noise is not None
        ],
        "upper_bound": True,
    }


def trials(prospect: Prospect, *, drawn: bool) -> int:
    """How many noises `described` computes, with `draw` if `drawn`."""
    curves = 1 + (1 + len(list(_other_curves(prospect))) if drawn else 0)
    return 1 + len(list(alternatives(prospect))) + curves * len(_epsilons(prospect))


def show(found: Mapping[str, Any]) -> None:
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
    if found["warning"]:
        console.print(f"warning: {found['warning']}")
    if found["parameters_assumed"]:
        assumed = counted(found["parameters"], "parameter")
        console.print(f"{assumed} assumed: noise falls on each, so give --parameters as your model has them")


def check_picture(path: Path) -> None:
    """Refuse a wrong file name before computing anything for it.

    Raises:
        PlanError: It does not end in ``.svg``, or its folder does not exist.
    """
    if path.suffix != ".svg":
        raise PlanError(f"--picture: expected a name that ends in .svg, found {path}")
    if not path.parent.is_dir() or path.is_dir():
        raise PlanError(f"--picture: {path.parent} is not a folder, or {path.name} is one; name a file in a folder")


def draw(prospect: Prospect, path: Path, progress: Callable[[], None] = lambda: None) -> None:
    from fedcore.report.pictures.noise_chart import noise_picture

    curves = {"this plan": _curve(prospect, progress)}
    curves |= {name.partition(" (")[0]: _curve(each, progress) for name, each in _other_curves(prospect)}
    write_whole(path, noise_picture(curves, useless_above=1.0))


def _line(name: str, prospect: Prospect, progress: Callable[[], None]) -> dict[str, Any]:
    line = {
        "choice": name,
        "epsilon": prospect.epsilon,
        "noise_multiplier": prospect.noise_multiplier,
        "noise_in_a_step": prospect.noise_in_a_step,
        "noise_over_the_run": prospect.noise_over_the_run,
        "verdict": prospect.verdict,
    }
    progress()
    return line


def _other_curves(prospect: Prospect) -> Iterator[tuple[str, Prospect]]:
    return ((name, each) for name, each in alternatives(prospect) if each.epsilon == prospect.epsilon)


def _epsilons(prospect: Prospect) -> list[float]:
    return sorted({*_EPSILONS, prospect.epsilon})


def _curve(prospect: Prospect, progress: Callable[[], None]) -> list[tuple[float, float | None]]:
    """Noise over the run at some ε, the plan's own among them; None if no noise reaches it."""
    points = []
    for epsilon in _epsilons(prospect):
        points.append((epsilon, _noise(replace(prospect, epsilon=epsilon))))
        progress()
    return points


def _noise(prospect: Prospect) -> float | None:
    try:
        return prospect.noise_over_the_run
    except PrivacyError:
        return None
