"""The peers' virtual environments."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """A framework that does the same works.

    Attributes:
        module: In this package; run by the peer's own Python.
        packages: What ``--setup`` installs.
        needs: The package that makes fedcore's own environment serve as well.
    """

    title: str
    module: str
    packages: tuple[str, ...]
    needs: str | None = None


PEERS = {
    "pfl": Peer(title="pfl 0.6", module="pfl_peer", packages=("pfl==0.6.*", "torch>=2.5")),
    "flower": Peer(
        title="Flower on Ray", module="flower_peer", packages=("flwr[simulation]==1.42.*", "torch>=2.5"), needs="ray"
    ),
}


def default_directory() -> Path:
    """In the user's cache directory."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fedcore-benchmarks"


def set_up(names: Sequence[str], directory: Path) -> None:
    """Make the environments that are absent; pip is asked as it is configured on this machine."""
    for name in names:
        python = python_of(name, directory)
        if python == Path(sys.executable):
            continue
        if not python.is_file():
            print(f"{PEERS[name].title}: {directory / name}", file=sys.stderr)
            venv.create(directory / name, with_pip=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *PEERS[name].packages], check=True)


def python_of(name: str, directory: Path) -> Path:
    """The peer's Python; fedcore's own where that has what it needs."""
    needs = PEERS[name].needs
    if needs is not None and find_spec(needs) is not None:
        return Path(sys.executable)
    return directory / name / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
