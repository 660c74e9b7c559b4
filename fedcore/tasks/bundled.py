"""Tasks whose data is part of the installation."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fedcore.errors import DataError


def refuse_path(task: str, path: Path | None) -> None:
    """Refuse a path, which would not be read; raises `DataError`."""
    if path is not None:
        raise DataError(
            f"the task {task!r} brings its own rows and reads no file; a client's part of them is what fedcore split "
            f"writes, in a file that ends in .rows.safetensors; found {path.name}"
        )


def sklearn_table(name: str, *, separator: str | None = None) -> NDArray[np.float64]:
    """A table that scikit-learn carries, shape ``(rows, columns)``, as its loaders read it.

    They import pandas and scipy.stats, which takes longer than a short run.
    """
    package = find_spec("sklearn")
    if package is None or not package.submodule_search_locations:
        raise DataError(f"expected scikit-learn, which carries {name}, found none; pip install scikit-learn")
    return np.loadtxt(Path(package.submodule_search_locations[0], "datasets", "data", name), delimiter=separator)
