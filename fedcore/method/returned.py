"""What the parts of a method return, compared with what they declare: they may be the user's own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from fedcore.aggregation.contract import Array, Context
from fedcore.algorithms.contract import Cohort
from fedcore.errors import TaskError
from fedcore.method.names import rule_of
from fedcore.plugins import name_of

if TYPE_CHECKING:
    from fedcore.aggregation.contract import Combination, Encoding, Rule
    from fedcore.algorithms.contract import Algorithm
    from fedcore.parameters import State, Tensors
    from fedcore.plan import RunPlan

_FEW = 40


def stepped(
    algorithm: Algorithm, mean: Tensors, state: State, cohort: Cohort, *, plan: RunPlan, size: int
) -> tuple[Tensor, State]:
    """The direction and the next state that an algorithm's `step` returns.

    Raises:
        TaskError: They are not what the algorithm declares.
    """
    part = f"step of {algorithm_of(plan)}"
    found = algorithm.step(mean, state, cohort)
    direction, after = pair_returned(found, part, "the direction and the next state")
    _check_vector(direction, size, f"{part}: the direction")
    check_vectors(after, dict.fromkeys(algorithm.shares, size), f"{part} must return a state with all of shares")
    return direction, after


def finished(
    combination: Combination, algorithm: Algorithm, *, plan: RunPlan, size: int
) -> tuple[dict[str, Tensor], State]:
    """The combined vectors and the rule's next state.

    Raises:
        TaskError: They are not vectors that the algorithm sends, and a state.
    """
    part = f"finish of rule {name_of(rule_of(plan))!r}"
    vectors, after = pair_returned(combination.finish(), part, "the vectors and the next state")
    check_vectors(vectors, algorithm.sizes_sent(size), f"{part} must return all vectors that are sent")
    return vectors, after


def check_returns(algorithm: Algorithm, rule: Rule, plan: RunPlan) -> None:
    """Refuse parts that do not return what they declare, tried on a model of one parameter without updates.

    Raises:
        TaskError: Names the part, what was expected and what was found.
    """
    start = algorithm.start(1)
    part = f"start of {algorithm_of(plan)} must return a state with all of shares"
    check_vectors(start, dict.fromkeys(algorithm.shares, 1), part)
    combination = rule.begin(algorithm.sizes_sent(1), {})
    if not all(callable(getattr(combination, name, None)) for name in ("add", "finish")):
        part = f"begin of rule {name_of(rule_of(plan))!r}"
        raise TaskError(f"{part} must return an object with add and finish; found {_kind(combination)}")
    mean, _ = finished(combination, algorithm, plan=plan, size=1)
    stepped(algorithm, mean, start, Cohort(counted=1, clients=1), plan=plan, size=1)


def check_encoding(encoding: Encoding, part: str, dtype: str) -> None:
    """Refuse an encoding that does not return what the contract says, tried on a few zeros.

    Raises:
        TaskError: Names the part, what was expected and what was found.
    """
    pair_returned(
        encoding.declare(Array(dtype=dtype, size=_FEW)), f"declare of {part}", "the values and what is beside"
    )
    zeros = torch.zeros(_FEW, dtype=getattr(torch, dtype))
    context = Context(client="", round=1, uniform=torch.zeros_like)
    found: Any = encoding.encode(zeros, dict.fromkeys(encoding.keeps, zeros), context)
    if not isinstance(found, tuple) or len(found) != 3:
        expected = "the values, what is beside them and what is kept"
        raise TaskError(f"encode of {part} must return three values, {expected}; found {_kind(found)}")


def check_names(algorithm: Algorithm, plan: RunPlan) -> None:
    """Refuse declarations that are not tuples of names, or without ``update``.

    Raises:
        TaskError: Names the attribute, what was expected and what was found.
    """
    for attribute in ("shares", "keeps", "sends", "numbers"):
        names = getattr(algorithm, attribute)
        if not isinstance(names, tuple) or not all(isinstance(name, str) for name in names):
            raise TaskError(
                f'{attribute} of {algorithm_of(plan)} must be a tuple of names, such as ("update",); found {names!r}'
            )
    if twice := set(algorithm.sends) & set(algorithm.numbers):
        raise TaskError(f"{algorithm_of(plan)} has {_listed(sorted(twice))} in sends and in numbers; name it in one")
    if "update" not in algorithm.sends:
        raise TaskError(f"sends of {algorithm_of(plan)} must hold 'update'; found {_listed(algorithm.sends)}")


def algorithm_of(plan: RunPlan) -> str:
    """The algorithm, for messages."""
    return f"algorithm {plan.algorithm.name!r}"


def pair_returned(found: Any, part: str, expected: str) -> tuple[Any, Any]:
    """Two values, such as vectors and a state.

    Raises:
        TaskError: There are not two.
    """
    if not isinstance(found, tuple) or len(found) != 2:
        raise TaskError(f"{part} must return two values, {expected}; found {_kind(found)}")
    return found


def check_vectors(found: Any, sizes: Mapping[str, int], part: str, *, only: bool = False) -> None:
    """Refuse vectors that are not the declared ones.

    Args:
        sizes: Number of elements of each by name.
        part: What returned them, and which of its attributes declares them.
        only: Whether there may be no others.

    Raises:
        TaskError: One is missing, undeclared, or of another shape.
    """
    if not isinstance(found, Mapping):
        raise TaskError(f"{part}: expected vectors by name, found {_kind(found)}")
    if missing := [name for name in sizes if name not in found]:
        raise TaskError(f"{part}: expected {missing[0]!r}, found {_listed(found)}")
    if only and (more := [name for name in found if name not in sizes]):
        raise TaskError(f"{part}: found {more[0]!r}, which is not declared; declared: {_listed(sizes)}")
    for name, size in sizes.items():
        _check_vector(found[name], size, f"{part}: {name!r}")


def _check_vector(found: Any, size: int, part: str) -> None:
    if not isinstance(found, torch.Tensor) or found.shape != (size,):
        raise TaskError(f"{part}: expected a tensor of shape ({size},), found {_kind(found)}")


def _listed(names: Iterable[Any]) -> str:
    return ", ".join(map(repr, names)) or "none"


def _kind(found: Any) -> str:
    if found is None:
        return "None"
    if isinstance(found, Tensor):
        return f"a tensor of shape {tuple(found.shape)}"
    return f"{len(found)} values" if isinstance(found, tuple) else f"an object of type {type(found).__name__}"
