"""The state between two rounds on disk: one safetensors file, whole or absent, never pickle."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import logging
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from fedcore.errors import DataError, LayoutError, RunDirectoryError
from fedcore.method.exchange import Exchange
from fedcore.parameters import Parameters
from fedcore.plan import RunPlan
from fedcore.plan.evaluation_schedule import most_in_work
from fedcore.storage.files import place_whole
from fedcore.storage.large_vectors import let_go_of, put_aside, slices
from fedcore_server.rounds.state import ServerState

_log = logging.getLogger("fedcore")

_FORMAT = 2
_UNREADABLE = (
    *(SafetensorError, DataError, LayoutError, KeyError, TypeError, ValueError, AttributeError),
    *(OverflowError, RecursionError, IsADirectoryError),
)
_FILE, _PREVIOUS = "state.safetensors", "previous.safetensors"


def save_checkpoint(directory: Path, state: ServerState, plan: RunPlan) -> None:
    """Replace the checkpoint in `directory` by `state`; keep the previous one beside it."""
    tensors: dict[str, Tensor] = {"parameters": state.parameters.buffer}
    parts: dict[str, dict[str, Any]] = {}
    for name, part in state.parts.items():
        tensors |= {f"{name}.{key}": value for key, value in part.items() if isinstance(value, Tensor)}
        parts[name] = {key: value for key, value in part.items() if not isinstance(value, Tensor)}
    header: dict[str, Any] = {
        "format": _FORMAT,
        "round": state.round,
        "attempt": state.attempt,
        "asked": state.asked,
        "evaluated": state.evaluated,
        "settled": state.settled,
        "parts": parts,
        "plan_sha256": plan.sha256,
    }
    header["sha256"] = _hash(header, tensors)
    metadata = {"fedcore": json.dumps(header)}
    with contextlib.suppress(FileNotFoundError):
        second = _linked(directory / _FILE)
        os.replace(second, directory / _PREVIOUS)
        second.unlink(missing_ok=True)  # to rename does nothing between two names of one file, as a kill leaves them
    place_whole(directory / _FILE, lambda path: _save(path, tensors, metadata))
    let_go_of(*tensors.values())


def load_checkpoint(directory: Path, initial: ServerState, plan: RunPlan) -> ServerState:
    """Read the newest whole checkpoint.

    Where the newest is damaged or gone, the previous one is taken. The clients were asked in the round between the two,
    so it is charged all the same, with its evaluations.

    Args:
        initial: The state before round 1 of the same plan, for the layout.

    Raises:
        RunDirectoryError: There is none, both are damaged, or they belong to another plan.
    """
    try:
        return _load(directory / _FILE, initial, plan)
    except (_DamagedError, _AbsentError) as lost:
        try:
            state = _load(directory / _PREVIOUS, initial, plan)
        except RunDirectoryError:
            raise lost from None
        _log.warning("%s; the one before it, of round %d, is used", lost, state.round)
        if Exchange.of(plan).remembers:
            _log.warning("what clients keep between rounds may be one round ahead of it; there they start from zeros")
        evaluated = state.evaluated + most_in_work(plan, after_round=state.round)
        return replace(state, asked=state.asked + 1, evaluated=evaluated)


def has_checkpoint(directory: Path) -> bool:
    return any((directory / name).exists() for name in (_FILE, _PREVIOUS))


class _AbsentError(RunDirectoryError):
    pass


class _DamagedError(RunDirectoryError):
    pass


def _load(path: Path, initial: ServerState, plan: RunPlan) -> ServerState:
    try:
        with safe_open(path, framework="pt") as file:
            header = json.loads((file.metadata() or {})["fedcore"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
        if header.get("format") != _FORMAT:
            raise RunDirectoryError(
                f"the checkpoint {path} has format {header.get('format', 1)}, and this version of fedcore reads "
                f"{_FORMAT}; finish the run with the version that began it, or begin it anew"
            )
        if header["plan_sha256"] != plan.sha256:
            raise RunDirectoryError(f"the checkpoint {path} belongs to another plan than the plan.toml beside it")
        if header.pop("sha256") != _hash(header, tensors):
            raise _DamagedError(f"the checkpoint {path} is damaged: its hash differs")
        return _state(header, tensors, initial)
    except FileNotFoundError:
        raise _AbsentError(f"no checkpoint at {path}: this run had not finished its first round") from None
    except _UNREADABLE as error:
        raise _DamagedError(f"the checkpoint {path} is damaged: {error}") from error


def _state(header: Mapping[str, Any], tensors: Mapping[str, Tensor], initial: ServerState) -> ServerState:
    parts = {str(name): dict(part) for name, part in header["parts"].items()}
    for key, tensor in tensors.items():
        name, separator, inside = key.partition(".")
        if separator:
            parts[name][inside] = tensor
    dtype = initial.parameters.buffer.dtype
    return ServerState(
        round=int(header["round"]),
        attempt=int(header["attempt"]),
        asked=int(header["asked"]),
        evaluated=int(header["evaluated"]),
        settled=bool(header["settled"]),
        parameters=Parameters(put_aside(tensors["parameters"].to(dtype)), initial.parameters.layout),
        parts=parts,
    )


def _hash(header: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256(json.dumps(header, sort_keys=True).encode())
    for name in sorted(tensors):
        digest.update(f"{name} {tensors[name].dtype} {tuple(tensors[name].shape)}\n".encode())
        for (part,) in slices(tensors[name]):
            digest.update(memoryview(part.numpy()).cast("B"))  # type: ignore[arg-type]
    return digest.hexdigest()


def _save(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
    """Written as it is serialised: the whole file is never in memory."""
    try:
        save_file(tensors, path, metadata=metadata)
    except SafetensorError as error:
        raise OSError(errno.ENOSPC if "os error 28" in str(error) else errno.EIO, str(error)) from error


def _linked(path: Path) -> Path:
    """A second name for a file, so that the first one always names a whole file."""
    second = path.with_name(f".{path.name}.kept.{os.getpid()}")
    second.unlink(missing_ok=True)
    os.link(path, second)
    return second
