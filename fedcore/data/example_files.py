"""One client's rows as a file: ``fedcore split`` writes it and a deployed client reads it.

The format is safetensors: plain tensors and a JSON header, without executable code.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from fedcore.audit.tables.groups import UNKNOWN
from fedcore.data.examples import Attribute, Examples
from fedcore.errors import DataError
from fedcore.storage.files import write_whole

SUFFIX = ".rows.safetensors"
_KEY = "fedcore-rows"
_TRAINING, _HELD_OUT = "training", "held-out"


def is_client_file(path: Path) -> bool:
    return path.name.endswith(SUFFIX)


def save_client_file(path: Path, training: Examples, held_out: Examples | None) -> None:
    """Write a client's training and held-out rows.

    Raises:
        DataError: The rows have numbers that are not finite.
        StorageError: The file cannot be written.
    """
    tensors = _tensors(_TRAINING, training) | (_tensors(_HELD_OUT, held_out) if held_out is not None else {})
    vocabularies = {name: list(attribute.vocabulary) for name, attribute in training.attributes.items()}
    header = json.dumps({"columns": list(training.columns), "vocabularies": vocabularies})
    write_whole(path, save(tensors, metadata={_KEY: header}))


def load_client_file(path: Path) -> tuple[Examples, Examples | None]:
    """Training and held-out rows, None if absent; raises `DataError` unless `save_client_file` wrote the file."""
    try:
        with safe_open(path, framework="pt") as file:
            columns, vocabularies = _header((file.metadata() or {})[_KEY])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
        training = _examples(_TRAINING, tensors, columns, vocabularies)
        held_out = None
        if any(name.startswith(f"{_HELD_OUT}/") for name in tensors):
            held_out = _examples(_HELD_OUT, tensors, columns, vocabularies)
            _check_alike(training, held_out)
    except FileNotFoundError:
        raise DataError(f"no file of rows at {path}") from None
    except (OSError, SafetensorError, KeyError, ValueError, TypeError, RecursionError) as error:
        raise DataError(f"{path} is not a file of rows from fedcore split, or it is damaged") from error
    return training, held_out


def _tensors(part: str, rows: Examples) -> dict[str, Tensor]:
    rows.check_finite()
    columns = {f"{part}/column/{name}": _of_its_own(column) for name, column in rows.columns.items()}
    codes = {f"{part}/attribute/{name}": _of_its_own(each.codes) for name, each in rows.attributes.items()}
    return columns | codes


def _of_its_own(column: Tensor) -> Tensor:
    """A copy, since two columns may be views of the same numbers, which safetensors refuses to write."""
    return column.detach().to("cpu").clone(memory_format=torch.contiguous_format)


def _header(text: str) -> tuple[list[str], dict[str, tuple[str, ...]]]:
    """Names of the columns, and the vocabulary of each attribute, in their order."""
    header = json.loads(text)
    columns, vocabularies = _words(header["columns"]), header["vocabularies"]
    if not isinstance(vocabularies, dict):
        raise TypeError("expected vocabularies by attribute")
    return columns, {name: tuple(_words(words)) for name, words in vocabularies.items()}


def _words(value: Any) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(word, str) for word in value) or len(set(value)) != len(value):
        raise TypeError("expected a list of different texts")
    return value


def _examples(
    part: str, tensors: Mapping[str, Tensor], columns: list[str], vocabularies: Mapping[str, tuple[str, ...]]
) -> Examples:
    attributes = {
        name: Attribute(codes=_codes(tensors[f"{part}/attribute/{name}"]), vocabulary=_complete(vocabulary))
        for name, vocabulary in vocabularies.items()
    }
    rows = Examples(columns={name: tensors[f"{part}/column/{name}"] for name in columns}, attributes=attributes)
    if len(rows) == 0:
        raise DataError(f"a file of rows holds no {part} rows; write it again with fedcore split")
    rows.check_finite()
    return rows


def _codes(codes: Tensor) -> Tensor:
    if codes.dtype != torch.int64 or codes.ndim != 1:
        raise TypeError("expected whole numbers as codes")
    return codes


def _complete(vocabulary: tuple[str, ...]) -> tuple[str, ...]:
    if UNKNOWN not in vocabulary:
        raise ValueError("expected a vocabulary with a word for unknown values")
    return vocabulary


def _check_alike(training: Examples, held_out: Examples) -> None:
    for name, column in training.columns.items():
        other = held_out.columns[name]
        if (other.dtype, other.shape[1:]) != (column.dtype, column.shape[1:]):
            raise ValueError("expected held-out rows of the same kind as training rows")
