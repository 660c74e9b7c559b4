"""Which losses and layers are known to treat rows apart, whatever the rows and the weights.

The proof follows the number of dimensions through the model, since layers read their input by it: a linear layer with
rows without dimensions, or a convolution without a batch, takes rows for features.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from torch import nn
from torch.nn.modules import module as modules

from fedcore.layers import Times
from fedcore.plan import RunPlan
from fedcore.privacy.isolation import Isolation, Level
from fedcore.task import Task
from fedcore.task_families import Classification, LanguageModelling, Reconstruction, Regression

_MOST_DIMENSIONS = 6
_OVERRIDES = {"forward", "_call_impl", "_slow_forward", "__call__", "_compiled_call_impl"}
_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
_GLOBAL_HOOKS = tuple(f"_global{name}" for name in _HOOKS)

Dimensions = Callable[[Any, int], int | None]
"""The number of dimensions that a layer makes of its input's; ``None`` where it would not keep rows apart."""


_COMPARED: dict[type | None, tuple[tuple[int, ...], int | None]] = {
    Classification: ((2,), 1),
    Regression: ((1, 2), 1),
    LanguageModelling: ((3,), 2),
}
"""Dimensions of the model's output and of the targets that a family compares row by row; of a reconstruction, the
inputs'."""


def part_problem(task: Task, model: nn.Module) -> str:
    """Why the loss or a layer may mix rows, whatever the data; empty if all keep rows apart."""
    return next(_problems(task, model), "")


def shape_problem(task: Task, model: nn.Module, dimensions: Mapping[str, int]) -> str:
    """Why rows of these dimensions may mix in known losses and layers; empty if they stay apart.

    Guarantee:
        Where this and `part_problem` are empty, loss and prediction of row i of any batch are functions of row i,
        the weights and random numbers that belong to row i.

    Args:
        dimensions: Number of dimensions of each column of a batch, its rows counted as one.
    """
    inputs, family = dimensions.get("inputs"), _family(task)
    outputs = None if inputs is None else _through(model, inputs)
    if inputs is None or outputs is None:
        return f"a layer does not take a batch of {inputs} dimensions as rows"
    targets = dimensions.get("targets")
    allowed, of_targets = _COMPARED.get(family, ((inputs,), targets))
    if outputs not in allowed or targets != of_targets:
        return "the model's output and the targets have other numbers of dimensions than the loss compares row by row"
    return ""


def least_isolation(task: Task, model: nn.Module, plan: RunPlan) -> Isolation:
    """What holds at every client, as far as known without data."""
    why = part_problem(task, model) or _any_shape_problem(task, model)
    if plan.privacy.isolation == "isolated":
        return Isolation(level=Level.ISOLATED, why=why or "the plan asks for it")
    if why:
        return Isolation(level=Level.PROBED, why=why)
    return Isolation(level=Level.PROVEN)


def _any_shape_problem(task: Task, model: nn.Module) -> str:
    """Empty if rows of some number of dimensions would stay apart; a client checks its own."""
    targets = 2 if _family(task) is LanguageModelling else 1
    tried = (shape_problem(task, model, {"inputs": some, "targets": targets}) for some in range(1, _MOST_DIMENSIONS))
    return min(tried, key=len)


def _problems(task: Task, model: nn.Module) -> Iterator[str]:
    """Problems that do not depend on the data."""
    if _family(task) is None:
        yield f"{type(task).__name__} has a loss or a prediction of its own"
    if any(getattr(modules, name) for name in _GLOBAL_HOOKS):
        yield "there are hooks on all modules"
    names = [name for name, _ in model.named_parameters(remove_duplicate=False)]
    if len(names) != len(list(model.parameters())):
        yield "layers share a parameter"
    for name, module in model.named_modules():
        shown = f"{name or 'the model'} ({type(module).__name__})"
        if type(module) is not nn.Sequential and type(module) not in _LAYERS:
            yield f"{shown} is not a layer that is known to treat rows apart"
        elif type(module) is Times and type(module.factor) not in (float, int):
            yield f"{shown} multiplies by something other than a number"
        elif any(vars(module).get(name) is not None for name in _OVERRIDES) or any(
            getattr(module, kind) for kind in _HOOKS
        ):
            yield f"{shown} has a hook, or a forward pass of its own"
        elif any(type(parameter) is not nn.Parameter for parameter in module.parameters(recurse=False)):
            yield f"{shown} has a parameter that is none of torch's"


def _family(task: Task) -> type | None:
    """The family of ready-made tasks whose loss and prediction the task uses."""
    own = getattr(task, "__dict__", {})
    for family in (Classification, Regression, LanguageModelling, Reconstruction):
        same = all(getattr(type(task), part, None) is getattr(family, part) for part in ("loss", "predict"))
        if same and not {"loss", "predict"} & set(own):
            return family
    return None


def _through(module: nn.Module, dimensions: int) -> int | None:
    """Number of dimensions of a module's output."""
    if type(module) is not nn.Sequential:
        return _LAYERS[type(module)](module, dimensions)
    found: int | None = dimensions
    for layer in module:
        found = None if found is None else _through(layer, found)
    return found


def _any(_: nn.Module, dimensions: int) -> int:
    return dimensions


def _at_least(least: int) -> Dimensions:
    return lambda _, dimensions: dimensions if dimensions >= least else None


def _exactly(expected: int) -> Dimensions:
    return lambda _, dimensions: dimensions if dimensions == expected else None


def _convolution(expected: int) -> Dimensions:
    def through(module: Any, dimensions: int) -> int | None:
        plain = module.padding_mode == "zeros" and not isinstance(module.padding, str)
        return dimensions if dimensions == expected and plain else None

    return through


def _pooling(expected: int) -> Dimensions:
    def through(module: Any, dimensions: int) -> int | None:
        return dimensions if dimensions == expected and not getattr(module, "return_indices", False) else None

    return through


def _normalised(module: nn.LayerNorm | nn.RMSNorm, dimensions: int) -> int | None:
    return dimensions if dimensions > len(module.normalized_shape) else None


def _flattened(module: nn.Flatten, dimensions: int) -> int | None:
    return module.start_dim + 1 if 1 <= module.start_dim < dimensions and module.end_dim == -1 else None


def _unflattened(module: nn.Unflatten, dimensions: int) -> int | None:
    within = isinstance(module.dim, int) and 1 <= module.dim < dimensions
    return dimensions + len(module.unflattened_size) - 1 if within else None


def _softmax(module: nn.Softmax | nn.LogSoftmax, dimensions: int) -> int | None:
    along = module.dim
    within = isinstance(along, int) and -dimensions < along < dimensions and along != 0
    return dimensions if within else None


_BY_ELEMENT = (
    nn.Identity, Times, nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.SELU, nn.CELU, nn.GELU, nn.SiLU, nn.Mish,
    nn.Sigmoid, nn.LogSigmoid, nn.Tanh, nn.Tanhshrink, nn.Softplus, nn.Softsign, nn.Softshrink, nn.Hardshrink,
    nn.Hardtanh, nn.Hardswish, nn.Hardsigmoid, nn.Threshold, nn.Dropout, nn.AlphaDropout,
)  # fmt: skip

_LAYERS: dict[type[nn.Module], Dimensions] = {
    **dict.fromkeys(_BY_ELEMENT, _any),
    nn.Linear: _at_least(2),
    nn.Conv1d: _convolution(3),
    nn.Conv2d: _convolution(4),
    nn.Embedding: lambda _, dimensions: dimensions + 1,
    nn.LayerNorm: _normalised,
    nn.RMSNorm: _normalised,
    nn.GroupNorm: _at_least(2),
    nn.Flatten: _flattened,
    nn.Unflatten: _unflattened,
    nn.Softmax: _softmax,
    nn.LogSoftmax: _softmax,
    nn.Dropout1d: _exactly(3),
    nn.Dropout2d: _exactly(4),
    **dict.fromkeys((nn.MaxPool1d, nn.AvgPool1d, nn.AdaptiveAvgPool1d, nn.AdaptiveMaxPool1d), _pooling(3)),
    **dict.fromkeys((nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d), _pooling(4)),
}
