"""Many clients on one machine."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fedcore_simulations.runner import SimulationResult, simulate
    from fedcore_simulations.study.compare import Comparison, compare

_MODULES = {
    "SimulationResult": "fedcore_simulations.runner",
    "simulate": "fedcore_simulations.runner",
    "Comparison": "fedcore_simulations.study.compare",
    "compare": "fedcore_simulations.study.compare",
}
__all__ = ["Comparison", "SimulationResult", "compare", "simulate"]


def __getattr__(name: str) -> Any:
    """Import on first use: the command line must not wait for torch."""
    if name in _MODULES:
        return getattr(importlib.import_module(_MODULES[name]), name)
    raise AttributeError(f"module 'fedcore_simulations' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
