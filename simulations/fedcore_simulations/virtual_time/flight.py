"""The clients that train while the server steps, and the models that they have received."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from torch import Tensor

from fedcore_simulations.virtual_time.devices import Answer

_MODEL = "model."


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A client that was asked, and has not been dealt with.

    Attributes:
        version: Steps of the server before the model that it received.
        attempt: Failed attempts at the next step when it was asked.
    """

    answer: Answer
    version: int
    attempt: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Flight:
    """What a server knows of its clients between two steps.

    Attributes:
        models: The model of each version that a job has, by version.
    """

    jobs: Sequence[Job] = ()
    models: Mapping[int, Tensor] = field(default_factory=dict)

    @classmethod
    def of(cls, part: Mapping[str, Any]) -> Flight:
        """Read a part of the server's state; empty at first."""
        models = {int(name.removeprefix(_MODEL)): part[name] for name in part if name.startswith(_MODEL)}
        jobs = [
            Job(answer=Answer(**job["answer"]), version=job["version"], attempt=job["attempt"])
            for job in part.get("jobs", ())
        ]
        return cls(jobs=jobs, models=models)

    def part(self) -> dict[str, Any]:
        """As a part of the server's state, with the models that are still in use."""
        used = {job.version for job in self.jobs}
        models = {f"{_MODEL}{version}": model for version, model in self.models.items() if version in used}
        return {"jobs": [asdict(job) for job in self.jobs], **models} if self.jobs else {}
