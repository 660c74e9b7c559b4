"""What a client keeps between the rounds of a run, for its algorithm and encodings. It never leaves the client."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from fedcore.aggregation.contract import Array
from fedcore.errors import DataError
from fedcore.messages import TrainRequest
from fedcore.storage.files import place_whole


class ClientMemory:
    """Vectors by name, for each client of a process; a file each, written whole.

    Each file holds the vectors before and after its round. The next request starts from those before where that round,
    or that attempt at it, did not count. A request for an earlier round starts from zeros: the run was begun anew, or
    its server lost its newest checkpoint.

    Args:
        directory: ``None`` where nothing is kept.
        kept: What is kept, by name.
        plan_sha256: What was kept under another plan is not used: it may have been made without its noise.
    """

    def __init__(self, directory: Path | None, kept: Mapping[str, Array], *, plan_sha256: str) -> None:
        self._directory, self._kept, self._plan = directory, kept, plan_sha256

    def at(self, directory: Path) -> ClientMemory:
        """The same in another directory."""
        return ClientMemory(directory, self._kept, plan_sha256=self._plan)

    def recall(self, client: str, request: TrainRequest) -> dict[str, Tensor]:
        """The vectors before the round of a request; zeros at first.

        Raises:
            DataError: The file is not what was written.
        """
        stored = self._read(client) if self._kept else None
        if stored is None or stored[0] > request.round:
            return {name: torch.zeros(each.size, dtype=_dtype(each)) for name, each in self._kept.items()}
        number, attempt, tensors = stored
        counted = number < request.round and attempt == request.retried.get(number, 0)
        return {name: tensors[f"{'after' if counted else 'before'}.{name}"] for name in self._kept}

    def keep(
        self, client: str, request: TrainRequest, *, before: Mapping[str, Tensor], after: Mapping[str, Tensor]
    ) -> None:
        """Store vectors for the next round.

        Raises:
            DataError: They are not those declared, or there is no place to store them.
        """
        if not self._kept:
            return
        if self._directory is None:
            raise DataError("the algorithm keeps vectors at the client, and there is no place for them here")
        for name, array in self._kept.items():
            if name not in after or after[name].shape != (array.size,) or after[name].dtype != _dtype(array):
                raise DataError(f"expected {name!r} to keep as {array.size} {array.dtype}")
        if not all(bool(torch.isfinite(after[name]).all()) for name in self._kept):
            after = before  # one bad round must not spoil all that follow
        tensors = {f"before.{name}": before[name].contiguous().clone() for name in self._kept}
        tensors |= {f"after.{name}": after[name].detach().cpu().contiguous().clone() for name in self._kept}
        self._directory.mkdir(parents=True, exist_ok=True)
        metadata = {"round": str(request.round), "attempt": str(request.attempt), "plan": self._plan}
        place_whole(self.file_of(client), lambda path: save_file(tensors, path, metadata=metadata))

    def _read(self, client: str) -> tuple[int, int, dict[str, Tensor]] | None:
        if self._directory is None:
            return None
        with contextlib.suppress(FileNotFoundError):
            return self._stored(self.file_of(client))
        return None

    def _stored(self, path: Path) -> tuple[int, int, dict[str, Tensor]] | None:
        try:
            with safe_open(path, framework="pt") as file:
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
                metadata = file.metadata() or {}
                number, attempt, plan = int(metadata["round"]), int(metadata["attempt"]), metadata["plan"]
        except (SafetensorError, KeyError, ValueError) as error:
            raise DataError(f"{path} is damaged: {error}; delete it, and the client starts from zeros") from error
        if plan != self._plan:
            return None
        for which in ("before", "after"):
            for name, array in self._kept.items():
                vector = tensors.get(f"{which}.{name}")
                if vector is None or vector.shape != (array.size,) or vector.dtype != _dtype(array):
                    raise DataError(f"{path} is of another algorithm or model; delete it, and start from zeros")
        return number, attempt, tensors

    def file_of(self, client: str) -> Path:
        """Where a client's vectors are stored, if any are."""
        if self._directory is None:
            raise DataError("there is no place to keep vectors here")
        return self._directory / f"{hashlib.sha256(client.encode()).hexdigest()[:32]}.safetensors"


def _dtype(array: Array) -> torch.dtype:
    dtype: torch.dtype = getattr(torch, array.dtype)
    return dtype
