"""Rows per pass on a device: fewer after it ran out of memory."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TypeVar

import torch

from fedcore.errors import DeviceError
from fedcore_clients.training.device import is_out_of_memory

_log = logging.getLogger("fedcore.client")

_Result = TypeVar("_Result")


class RowsAtOnce:
    """A limit that is halved for good whenever the device runs out of memory.

    Attributes:
        most: Rows per pass.
    """

    def __init__(self, most: int, device: torch.device) -> None:
        self.most, self._device = most, device

    def run(self, size: int, work: Callable[[int], _Result]) -> _Result:
        """Result of `work` for `size` rows, given the limit; called again with a lower one if memory runs out.

        Args:
            work: Must start from the beginning at every call, and draw no noise.

        Raises:
            DeviceError: Not even one row fits.
        """
        while True:
            finished = self._tried(work)
            if finished is not None:
                return finished[0]
            self._halve(min(size, self.most))

    def _tried(self, work: Callable[[int], _Result]) -> tuple[_Result] | None:
        """The result, or ``None`` if the memory did not suffice. What failed is freed on return."""
        try:
            return (work(self.most),)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            return None

    def _halve(self, tried: int) -> None:
        if tried <= 1:
            raise DeviceError(f"{self._device} has too little memory for one row of this model; use another device")
        self.most = tried // 2
        if self._device.type != "cpu":
            torch.get_device_module(self._device).empty_cache()
        _log.warning("%s ran out of memory with %d rows at once; continuing with %d", self._device, tried, self.most)
