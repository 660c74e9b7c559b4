"""Valid names of devices; without torch, so that a bad one is refused at once."""

from __future__ import annotations

import re

from fedcore.errors import DeviceError

_NAMES = re.compile(r"auto|cpu|mps|cuda(:(0|[1-9][0-9]{0,2}))?")


def check_device_name(name: str) -> None:
    """Raises DeviceError: It is not ``auto``, ``cpu``, ``cuda``, ``cuda:K`` or ``mps``."""
    if _NAMES.fullmatch(name) is None:
        raise DeviceError(f"expected a device auto, cpu, cuda, cuda:K or mps, found {name!r}")
