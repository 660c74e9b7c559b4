"""The peer's side: reads the work from files, and trains a round whenever it is asked.

Runs in the peer's own environment, which has torch and numpy and not fedcore.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

READY, DONE, SAVED = "@ready", "@done", "@saved"


@dataclass(frozen=True)
class Assignment:
    """A work as it was written for the peer.

    Attributes:
        facts: Model, batch, epochs, learning rate, cohort, clients and rounds.
    """

    directory: Path

    @cached_property
    def facts(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.directory / "work.json").read_text(encoding="utf-8"))
        return found

    @cached_property
    def arrays(self) -> Mapping[str, Any]:
        with np.load(self.directory / "work.npz") as found:
            return dict(found)

    @cached_property
    def weights(self) -> dict[str, Tensor]:
        with np.load(self.directory / "start.npz") as found:
            return {name: torch.from_numpy(found[name]) for name in found.files}

    def cohort(self, round: int) -> list[int]:
        found: list[int] = self.arrays[f"cohort {round}"].tolist()
        return found

    def rows(self, round: int, place: int) -> tuple[Tensor, Tensor]:
        """Inputs and targets of a member of a round's cohort, in the order in which they are trained."""
        edges = self.arrays[f"edges {round}"]
        order = self.arrays[f"order {round}"][edges[place] : edges[place + 1]]
        return torch.from_numpy(self.arrays["inputs"][order]), torch.from_numpy(self.arrays["targets"][order])


def asked() -> Assignment:
    """The work that the command line names; the peer computes with one thread."""
    torch.set_num_threads(1)
    return Assignment(Path(sys.argv[1]))


def wait() -> bool:
    """Wait until the next round is asked for; false at the end."""
    return bool(sys.stdin.readline())


def say(word: str) -> None:
    print(word, flush=True)


def save_arrays(path: Path, arrays: dict[str, Any]) -> None:
    np.savez(path, **arrays)


def save(assignment: Assignment, weights: Mapping[str, Tensor]) -> None:
    """Write the final model, so that it can be compared."""
    save_arrays(assignment.directory / "final.npz", {name: value.detach().numpy() for name, value in weights.items()})
    say(SAVED)


def serve(train: Callable[[int], None]) -> None:
    """Train rounds 1, 2, … as they are asked for."""
    say(READY)
    round = 1
    while wait():
        train(round)
        say(DONE)
        round += 1
