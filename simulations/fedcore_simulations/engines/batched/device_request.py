"""A round's request on the device that trains."""

from __future__ import annotations

from dataclasses import replace

import torch

from fedcore.messages import TrainRequest
from fedcore.parameters import Parameters


class DeviceRequest:
    """Brings the vectors of a request to a device once, and not for each chunk of its cohort."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._given: TrainRequest | None = None
        self._placed: TrainRequest | None = None

    def of(self, request: TrainRequest) -> TrainRequest:
        if self._device.type == "cpu":
            return request
        if self._placed is None or self._given is not request:
            parameters = Parameters(request.parameters.buffer.to(self._device), request.parameters.layout)
            shared = {name: vector.to(self._device) for name, vector in request.shared.items()}
            self._given, self._placed = request, replace(request, parameters=parameters, shared=shared)
        return self._placed
