"""TensorBoard: a curve for each number, and plan, model card and summary as text."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fedcore.listeners import Beginning, Ending
from fedcore.round_line import figures_of, worst_group
from fedcore.tracking.plan_values import plan_values

if TYPE_CHECKING:
    from tensorboardX import SummaryWriter

    from fedcore.plan import RunPlan


class TensorboardTracker:
    """A new folder each time that a run begins or is resumed, with all rounds so far.

    Args:
        directory: Parent of the folders; ``tensorboard`` in the working directory by default.
    """

    name, package = "tensorboard", "tensorboardX"

    def __init__(self, directory: str = "tensorboard") -> None:
        self._directory = Path(directory)
        self._writer: SummaryWriter | None = None

    def run_begins(self, plan: RunPlan, beginning: Beginning) -> None:
        from tensorboardX import SummaryWriter

        self._writer = SummaryWriter(str(_free(self._directory, beginning.run)))
        rows = "".join(f"| {name} | {value.replace('|', ' ')} |\n" for name, value in plan_values(plan).items())
        self._writer.add_text("plan", f"| key | value |\n|---|---|\n{rows}")
        for line in beginning.lines:
            self.round_closed(line)

    def round_closed(self, line: Mapping[str, Any]) -> None:
        if self._writer is None or not line["committed"]:
            return
        for name, value in figures_of(line).items():
            self._writer.add_scalar(name, value, line["round"])
        if worst := worst_group(line):
            self._writer.add_text("worst_group", worst.name, line["round"])
        self._writer.flush()

    def run_ends(self, ending: Ending) -> None:
        if self._writer is None:
            return
        if ending.failure:
            self._writer.add_text("failure", ending.failure)
        if ending.summary is not None:
            for name, value in ending.summary["metrics"].items():
                self._writer.add_scalar(f"released/{name}", value, ending.summary["rounds"])
            content = json.dumps(ending.summary, indent=2, ensure_ascii=False)
            self._writer.add_text("summary", f"```json\n{content}\n```")
        card = ending.directory / "bias.md" if ending.directory else None
        if card is not None and card.is_file():
            self._writer.add_text("report", card.read_text(encoding="utf-8"))
        self._writer.close()
        self._writer = None


def _free(parent: Path, name: str) -> Path:
    """A folder that is not there yet, so that curves of two runs never mix."""
    number, found = 1, parent / name
    while found.exists():
        number += 1
        found = parent / f"{name}-{number}"
    return found
