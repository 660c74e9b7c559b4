"""Who may import whom, and what nobody may: the rules of docs/architecture.md, read from the code."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from tests.docs.pages import ROOT, packaged_modules

_UPPER = {"fedcore_server", "fedcore_clients", "fedcore_simulations"}
_MAY_IMPORT: dict[str, set[str]] = {
    "fedcore": set(),
    "fedcore_server": {"fedcore_server"},
    "fedcore_clients": {"fedcore_clients"},
    "fedcore_simulations": _UPPER,
}
_FLOWER_AT_THE_SERVER = ("superlink/", "correspondence.py", "flower_app.py", "grid_federation.py", "runs/process.py")
_FLOWER_AT_A_CLIENT = (
    "admission.py",
    "agent.py",
    "app_process.py",
    "egress.py",
    "fleet.py",
    "flower_app.py",
    "guard.py",
    "ledger/outbox.py",
)
_HOMES = {
    "flwr": (
        "fedcore/wire/",
        "fedcore/wire/objects/",
        *(f"server/fedcore_server/{name}" for name in _FLOWER_AT_THE_SERVER),
        *(f"clients/fedcore_clients/{name}" for name in _FLOWER_AT_A_CLIENT),
    ),
    "opacus": ("clients/fedcore_clients/training/dp/per_example.py",),
}
_UNSAFE_MODULES = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve"}
_UNSAFE_CALLS = {"eval", "exec", "torch.load", "yaml.load", "numpy.load", "np.load", "pandas.read_pickle"}

MODULES = packaged_modules()


def test_imports_between_the_packages_point_one_way() -> None:
    wrong = [
        f"{_name(path)}:{line} imports {name}"
        for path in MODULES
        for name, line in _imported(path)
        if _top(name) in _UPPER - _MAY_IMPORT[_package(path)]
    ]

    assert wrong == []


def test_flower_and_opacus_are_met_in_their_named_places_only() -> None:
    wrong = [
        f"{_name(path)}:{line} imports {name}"
        for path in MODULES
        for name, line in _imported(path)
        if not _name(path).startswith(_HOMES.get(_top(name), ""))
    ]

    assert wrong == []


def test_nothing_that_may_run_code_from_data_is_used() -> None:
    wrong = [
        f"{_name(path)}:{line} uses {name}"
        for path in MODULES
        for name, line in (*_imported(path), *_called(path))
        if name in _UNSAFE_CALLS or _top(name) in _UNSAFE_MODULES
    ]

    assert wrong == []


def test_the_frame_of_the_command_imports_no_upper_package_and_nothing_that_costs_seconds() -> None:
    names = {_top(name) for name, _ in _imported(ROOT / "fedcore/cli.py")}

    assert not names & (_UPPER | {"torch", "flwr", "opacus", "numpy", "pandas", "sklearn"})


def test_no_import_is_relative() -> None:
    wrong = [
        f"{_name(path)}:{node.lineno}"
        for path in MODULES
        for node in ast.walk(_tree(path))
        if isinstance(node, ast.ImportFrom) and node.level
    ]

    assert wrong == []


@cache
def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def _imported(path: Path) -> Iterator[tuple[str, int]]:
    """Full names of all that a file imports, wherever in it, with the line."""
    for node in ast.walk(_tree(path)):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield f"{node.module}", node.lineno
            yield from ((f"{node.module}.{alias.name}", node.lineno) for alias in node.names)


def _called(path: Path) -> Iterator[tuple[str, int]]:
    """Every function called by name, as written, with the line."""
    for node in ast.walk(_tree(path)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name | ast.Attribute):
            yield ast.unparse(node.func), node.lineno


def _name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def _package(path: Path) -> str:
    return next(part for part in path.relative_to(ROOT).parts if part in _MAY_IMPORT)


def _top(name: str) -> str:
    return name.partition(".")[0]
