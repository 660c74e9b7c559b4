"""Plans that ship with fedcore, to run as they are."""

from __future__ import annotations

import difflib
from pathlib import Path

from fedcore.errors import PlanError

DEFAULT = "digits"


def scenarios() -> dict[str, Path]:
    return {path.stem: path for path in sorted(_directory().glob("*.toml"))}


def find_scenario(name: str) -> Path:
    """Raises PlanError: There is no scenario of this name; names the nearest."""
    known = scenarios()
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        own = _of_ones_own(name)
        meant = own or (near[0] if near else None)
        hint = f"did you mean {meant!r}?" if meant else f"there are {', '.join(known)}."
        raise PlanError(f"no task or scenario {name!r}; {hint} Or give a PLAN.toml, or module:object of your own task")
    return known[name]


def _of_ones_own(name: str) -> str | None:
    """``my_task.py`` and ``my_task.MyTask`` as the user's own task is named."""
    module, _, last = name.rpartition(".")
    if not module.replace(".", "_").replace("/", "_").isidentifier():
        return None
    return f"{module.replace('/', '.')}:CLASS" if last == "py" else f"{module}:{last}"


def _directory() -> Path:
    """Beside this file in a wheel, beside the package in a checkout."""
    package = Path(__file__).parent
    return package / "scenarios" if (package / "scenarios").is_dir() else package.parent / "scenarios"
