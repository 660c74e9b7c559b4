"""The state between two rounds on disk: one safetensors file, whole or absent, never pickle."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from fedcore.errors import LayoutError, RunDirectoryError
from fedcore.files import write_whole
from fedcore.parameters import Parameters
from fedcore.plan import RunPlan
from fedcore_server.state import ServerState

_FILE = "state.safetensors"


def save_checkpoint(directory: Path, state: ServerState, plan: RunPlan) -> None:
    """Replace the checkpoint in `directory` by `state`."""
    tensors: dict[str, Tensor] = {"parameters": state.parameters.buffer}
    if state.average is not None:
        tensors["average"] = state.average.buffer
    tensors |= {f"moments.{name}": moment for name, moment in state.moments.items()}
    header = {
        "round": state.round,
        "attempt": state.attempt,
        "asked": state.asked,
        "plan_sha256": plan.sha256,
    }
    write_whole(directory / _FILE, save(tensors, metadata={"fedcore": json.dumps(header)}))


def load_checkpoint(directory: Path, initial: ServerState, plan: RunPlan) -> ServerState:
    """Read a checkpoint back.

    Args:
        initial: The state before round 1 of the same plan, for the layout.

    Raises:
        RunDirectoryError: There is none, it is damaged, or it belongs to another plan.
    """
    path = directory / _FILE
    try:
        with safe_open(path, framework="pt") as file:
            header = json.loads((file.metadata() or {})["fedcore"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
        if header["plan_sha256"] != plan.sha256:
            raise RunDirectoryError(f"the checkpoint {path} belongs to another plan than the plan.toml beside it")
        layout, dtype = initial.parameters.layout, initial.parameters.buffer.dtype
        average = tensors.get("average")
        return ServerState(
            round=int(header["round"]),
            attempt=int(header["attempt"]),
            asked=int(header["asked"]),
            parameters=Parameters(tensors["parameters"].to(dtype), layout),
            average=None if average is None else Parameters(average.to(dtype), layout),
            moments={
                name.removeprefix("moments."): tensor.to(torch.float64)
                for name, tensor in tensors.items()
                if name.startswith("moments.")
            },
        )
    except FileNotFoundError:
        raise RunDirectoryError(f"no checkpoint at {path}: this run had not finished its first round") from None
    except (SafetensorError, KeyError, ValueError, LayoutError) as error:
        raise RunDirectoryError(f"the checkpoint {path} is damaged: {error}") from error
