"""The sections of a plan that are a host's own affair: no part of its hash, and not sent."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from fedcore.plan.section import PluginReference, Section
from fedcore.tracking.registry import TRACKERS


class EngineSection(Section):
    """How a simulation runs its clients; a deployment has none."""

    name: PluginReference = Field(
        "auto",
        description="`auto` takes the fastest engine that can run the plan; or an engine's name, of which the help of "
        "`fedcore simulate` lists all, or `module:object`; with options as a table, such as "
        '`{ name = "ray", address = "10.0.0.1:6379" }`',
    )
    workers: Annotated[int, Field(ge=0)] = Field(0, description="worker processes; 0 is one for each core")


class RunSection(Section):
    """What follows a run; like the engine, it is no part of the plan's hash, and clients never see it."""

    track: tuple[PluginReference, ...] = Field(
        (),
        description=f"trackers that a simulation, or the server, copies the run to: {TRACKERS.choices('`')}; with "
        'options as a table, such as `{ name = "mlflow", experiment = "wards" }`',
    )
