"""A second device for tests, where there is none: see `fedcore.checkup.pretended_device`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

from fedcore.checkup.pretended_device import PretendedDevice

__all__ = ["PretendedDevice", "on_a_pretended_device"]


@contextmanager
def on_a_pretended_device(**rules: Any) -> Iterator[PretendedDevice]:
    """Inside, whatever resolves a plan's device gets the pretended one."""
    pretended = PretendedDevice(**rules)
    with pretended, mock.patch("fedcore_clients.training.device_choice.resolve_device", return_value=pretended.device):
        yield pretended
