"""A model that starts from the weights in a file. Nothing in the file is run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from fedcore.errors import PlanError
from fedcore.plan import RunPlan
from fedcore.plan.own_files import checked_hash

_SHOWN = 5


def load_start(model: nn.Module, plan: RunPlan) -> None:
    """Copy the plan's starting weights into a model, if it names any.

    The file holds the model's state dictionary as a run's ``model.safetensors`` does: shared tensors once, with their
    other names in its metadata.

    Raises:
        PlanError: The file was changed, or its names, shapes or values do not fit the model; lists all problems.
    """
    if plan.task.start_from is None:
        return
    checked_hash(plan)
    found, state = _read(Path(plan.task.start_from)), model.state_dict()
    frozen = {name for name, parameter in model.named_parameters(remove_duplicate=False) if not parameter.requires_grad}
    if problems := [*_names(state, found), *_contents(state, found, frozen)]:
        raise PlanError([f"task.start-from: {problem}" for problem in problems])
    with torch.no_grad():
        for name, tensor in state.items():
            tensor.copy_(found[name])


def _read(path: Path) -> dict[str, Tensor]:
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
            aliases = file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise PlanError(f"task.start-from: {path} cannot be read: {error}") from error
    return tensors | {name: tensors[kept] for name, kept in aliases.items() if kept in tensors}


def _names(state: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> Iterator[str]:
    if missing := [name for name in state if name not in found]:
        yield f"the file lacks {_listed(missing)}, which the task's model has"
    if others := [name for name in found if name not in state]:
        yield f"the file has {_listed(others)}, which the task's model has not"


def _contents(state: Mapping[str, Tensor], found: Mapping[str, Tensor], frozen: set[str]) -> Iterator[str]:
    for name, tensor in state.items():
        given = found.get(name)
        if given is None:
            continue
        if given.shape != tensor.shape:
            yield f"{name}: expected the shape {tuple(tensor.shape)}, found {tuple(given.shape)}"
        elif given.is_floating_point() != tensor.is_floating_point():
            yield f"{name}: expected numbers of type {tensor.dtype}, found {given.dtype}"
        elif not bool(torch.isfinite(given).all()):
            yield f"{name}: expected finite numbers"
        elif name in frozen and not torch.equal(given.to(tensor.dtype), tensor):
            yield (
                f"{name}: it is frozen, so that every host takes it from build_model, and the file has other numbers; "
                "load them in build_model, or train it"
            )


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(repr(name) for name in names[:_SHOWN])
    return shown if len(names) <= _SHOWN else f"{shown} and {len(names) - _SHOWN} more"
