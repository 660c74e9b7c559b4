"""The released model as a file in the format of safetensors."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from fedcore.errors import FedcoreError, TaskError
from fedcore.parameters import Parameters
from fedcore.plan import RunPlan
from fedcore.seeding import derive_seed
from fedcore.storage.mapped_bytes import mapped_file
from fedcore.task import Task
from fedcore_server.rounds.rounds import init_state


def released_model(task: Task, plan: RunPlan, parameters: Parameters) -> nn.Module:
    """Frozen parameters as the seed makes them, the rest as trained.

    It shares the memory of `parameters`: there may be no room for it twice.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(derive_seed(plan.federation.seed, "model"))
        model = task.build_model()
    model.to(parameters.buffer.dtype)
    parameters.lend_to(model)
    return model.eval()


def serialised(model: nn.Module) -> memoryview:
    """The state dictionary in the format of safetensors, in an unlinked temporary file.

    A tensor with several names (tied weights) is written once, under the first of them; the file's metadata maps each
    other name to that one, as `safetensors.torch.save_model` does. `safetensors.torch.load_model` restores all.
    """
    state = model.state_dict()
    kept, aliases = _written_once(state)
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "model.safetensors"
        save_file(kept, path, metadata=aliases)
        return mapped_file(path)


def check_savable(task: Task, plan: RunPlan) -> None:
    """Build and save the plan's model before anything is trained.

    Raises:
        TaskError: The model cannot be built or saved; gives the reason.
    """
    try:
        model = released_model(task, plan, init_state(task, plan).parameters)
    except FedcoreError:
        raise
    except Exception as error:
        raise TaskError(f"build_model failed: {type(error).__name__}: {error}") from error
    try:
        serialised(model)
    except Exception as error:
        raise TaskError(
            f"the model cannot be saved, so it is not trained: {type(error).__name__}: {error}; "
            "expected a state_dict of dense tensors, none of them part of another"
        ) from error


def _written_once(state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors by their first name, and the first name of each alias."""
    first: dict[tuple[object, ...], str] = {}
    aliases: dict[str, str] = {}
    for name, tensor in state.items():
        same = first.setdefault(_view_of(tensor), name) if tensor.numel() else name
        if same != name:
            aliases[name] = same
    return {name: tensor.contiguous() for name, tensor in state.items() if name not in aliases}, aliases


def _view_of(tensor: Tensor) -> tuple[object, ...]:
    return tensor.device, tensor.data_ptr(), tensor.dtype, tuple(tensor.shape), tensor.stride()
