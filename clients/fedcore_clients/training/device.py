"""Where a client computes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from fedcore.errors import DeviceError
from fedcore_clients.training.device_name import check_device_name


def resolve_device(name: str) -> torch.device:
    """The device that `name` means, after a trial computation there.

    A device is usable when it works, not when a library lists it. ``auto`` takes the first CUDA device that works, and
    the CPU otherwise (see `device_choice` for small models); a named device is never replaced.

    Args:
        name: ``auto``, ``cpu``, ``cuda``, ``cuda:K`` or ``mps``.

    Raises:
        DeviceError: The name is unknown, or the device fails its trial.
    """
    check_device_name(name)
    if name == "auto":
        return next((device for device in _cuda_devices() if _failure(device) is None), torch.device("cpu"))
    try:
        device = torch.device(name)
        failure = _failure(device)
    except RuntimeError as error:  # an index that torch has no room for
        failure = str(error).splitlines()[0]
    if failure is not None:
        raise DeviceError(f"device {name!r} cannot be used: {failure}. Name another one, or use 'auto' or 'cpu'")
    return device


def has_float64(device: torch.device) -> bool:
    """MPS computes nothing in float64."""
    try:
        torch.zeros(1, dtype=torch.float64, device=device)
    except (TypeError, RuntimeError):
        return False
    return True


def free_device_memory(device: torch.device) -> int | None:
    """Bytes free on an accelerator, other processes' left out; ``None`` where it does not report them."""
    report = getattr(torch.get_device_module(device), "mem_get_info", None)
    return None if report is None else int(report(device)[0])


def is_out_of_memory(error: BaseException) -> bool:
    """Not every device raises ``torch.OutOfMemoryError``."""
    return isinstance(error, torch.OutOfMemoryError) or (type(error) is RuntimeError and "out of memory" in str(error))


def lacks_memory(error: BaseException) -> bool:
    """As `is_out_of_memory`, of the host too, where a single row may be what asks for too much."""
    of_torch = type(error) is RuntimeError and "can't allocate memory" in str(error)
    return of_torch or isinstance(error, MemoryError) or is_out_of_memory(error)


def is_of_the_device(error: BaseException) -> bool:
    """Whether a failure may be the device's and not a row's: out of memory, or a broken accelerator."""
    return isinstance(error, MemoryError | torch.AcceleratorError) or is_out_of_memory(error)


@contextmanager
def device_errors(device: torch.device, *, advice: str) -> Iterator[None]:
    """Turn what a device raises into a `DeviceError`.

    Args:
        advice: What to do about too little memory.

    Raises:
        DeviceError: The device ran out of memory, or failed and cannot be used by this process any more.
    """
    try:
        yield
    except RuntimeError as error:
        if is_out_of_memory(error):
            raise DeviceError(f"{device} ran out of memory; {advice}") from error
        if isinstance(error, torch.AcceleratorError):
            reason = str(error).splitlines()[0]
            raise DeviceError(f"{device} failed ({reason}); this process cannot use it again, start another") from error
        raise


def _cuda_devices() -> list[torch.device]:
    return [torch.device("cuda", index) for index in range(torch.cuda.device_count())]


def _failure(device: torch.device) -> str | None:
    """Why a small computation fails there, or None."""
    try:
        total = torch.ones(8, device=device).sum().item()
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        return str(error).splitlines()[0]
    return None if total == 8.0 else f"a sum of 8 ones gave {total}"
