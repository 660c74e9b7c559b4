"""Code for one row: traced on a blank one, and run on many rows, each by itself."""

from __future__ import annotations

import hashlib
import operator
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from fedcore_clients.training.device import is_of_the_device

_OWN_OPERATIONS = ("aten", "prims")
_OVER_ROWS = (None, None, 0, 0)
_SHOWN, _HALF_BYTES = 200, 2

Tensors = dict[str, Tensor]
RowFunction = Callable[[Tensors, Tensors, Tensors, Tensor], Any]
"""``function(trained, fixed, row, factor)``: of one row, whose columns have no dimension for rows."""


class NotTracedError(Exception):
    """The code does something that cannot be traced on a blank row."""


class RowProgram:
    """The operations of a row function, with its constants.

    Attributes:
        fingerprint: A digest of operations and constants.
    """

    def __init__(self, graph: Any) -> None:
        self.fingerprint = _fingerprint(graph)
        # Copies, so that nothing that the code does to its own tensors later reaches the program.
        for name, constant in _constants(graph).items():
            delattr(graph, name)
            graph.register_buffer(name, constant.detach().clone())
        self._over_rows = _mapped(graph)

    def __call__(self, trained: Tensors, fixed: Tensors, rows: Tensors, factors: Tensor) -> Any:
        """Run on each row by itself; columns and factors have the rows as their first dimension."""
        with torch.no_grad():  # a traced gradient holds its backward pass
            return self._over_rows(trained, fixed, rows, factors)


def trace(function: RowFunction, trained: Tensors, fixed: Tensors, row: Tensors) -> RowProgram:
    """Trace the operations of `function` on a blank row, and try them on two.

    Raises:
        NotTracedError: It reads values, changes outside state, or is not repeatable.
    """
    from torch.fx.experimental.proxy_tensor import make_fx

    def plain(*arguments: Any) -> Any:  # a bound method has an argument more than the tracer expects
        return function(*arguments)

    rows = {name: torch.stack([column, column]) for name, column in row.items()}
    first_weight = next(iter(trained.values()))
    factors = torch.ones(2, dtype=first_weight.dtype, device=first_weight.device)
    versions = {tensor: tensor._version for tensor in (*trained.values(), *fixed.values())}
    try:
        _mapped(function)(trained, fixed, rows, factors)  # what reads a value of a row fails here
        graph, again = (make_fx(plain)(trained, fixed, row, factors[0]) for _ in range(2))
        versions |= {tensor: tensor._version for tensor in _constants(graph).values()}
        _mapped(graph)(trained, fixed, rows, factors)
    except Exception as error:
        if is_of_the_device(error):
            raise
        raise NotTracedError(f"they cannot be run on a row alone ({_first_line(error)})") from error
    if foreign := next(filter(_is_foreign, graph.graph.nodes), None):
        raise NotTracedError(f"{foreign.target} is not one of torch's own operations, so its code would be given rows")
    if any(node.kwargs.get("generator") is not None for node in graph.graph.nodes):
        raise NotTracedError("loss or model use their own random generator, whose seed others may know")
    if any(_is_narrow(node.meta.get("val"), first_weight.dtype) for node in graph.graph.nodes):
        raise NotTracedError(
            "loss or model compute in half precision, in which a record's gradient differs from that of its norm"
        )
    if _fingerprint(graph) != _fingerprint(again):
        raise NotTracedError("loss or model are not repeatable")
    if any(tensor._version != version for tensor, version in versions.items()):
        raise NotTracedError("loss or model change a parameter, a buffer or a constant")
    return RowProgram(graph)


def _is_foreign(node: Any) -> bool:
    """Whether a node calls anything but torch's own operations: a custom one, or one that holds a function."""
    if node.op != "call_function" or node.target is operator.getitem:
        return False
    return getattr(node.target, "namespace", None) not in _OWN_OPERATIONS


def _mapped(function: RowFunction) -> Callable[..., Any]:
    mapped = torch.func.vmap(function, in_dims=_OVER_ROWS, randomness="different")

    def run(*arguments: Any) -> Any:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="There is a performance drop")
            return mapped(*arguments)

    return run


def _constants(graph: Any) -> dict[str, Tensor]:
    names = {str(node.target) for node in graph.graph.nodes if node.op == "get_attr"}
    return {name: value for name in sorted(names) if isinstance(value := getattr(graph, name), Tensor)}


def _fingerprint(graph: Any) -> str:
    digest = hashlib.sha256(graph.code.encode())
    for name, constant in _constants(graph).items():
        digest.update(f"{name} {constant.dtype} {tuple(constant.shape)}".encode())
        digest.update(constant.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _is_narrow(value: Any, own: torch.dtype) -> bool:
    """Whether floating numbers among these tensors are of half precision, and the parameters are not."""
    types = {leaf.dtype for leaf in tree_leaves(value) if isinstance(leaf, Tensor) and leaf.is_floating_point()}
    return any(each.itemsize <= _HALF_BYTES < own.itemsize for each in types)


def _first_line(error: Exception) -> str:
    text = " ".join(str(error).split("\n")[:2])
    return f"{type(error).__name__}: {text}"[:_SHOWN]
