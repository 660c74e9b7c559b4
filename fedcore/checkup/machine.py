"""Requirements of a run on the machine."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import resource
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from fedcore import __version__
from fedcore.checkup.finding import Check, Finding, ok, problem, warning
from fedcore.errors import DeploymentError

if TYPE_CHECKING:
    import torch

GIGABYTE = 1_000_000_000
TESTED = {"torch": "2.13", "flwr": "1.42", "opacus": "1.6"}
"""The versions that the tests ran with, as in constraints.txt."""

_TESTED_PYTHON = ((3, 11), (3, 13))
_EXACT = "flwr"  # its internals are used, and change with every minor version
_SWITCHES = {
    "FLWR_TELEMETRY_ENABLED": "0",
    "FLWR_DISABLE_UPDATE_CHECK": "1",
    "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
}
_FEWEST_FILES = 1024
_CHECKPOINTS = 3
_INSTALL = "install the tested set: python -m pip install -c constraints.txt fedcore"


def machine_checks() -> tuple[Check, ...]:
    return (
        Check(name="versions", run=versions),
        Check(name="telemetry", run=telemetry),
        Check(name="limits", run=limits),
        Check(name="device", run=device),
    )


def versions() -> Iterator[Finding]:
    found = {name: _installed(name) for name in TESTED}
    listed = ", ".join(f"{name} {version or 'absent'}" for name, version in found.items())
    state = f"fedcore {__version__}, python {platform.python_version()}, {listed}"
    other = [name for name, version in found.items() if not (version or "").startswith(f"{TESTED[name]}.")]
    tested = ", ".join(f"{name} {TESTED[name]}" for name in other)
    if _EXACT in other or any(found[name] is None for name in other):
        yield problem("versions", f"{state}; expected {tested}", _INSTALL)
    elif other:
        yield warning("versions", f"{state}; tested are {tested}", _INSTALL)
    elif not _TESTED_PYTHON[0] <= sys.version_info[:2] <= _TESTED_PYTHON[1]:
        yield warning("versions", f"{state}; tested are python 3.11 to 3.13")
    else:
        yield ok("versions", state)


def check_flower() -> None:
    """Refuse an untested minor version of Flower: a renamed internal field would fail in the middle of a run.

    Raises:
        DeploymentError: Another minor version of Flower is installed.
    """
    found, tested = _installed(_EXACT), TESTED[_EXACT]
    if not (found or "").startswith(f"{tested}."):
        raise DeploymentError(
            f"expected flwr {tested}, found {found or 'none'}: fedcore uses its internals, which change with every "
            f'minor version. Install it with: python -m pip install "flwr=={tested}.*"'
        )


def telemetry() -> Iterator[Finding]:
    wrong = [f"{name}={value}" for name, value in _SWITCHES.items() if os.environ.get(name) != value]
    if wrong:
        yield problem(
            "telemetry", "Flower may report home, look for updates or install packages", f"export {' '.join(wrong)}"
        )
    else:
        yield ok("telemetry", "Flower's telemetry, update check and package installation are off")


def limits() -> Iterator[Finding]:
    import psutil

    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    free = psutil.virtual_memory().available
    few = files != resource.RLIM_INFINITY and files < _FEWEST_FILES
    state = (
        f"{'any number of' if files == resource.RLIM_INFINITY else files} open files, {_gigabytes(free)} of memory free"
    )
    if few:
        yield warning("limits", f"{state}; expected {_FEWEST_FILES} files or more", f"ulimit -n {_FEWEST_FILES}")
    elif free < GIGABYTE:
        yield warning("limits", f"{state}; expected 1 GB or more", "end other processes, or use a larger machine")
    else:
        yield ok("limits", state)


def disk(directory: Path, *, model_bytes: int = 0, messages: int = 0) -> Iterator[Finding]:
    """Whether there is room for three models, and 1 GB at least.

    Args:
        directory: Where it is written; its nearest existing parent is checked.
        messages: How many more models are stored there while in transit.
    """
    there = next(path for path in (directory, *directory.absolute().parents) if path.exists())
    free, needed = shutil.disk_usage(there).free, max(GIGABYTE, (_CHECKPOINTS + messages) * model_bytes)
    state = f"{_gigabytes(free)} free at {there}"
    if free < needed:
        times = f"{_CHECKPOINTS + messages} times the model of {_gigabytes(model_bytes)}"
        why = times if needed > GIGABYTE else "the least for a run"
        yield problem("disk", f"{state}; expected {_gigabytes(needed)}, {why}", "free some space, or move the home")
    else:
        yield ok("disk", state)


def device() -> Iterator[Finding]:
    """Whether each GPU computes correctly; having none is fine."""
    import torch

    if not torch.cuda.is_available():
        if Path("/dev/nvidia0").exists():
            yield warning(
                "device",
                f"this machine has an NVIDIA device, but torch {torch.__version__} cannot use it",
                "install a CUDA build of torch, or the driver, to train on it",
            )
        else:
            yield ok("device", f"CPU with {torch.get_num_threads()} threads; no CUDA device")
        return
    for index in range(torch.cuda.device_count()):
        yield _tried(torch.device("cuda", index))


def _tried(device: torch.device) -> Finding:
    """Compare a product of two small matrices with its known value."""
    import torch

    name = torch.cuda.get_device_name(device)
    try:
        square = torch.full((64, 64), 2.0, device=device)
        right = bool(((square @ square) == 256.0).all())
        free, total = torch.cuda.mem_get_info(device)
    except RuntimeError as error:
        return problem(
            "device",
            f"{device} ({name}) fails a small product: {str(error).splitlines()[0]}",
            "look at nvidia-smi; or name another with --device",
        )
    if not right:
        return problem("device", f"{device} ({name}) computes a small product wrongly", "name another with --device")
    return ok("device", f"{device} is {name}, {_gigabytes(free)} of {_gigabytes(total)} free")


def _installed(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _gigabytes(num_bytes: float) -> str:
    return f"{num_bytes / GIGABYTE:.1f} GB"
