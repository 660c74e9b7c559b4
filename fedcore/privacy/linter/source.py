"""Rules about the code of a task, its model and method, read but not run.

Reading finds plain mistakes; the rules that measure find hidden ones.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from fedcore.privacy.linter.finding import Rule, Subject

_INSTALLED = ("torch", "opacus", "fedcore.")
_LOSSES = frozenset(
    {"cross_entropy", "nll_loss", "binary_cross_entropy", "binary_cross_entropy_with_logits"}
    | {"CrossEntropyLoss", "NLLLoss", "BCELoss", "BCEWithLogitsLoss"}
)
_COUPLING = {"weight", "ignore_index"}
_BATCH_STATISTICS = {"batch_norm", "instance_norm", "sync_batch_norm"}
_LOW_PRECISION = {"half", "bfloat16", "float16", "autocast"}
_KEEPING = {"append", "extend", "update", "add", "setdefault"}
_OUTLETS = {"print", "open", "debug", "info", "warning", "write", "add_scalar", "log_metric", "log_metrics"}
_DATA_READERS = {"open", "load_data", "load_examples", "read_csv", "read_parquet", "Examples", "load_client"}
_SCHEDULES = ("scheduler", "plateau", "early_stop", "earlystop")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Code:
    """A function's code and name."""

    name: str
    tree: ast.AST
    first_line: int

    def at(self, node: ast.AST) -> str:
        return f"{self.name}, line {self.first_line + getattr(node, 'lineno', 1) - 1}"


def _learning_code(subject: Subject) -> Iterator[_Code]:
    """Code that computes gradients: the task's loss, and forward of every layer from outside libraries."""
    if subject.task is not None:
        yield from _code_of(type(subject.task), "loss")
    if subject.model is not None:
        for kind in dict.fromkeys(type(module) for module in subject.model.modules()):
            yield from _code_of(kind, "forward")


def _method_code(subject: Subject) -> Iterator[_Code]:
    parts = () if subject.exchange is None else (subject.exchange.algorithm, *subject.exchange.encodings)
    for kind in dict.fromkeys(type(part) for part in parts):
        for name, member in vars(kind).items():
            if callable(member):
                yield from _code_of(kind, name)


def _code_of(kind: type, method: str) -> Iterator[_Code]:
    function: Any = getattr(kind, method, None)
    home = getattr(function, "__module__", "") or ""
    if function is None or home.startswith(_INSTALLED) or home == "torch":
        return
    try:
        lines, first = inspect.getsourcelines(function)
        tree = ast.parse(textwrap.dedent("".join(lines)))
    except (OSError, TypeError, SyntaxError):
        return  # without source there is nothing to read; the probe measures all the same
    yield _Code(name=f"{kind.__name__}.{method}", tree=tree, first_line=first)


def _calls(code: _Code) -> Iterator[tuple[str, ast.Call]]:
    for node in ast.walk(code.tree):
        if isinstance(node, ast.Call):
            yield _last_name(node.func), node


def _last_name(node: ast.AST) -> str:
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


def _coupled_loss(subject: Subject) -> Iterator[str]:
    for code in _learning_code(subject):
        for name, call in _calls(code):
            given = {keyword.arg: keyword.value for keyword in call.keywords}
            reduction = given.get("reduction")
            mean = reduction is None or (isinstance(reduction, ast.Constant) and reduction.value == "mean")
            if name in _LOSSES and mean and _COUPLING & set(given):
                yield f"{code.at(call)}, {name} with {', '.join(sorted(_COUPLING & {str(key) for key in given}))}"


def _batch_statistics(subject: Subject) -> Iterator[str]:
    for code in _learning_code(subject):
        yield from (f"{code.at(call)}, {name}" for name, call in _calls(code) if name in _BATCH_STATISTICS)


def _kept_state(subject: Subject) -> Iterator[str]:
    """Assignments to, and in-place changes of, attributes of ``self``."""
    for code in _learning_code(subject):
        for node in ast.walk(code.tree):
            targets: list[ast.expr] = []
            if isinstance(node, ast.Assign):
                targets = node.targets
            elif isinstance(node, ast.AugAssign | ast.AnnAssign):
                targets = [node.target]
            elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                changes = node.func.attr in _KEEPING or (node.func.attr.endswith("_") and node.func.attr[0] != "_")
                targets = [node.func.value] if changes else []
            yield from (f"{code.at(node)}, {ast.unparse(target)}" for target in targets if _is_own(target))


def _is_own(node: ast.expr) -> bool:
    """Whether it is an attribute of ``self``, or an item or attribute of one."""
    if isinstance(node, ast.Subscript):
        return _is_own(node.value)
    if not isinstance(node, ast.Attribute):
        return False
    return (isinstance(node.value, ast.Name) and node.value.id == "self") or _is_own(node.value)


def _names(find: Callable[[str], bool], codes: Callable[[Subject], Iterator[_Code]]) -> Callable[[Subject], Any]:
    """A rule's `find` for names that occur in the code."""

    def found(subject: Subject) -> Iterator[str]:
        for code in codes(subject):
            for node in ast.walk(code.tree):
                if isinstance(node, ast.Name | ast.Attribute) and find(_last_name(node)):
                    yield f"{code.at(node)}, {_last_name(node)}"

    return found


def _learning_and_method(subject: Subject) -> Iterator[_Code]:
    yield from _learning_code(subject)
    yield from _method_code(subject)


def _outlets(subject: Subject) -> Iterator[str]:
    for code in _learning_code(subject):
        yield from (f"{code.at(call)}, {name}" for name, call in _calls(code) if name in _OUTLETS)


SOURCE_RULES = (
    Rule(
        id="coupled-loss",
        severity="refuse",
        why="a mean weighted by class, or one that leaves rows out, divides by what the whole batch weighs, so that a "
        "record's gradient depends on the others",
        fix='use reduction="none", with weights that depend on the row alone',
        find=_coupled_loss,
    ),
    Rule(
        id="batch-statistics",
        severity="refuse",
        why="normalisation over the batch makes every record's gradient depend on the other records",
        fix="use functional.group_norm or functional.layer_norm",
        find=_batch_statistics,
    ),
    Rule(
        id="kept-state",
        severity="refuse",
        why="state kept from one batch affects the gradients of the next, outside of clipping and noise",
        fix="keep it in a local variable",
        find=_kept_state,
    ),
    Rule(
        id="data-dependent-schedule",
        severity="refuse",
        why="a schedule that follows losses of private rows reveals them without noise",
        fix="fix learning rate, clip norm, noise and number of rounds in the plan",
        find=_names(lambda name: any(part in name.lower() for part in _SCHEDULES), _learning_and_method),
    ),
    Rule(
        id="low-precision-pass",
        severity="warn",
        why="rounding in half precision moves a record's contribution by more than the noise covers, so that training "
        "refuses it",
        fix="compute in the type of the parameters",
        find=_names(lambda name: name in _LOW_PRECISION, _learning_code),
    ),
    Rule(
        id="released-metrics",
        severity="warn",
        why="printed, logged or written training rows are released without noise",
        fix="leave it out; losses of training rows are private",
        find=_outlets,
    ),
    Rule(
        id="method-reads-data",
        severity="refuse",
        why="an algorithm or encoding that reads rows undoes clipping and noise: what it adds is not bounded",
        fix="let it look at gradients and updates alone",
        find=_names(lambda name: name in _DATA_READERS, _method_code),
    ),
)
