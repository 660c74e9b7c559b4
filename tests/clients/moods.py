"""A task whose data can do anything while it is opened, for tests of what watches over it."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import torch

from fedcore import Examples
from tests.builders import TinyTask


class Moody(TinyTask):
    """Its data is a file that says what happens when it is opened; that it was is noted beside it."""

    name = "moody"

    def load_data(self, path: Path | None) -> Examples:
        assert path is not None
        path.with_suffix(".opened").touch()
        mood = path.read_text()
        if mood == "hangs":
            while True:
                time.sleep(0.01)
        if mood == "dies":
            os.kill(os.getpid(), signal.SIGKILL)
        if mood == "device":
            raise torch.AcceleratorError("CUDA error: device-side assert triggered, patient 4711")
        if mood == "raises":
            raise KeyError("patient 4711")
        return super().load_data(None)
