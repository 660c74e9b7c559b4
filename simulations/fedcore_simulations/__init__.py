"""Many clients on one machine."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fedcore_simulations.runner import SimulationResult, simulate

__all__ = ["SimulationResult", "simulate"]


def __getattr__(name: str) -> Any:
    """Import the runner on first use: the command line must not wait for torch."""
    if name in __all__:
        from fedcore_simulations import runner

        return getattr(runner, name)
    raise AttributeError(f"module 'fedcore_simulations' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
