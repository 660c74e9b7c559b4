"""The energy of a simulation: measured by codecarbon where it is installed, else estimated from processor time."""

from __future__ import annotations

import importlib.util
import resource
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import torch

WATTS_PER_CORE = 12.0
"""Of a busy core of unknown kind: Lannelongue, Grealey and Inouye 2021 (doi:10.1002/advs.202100707)."""

KG_PER_KWH = 0.475
"""CO₂ equivalents of electricity, average of the world: IEA 2019, as in the same paper."""

_JOULES_PER_KWH = 3.6e6


@dataclass(frozen=True, slots=True, kw_only=True)
class Energy:
    """What a run used.

    Attributes:
        source: How it is known, in words.
    """

    kwh: float
    source: str

    def to_json(self) -> dict[str, Any]:
        """Keys of ``summary.json``; CO₂ for the world's average electricity."""
        return {"energy_kwh": self.kwh, "co2_kg": self.kwh * KG_PER_KWH, "energy_source": self.source}


class EnergyMeter:
    """Measures what happens in its ``with`` statement, child processes that end there included.

    Args:
        device: Where models are trained. The estimate knows processors only.

    Attributes:
        energy: At the end; ``None`` where it is not known.
    """

    def __init__(self, device: torch.device) -> None:
        self.energy: Energy | None = None
        self._device, self._tracker, self._seconds = device, _tracker(), 0.0

    def __enter__(self) -> Self:
        """Begin to measure."""
        self._seconds = _processor_seconds()
        if self._tracker is not None:
            self._tracker.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End, and leave the result in `energy`."""
        self.energy = self._measured() if self._tracker is not None else self._estimated()

    def _measured(self) -> Energy | None:
        self._tracker.stop()
        found = self._tracker.final_emissions_data
        return None if found is None else Energy(kwh=float(found.energy_consumed), source="codecarbon")

    def _estimated(self) -> Energy | None:
        if self._device.type != "cpu":
            return None
        joules = WATTS_PER_CORE * (_processor_seconds() - self._seconds)
        source = f"estimated: processor time at {WATTS_PER_CORE:g} W for each busy core"
        return Energy(kwh=joules / _JOULES_PER_KWH, source=source)


def _tracker() -> Any:
    """None without codecarbon."""
    if importlib.util.find_spec("codecarbon") is None:
        return None
    from codecarbon import OfflineEmissionsTracker

    # The country decides its own figure of CO₂ only, which is not used.
    return OfflineEmissionsTracker(
        country_iso_code="USA",
        output_methods=[],
        log_level="error",
        tracking_mode="process",
    )


def _processor_seconds() -> float:
    """Of this process and its ended children."""
    used = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(each.ru_utime + each.ru_stime for each in used)
