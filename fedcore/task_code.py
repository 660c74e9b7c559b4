"""Versions of a plan's code, so that hosts with different code are never averaged."""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import fedcore
from fedcore.errors import PlanError, TaskError
from fedcore.plugins import search_working_directory

if TYPE_CHECKING:
    from fedcore.plan import RunPlan

_OURS = frozenset({"fedcore", "fedcore_server", "fedcore_clients", "fedcore_simulations"})


def with_code(plan: RunPlan) -> RunPlan:
    """The plan with `task.code`: what every host of the run must have. Code itself never travels.

    Raises:
        PlanError: The plan names other code already.
        TaskError: A module is missing.
    """
    if differs := differing_code(plan):
        raise PlanError(f"task.code: {differs}; or leave task.code out, and the code here counts")
    return plan.updated(task={"code": code_here(plan)})


def differing_code(plan: RunPlan) -> str:
    """How the code here differs from the plan's, and what to do; empty if it does not or the plan names none.

    Raises:
        TaskError: A module is missing.
    """
    if plan.task.code is None:
        return ""
    here = code_here(plan)
    for name, wanted in plan.task.code.items():
        if (found := here.get(name, "none")) != wanted:
            return (
                f"the plan is for {name} {wanted[:12]}, and here is {found[:12]}; install the same code on every host, "
                "and start what runs there again"
            )
    return ""


def code_here(plan: RunPlan) -> dict[str, str]:
    """Versions and hashes of the modules of the plan's task and method on this host.

    For fedcore the minor version, since a patch changes no result. For user modules the SHA-256 of the file, as
    ``sha256sum my_task.py`` prints it; for a package that of all its ``.py`` files, as
    ``find . -name '*.py' -print0 | LC_ALL=C sort -z | xargs -0 sha256sum | sha256sum`` prints it in the package's
    directory. A module's imports are not checked. No code is run.

    Raises:
        TaskError: A module is missing.
    """
    from fedcore.method.names import own_code

    references = (plan.task.name, *own_code(plan))
    modules = {each.partition(":")[0].partition(".")[0] for each in references if ":" in each} - _OURS
    return {"fedcore": ".".join(fedcore.__version__.split(".")[:2])} | {name: _sha256(name) for name in sorted(modules)}


@cache
def _sha256(module: str) -> str:
    """Cached for the process: a later change of the file is not what was imported."""
    search_working_directory()
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError):
        spec = None
    folders = spec.submodule_search_locations if spec else None
    if folders is not None:
        return hashlib.sha256("".join(line for each in folders for line in _listed(Path(each))).encode()).hexdigest()
    if spec is None or spec.origin is None or not Path(spec.origin).is_file():
        raise TaskError(
            f"module {module!r} is not here: put its file into the working directory ({Path.cwd()}), or install it"
        )
    return _of_file(Path(spec.origin))


def _listed(folder: Path) -> Iterator[str]:
    for name in sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.py")):
        yield f"{_of_file(folder / name)}  ./{name}\n"


def _of_file(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise TaskError(f"{path} cannot be read: {error.strerror}") from error
