"""The files that a plan names for the host that drives its rounds; their paths are no part of its hash."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from fedcore.errors import PlanError
from fedcore.plan.devices.profiles import with_profiles
from fedcore.storage.mapped_bytes import mapped_file, sha256

if TYPE_CHECKING:
    from fedcore.plan import RunPlan


def with_own_files(plan: RunPlan) -> RunPlan:
    """The plan with absolute paths of all of its files, the hash of its starting weights and its kinds of devices.

    Raises:
        PlanError: As `with_start`, `with_test_data` and `with_profiles`.
    """
    return with_start(with_test_data(with_profiles(plan)))


def with_start(plan: RunPlan) -> RunPlan:
    """The plan with the absolute path of its starting weights and their SHA-256.

    Raises:
        PlanError: The file cannot be read, is not in the format of safetensors, or is not the one that the plan is for.
    """
    if plan.task.start_from is None:
        if plan.task.start_sha256 is not None:
            raise PlanError("task.start-sha256: it is the hash of the file that task.start-from names, which is absent")
        return plan
    path = Path(plan.task.start_from).absolute()
    _check_format(path)
    return plan.updated(task={"start-from": str(path), "start-sha256": checked_hash(plan)})


def checked_hash(plan: RunPlan) -> str:
    """SHA-256 of the file.

    Raises:
        PlanError: It is not there, or another file than the plan is for.
    """
    path, expected = Path(plan.task.start_from or ""), plan.task.start_sha256
    try:
        found = sha256(mapped_file(path))
    except OSError as error:
        raise PlanError(
            f"task.start-from: expected a .safetensors file, such as a run's model.safetensors; {path} cannot be read: "
            f"{error.strerror}"
        ) from error
    if expected not in (None, found):
        raise PlanError(
            f"task.start-from: the plan is for a file with SHA-256 {(expected or '')[:12]}, and {path} has "
            f"{found[:12]}; it was changed. Put the old file back, or remove task.start-sha256 and begin a new run"
        )
    return found


def _check_format(path: Path) -> None:
    """The header only: no torch."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy"):
            pass
    except FileNotFoundError:
        raise PlanError(f"task.start-from: no file at {path}; expected a run's model.safetensors, or another") from None
    except (SafetensorError, OSError) as error:
        raise PlanError(f"task.start-from: {path} is not in the format of safetensors: {error}") from error


def with_test_data(plan: RunPlan) -> RunPlan:
    """The plan with the absolute path of its test data.

    Raises:
        PlanError: There is nothing at that path.
    """
    if plan.task.test_data is None:
        return plan
    path = Path(plan.task.test_data).absolute()
    if not path.exists():
        raise PlanError(f"task.test-data: nothing at {path}; expected what the task's load_data reads")
    return plan.updated(task={"test-data": str(path)})
