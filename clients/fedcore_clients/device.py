"""Where a client computes."""

from __future__ import annotations

import torch

from fedcore.errors import DeviceError


def resolve_device(name: str) -> torch.device:
    """The device that `name` means, after a tensor was moved there and computed with.

    A device is usable when it works, not when a library lists it. ``auto`` takes the first CUDA device that
    works, and the CPU otherwise; a device named outright is never replaced by another in silence.

    Args:
        name: ``auto``, ``cpu``, ``cuda``, ``cuda:K`` or ``mps``.

    Raises:
        DeviceError: The name means nothing, or the device fails its trial.
    """
    if name == "auto":
        return next((device for device in _cuda_devices() if _failure(device) is None), torch.device("cpu"))
    kind, colon, index = name.partition(":")
    if kind not in ("cpu", "cuda", "mps") or (colon and not (kind == "cuda" and index.isdigit())):
        raise DeviceError(f"expected a device auto, cpu, cuda, cuda:K or mps, found {name!r}")
    device = torch.device(name)
    failure = _failure(device)
    if failure is not None:
        raise DeviceError(f"device {name!r} cannot be used: {failure}. Name another one, or use 'auto' or 'cpu'")
    return device


def _cuda_devices() -> list[torch.device]:
    return [torch.device("cuda", index) for index in range(torch.cuda.device_count())]


def _failure(device: torch.device) -> str | None:
    """Why a small computation there fails, or None."""
    try:
        total = torch.ones(8, device=device).sum().item()
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        return str(error).splitlines()[0]
    return None if total == 8.0 else f"a sum of 8 ones gave {total}"
