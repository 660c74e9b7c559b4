"""One client's rows as a file: what ``fedcore split`` writes and a deployed client reads.

The format is safetensors: plain tensors and a JSON header, nothing that is executed.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from fedcore.errors import DataError
from fedcore.examples import Attribute, Examples
from fedcore.files import write_whole

SUFFIX = ".rows.safetensors"
_KEY = "fedcore-rows"


def is_client_file(path: Path) -> bool:
    """Whether a path is named as such a file."""
    return path.name.endswith(SUFFIX)


def save_client_file(path: Path, training: Examples, held_out: Examples | None) -> None:
    """Write a client's training and held-out rows.

    Raises:
        StorageError: The file cannot be written.
    """
    tensors = _tensors("training", training) | (_tensors("held-out", held_out) if held_out is not None else {})
    vocabularies = {name: list(attribute.vocabulary) for name, attribute in training.attributes.items()}
    write_whole(path, save(tensors, metadata={_KEY: json.dumps({"vocabularies": vocabularies})}))


def load_client_file(path: Path) -> tuple[Examples, Examples | None]:
    """Training and held-out rows; the latter may be absent.

    Raises:
        DataError: There is no such file, or it is not one that `save_client_file` wrote.
    """
    try:
        with safe_open(path, framework="pt") as file:
            header = json.loads((file.metadata() or {})[_KEY])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
        training = _examples("training", tensors, header["vocabularies"])
        held_out = _examples("held-out", tensors, header["vocabularies"])
    except FileNotFoundError:
        raise DataError(f"no file of rows at {path}") from None
    except (OSError, SafetensorError, KeyError, ValueError, TypeError) as error:
        raise DataError(f"{path} is no file of rows that fedcore split wrote, or it is damaged") from error
    if training is None:
        raise DataError(f"{path} holds no training rows")
    for rows in (training, held_out):
        if rows is not None:
            rows.check_finite()
    return training, held_out


def _tensors(part: str, rows: Examples) -> dict[str, Tensor]:
    columns = {f"{part}/column/{name}": column.contiguous() for name, column in rows.columns.items()}
    codes = {f"{part}/attribute/{name}": attribute.codes for name, attribute in rows.attributes.items()}
    return columns | codes


def _examples(part: str, tensors: dict[str, Tensor], vocabularies: dict[str, Any]) -> Examples | None:
    def named(kind: str) -> dict[str, Tensor]:
        prefix = f"{part}/{kind}/"
        return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}

    columns = named("column")
    if not columns:
        return None
    attributes = {
        name: Attribute(codes=codes, vocabulary=tuple(vocabularies[name])) for name, codes in named("attribute").items()
    }
    return Examples(columns=columns, attributes=attributes)
