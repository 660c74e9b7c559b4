"""Who may import whom, and what nobody may: the rules of docs/architecture.md, read from the code."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.pages import ROOT, packaged_modules

_UPPER = {"fedcore_server", "fedcore_clients", "fedcore_simulations"}
_MAY_IMPORT = {
    "fedcore": set(),
    "fedcore_server": {"fedcore_server"},
    "fedcore_clients": {"fedcore_clients"},
    "fedcore_simulations": _UPPER,
}
_HOMES = {
    "flwr": {"fedcore/wire.py", "server/fedcore_server/flower_app.py", "clients/fedcore_clients/flower_app.py"},
    "opacus": {"clients/fedcore_clients/per_example.py"},
}
_UNSAFE_MODULES = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve"}
_UNSAFE_CALLS = {"eval", "exec", "torch.load", "yaml.load", "numpy.load", "np.load", "pandas.read_pickle"}

MODULES = packaged_modules()


def _name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def _imported(path: Path) -> Iterator[str]:
    """Full names of all modules that a file imports, wherever in it."""
    for node in ast.walk(_tree(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{_name(path)}:{node.lineno}: a relative import hides where it leads"
            yield f"{node.module}"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _package(path: Path) -> str:
    return next(part for part in path.relative_to(ROOT).parts if part in _MAY_IMPORT)


@pytest.mark.parametrize("path", MODULES, ids=_name)
def test_imports_between_the_packages_point_one_way(path: Path) -> None:
    upper = {name.split(".")[0] for name in _imported(path)} & _UPPER

    assert upper <= _MAY_IMPORT[_package(path)]


@pytest.mark.parametrize("path", MODULES, ids=_name)
def test_flower_and_opacus_are_met_in_their_named_places_only(path: Path) -> None:
    foreign = {name.split(".")[0] for name in _imported(path)} & set(_HOMES)

    assert all(_name(path) in _HOMES[library] for library in foreign), f"imports {', '.join(foreign)}"


@pytest.mark.parametrize("path", MODULES, ids=_name)
def test_nothing_that_may_run_code_from_data_is_used(path: Path) -> None:
    assert not {name.split(".")[0] for name in _imported(path)} & _UNSAFE_MODULES
    assert not {name for name in _imported(path) if name in _UNSAFE_CALLS}
    called = {ast.unparse(node.func) for node in ast.walk(_tree(path)) if isinstance(node, ast.Call)}

    assert not called & _UNSAFE_CALLS


def test_the_frame_of_the_command_imports_no_upper_package_and_no_torch() -> None:
    names = {name.split(".")[0] for name in _imported(ROOT / "fedcore/cli.py")}

    assert not names & (_UPPER | {"torch", "flwr", "opacus", "numpy"})
