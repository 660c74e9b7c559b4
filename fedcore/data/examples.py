"""The data of one owner: columns of tensors with a common first dimension, and categorical attributes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.utils.data import Dataset

from fedcore.audit.tables.groups import UNKNOWN
from fedcore.errors import DataError

_ROWS_AT_ONCE = 4096

Batch: TypeAlias = Mapping[str, Tensor]
"""Some rows of the columns, by name; what a task's ``loss`` and ``predict`` receive."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attribute:
    """A categorical column with a declared vocabulary: a sensitive group, a hospital, a device.

    The vocabulary is declared, not read from the data, so that a client without a group still sends a
    zero for it, and codes mean the same everywhere.

    Attributes:
        codes: int64 tensor of shape ``(n,)``, each an index into `vocabulary`.
        vocabulary: The categories, always including ``unknown``.
    """

    codes: Tensor
    vocabulary: tuple[str, ...]

    @classmethod
    def from_values(cls, values: Iterable[Any], *, vocabulary: Sequence[str], name: str = "") -> Attribute:
        """Encode `values` (text, or ``None`` for unknown) by `vocabulary`; raises `DataError` for other values."""
        words = tuple(vocabulary) if UNKNOWN in vocabulary else (*vocabulary, UNKNOWN)
        index = {word: code for code, word in enumerate(words)}
        codes = [index.get(UNKNOWN if value is None else str(value), -1) for value in values]
        if -1 in codes:
            raise DataError(
                f"attribute {name!r} has a value at row {codes.index(-1)} outside its declared vocabulary; "
                f"expected one of {', '.join(words)}"
            )
        return cls(codes=torch.tensor(codes, dtype=torch.int64), vocabulary=words)

    def select(self, rows: Tensor | slice) -> Attribute:
        return Attribute(codes=self.codes[rows], vocabulary=self.vocabulary)


@dataclass(frozen=True, slots=True, kw_only=True)
class Examples:
    """Rows of training or evaluation data.

    Attributes:
        columns: Tensors whose first dimension is the number of rows. The ready-made task families read
            ``inputs`` and ``targets``.
        attributes: Categorical columns by name, for the audit or a partition. They never enter the model unless a
            task also makes them a column.

    Raises:
        DataError: A column is not a tensor, an attribute not an `Attribute`, or their lengths differ.
    """

    columns: Mapping[str, Tensor]
    attributes: Mapping[str, Attribute] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.columns:
            raise DataError("Examples need at least one column, and got none")
        for name, column in self.columns.items():
            if not isinstance(column, Tensor) or column.ndim == 0:
                raise DataError(
                    f"column {name!r} must be a tensor with a row for each example, and is {_kind(column)}; use "
                    "torch.as_tensor"
                )
        for name, attribute in self.attributes.items():
            if not isinstance(attribute, Attribute):
                raise DataError(
                    f"attribute {name!r} must be an Attribute, and is {_kind(attribute)}; use Attribute.from_values"
                )
        lengths = {name: len(column) for name, column in self.columns.items()}
        lengths |= {name: len(attribute.codes) for name, attribute in self.attributes.items()}
        if len(set(lengths.values())) != 1:
            found = ", ".join(f"{name} has {length}" for name, length in lengths.items())
            raise DataError(f"all columns and attributes must have the same number of rows; {found}")

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))

    @property
    def num_bytes(self) -> int:
        tensors = (*self.columns.values(), *(attribute.codes for attribute in self.attributes.values()))
        return sum(tensor.numel() * tensor.element_size() for tensor in tensors)

    @classmethod
    def joined(cls, parts: Sequence[Examples]) -> Examples:
        """The rows of all parts in order; all parts have the same columns and attributes."""
        first = parts[0]
        return cls(
            columns={name: torch.cat([part.columns[name] for part in parts]) for name in first.columns},
            attributes={
                name: replace(attribute, codes=torch.cat([part.attributes[name].codes for part in parts]))
                for name, attribute in first.attributes.items()
            },
        )

    def batch(self, rows: Tensor | slice) -> Batch:
        if isinstance(rows, Tensor) and rows.dtype == torch.int64:  # several times as fast as an index in brackets
            return {name: column.index_select(0, rows) for name, column in self.columns.items()}
        return {name: column[rows] for name, column in self.columns.items()}

    def select(self, rows: Tensor | slice) -> Examples:
        """The given rows with attributes; views for a slice."""
        return Examples(
            columns=self.batch(rows),
            attributes={name: attribute.select(rows) for name, attribute in self.attributes.items()},
        )

    def rows_as_bytes(self) -> Iterator[bytes]:
        """Each row's columns in the order of their names, without attributes."""
        columns = [column.reshape(len(self), math.prod(column.shape[1:])) for _, column in sorted(self.columns.items())]
        for start in range(0, len(self), _ROWS_AT_ONCE):
            parts = [column[start : start + _ROWS_AT_ONCE].cpu().contiguous().view(torch.uint8) for column in columns]
            yield from (row.tobytes() for row in torch.cat(parts, dim=1).numpy())

    def to(self, *, dtype: torch.dtype, device: torch.device) -> Examples:
        """The same examples on `device`, floating columns as `dtype`."""
        columns = {
            # In two steps: a device may not have the number type that the column has.
            name: (column.to(dtype) if column.is_floating_point() else column).to(device)
            for name, column in self.columns.items()
        }
        return Examples(columns=columns, attributes=self.attributes)

    def check_finite(self) -> None:
        """Refuse NaN and infinite numbers; the `DataError` names the column and number of rows, never a value."""
        for name, column in self.columns.items():
            if column.is_floating_point():
                bad = sum(_rows_not_finite(part) for part in torch.split(column, _ROWS_AT_ONCE))
                if bad:
                    raise DataError(
                        f"column {name!r} holds numbers that are not finite in {bad} of {len(self)} rows; "
                        "remove these rows, or fill in the missing values in load_data"
                    )
        for name, attribute in self.attributes.items():
            if len(attribute.codes) and not (
                int(attribute.codes.min()) >= 0 and int(attribute.codes.max()) < len(attribute.vocabulary)
            ):
                raise DataError(f"attribute {name!r} holds codes outside its vocabulary of {len(attribute.vocabulary)}")

    @classmethod
    def from_dataset(
        cls, dataset: Dataset[Any], *, vocabularies: Mapping[str, Sequence[str]] | None = None
    ) -> Examples:
        """Gather a map-style dataset whose items are ``(inputs, targets)`` pairs or dictionaries.

        Args:
            dataset: Anything with ``__len__`` and ``__getitem__``.
            vocabularies: Which keys of dictionary items are attributes, and their categories.
        """
        length = len(dataset)  # type: ignore[arg-type]
        if length == 0:
            raise DataError("the dataset that load_data returned has no rows")
        items = [_as_mapping(dataset[row]) for row in range(length)]
        vocabularies = vocabularies or {}
        columns = {
            name: torch.stack([torch.as_tensor(item[name]) for item in items])
            for name in items[0]
            if name not in vocabularies
        }
        attributes = {
            name: Attribute.from_values((item[name] for item in items), vocabulary=words, name=name)
            for name, words in vocabularies.items()
        }
        return cls(columns=columns, attributes=attributes)


def _kind(value: Any) -> str:
    return "a single number" if isinstance(value, Tensor) else f"of type {type(value).__name__}"


def _rows_not_finite(column: Tensor) -> int:
    return int((~torch.isfinite(column.flatten(1) if column.ndim > 1 else column[:, None])).any(1).sum())


def _as_mapping(item: Any) -> Mapping[str, Any]:
    if isinstance(item, Mapping):
        return item
    if isinstance(item, tuple | list) and len(item) == 2:
        return {"inputs": item[0], "targets": item[1]}
    raise DataError(
        f"items of a dataset must be (inputs, targets) pairs or dictionaries of tensors; found {type(item).__name__}"
    )
