"""fedcore: federated learning that can show how private and how fair its result is."""

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from fedcore.data.examples import Attribute, Batch, Examples
    from fedcore.plan import RunPlan
    from fedcore.task import Task
    from fedcore.task_families import Classification, LanguageModelling, Reconstruction, Regression

_HOMES = {
    "Attribute": "fedcore.data.examples",
    "Batch": "fedcore.data.examples",
    "Examples": "fedcore.data.examples",
    "RunPlan": "fedcore.plan",
    "Task": "fedcore.task",
    "Classification": "fedcore.task_families",
    "LanguageModelling": "fedcore.task_families",
    "Reconstruction": "fedcore.task_families",
    "Regression": "fedcore.task_families",
}

__all__ = [
    "Attribute",
    "Batch",
    "Classification",
    "Examples",
    "LanguageModelling",
    "Reconstruction",
    "Regression",
    "RunPlan",
    "Task",
    "__version__",
]


def __getattr__(name: str) -> Any:
    """Import a public name on first use: ``fedcore --help`` must not wait for torch."""
    if name in _HOMES:
        from importlib import import_module

        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'fedcore' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
