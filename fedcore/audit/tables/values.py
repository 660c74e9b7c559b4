"""The table of a numeric target: sums of errors by group, and counts of predictions."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fedcore.audit.tables.counting import counted
from fedcore.audit.tables.error_sums import SUMS, possible, summands
from fedcore.audit.tables.groups import UNKNOWN, GroupTable, check_parts, frozen, parts_json, shaped
from fedcore.errors import DataError


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ValueTable:
    """Sums per group of targets and predictions, closed under ``+``: sum first, divide last.

    The plan declares a range. Values beyond it, targets or predictions, are moved to its ends, so that every row adds
    at most 1 to every sum; such rows are counted, not refused: a refusal would reveal single rows to those who choose
    the range. In units of the range's width, from its lower end, the target t is in [0, 1] and the error
    e = prediction - target in [-1, 1].

    Attributes:
        groups: Declared vocabulary, including ``"unknown"``.
        num_bins: Equal bins over the range, in which predictions are counted.
        counts: Predictions in each bin, int64 of shape (groups, bins).
        moved: Rows with a moved value, int64 of shape (groups,).
        sums: Of each of ``SUMS``, float64 of shape (groups, sums).

    Raises:
        DataError: The parts do not fit one another, or the sums are impossible.
    """

    attribute: str
    groups: tuple[str, ...]
    low: float
    high: float
    num_bins: int
    counts: NDArray[np.int64]
    moved: NDArray[np.int64]
    sums: NDArray[np.float64]

    def __post_init__(self) -> None:
        if UNKNOWN not in self.groups or len(set(self.groups)) < len(self.groups):
            raise DataError(f"attribute {self.attribute!r}: the groups must be different, and {UNKNOWN!r} among them")
        if not -math.inf < self.low < self.high < math.inf:
            raise DataError(f"attribute {self.attribute!r}: the range of targets must be two rising, finite numbers")
        if self.num_bins < 2:
            raise DataError(f"attribute {self.attribute!r}: predictions need 2 bins or more, not {self.num_bins}")
        shapes = {"counts": (len(self.groups), self.num_bins), "moved": (len(self.groups),),
                  "sums": (len(self.groups), len(SUMS))}  # fmt: skip
        for name, shape in shapes.items():
            kind = np.float64 if name == "sums" else np.int64
            object.__setattr__(
                self, name, _frozen(f"attribute {self.attribute!r}: {name}", getattr(self, name), shape, kind)
            )
        _check_sums(self)

    @classmethod
    def zeros(cls, *, attribute: str, groups: Sequence[str], span: tuple[float, float], num_bins: int) -> Self:
        """Return the table without rows, the neutral element of ``+``."""
        return cls(
            attribute=attribute,
            groups=tuple(groups),
            low=float(span[0]),
            high=float(span[1]),
            num_bins=num_bins,
            counts=np.zeros((len(groups), num_bins), dtype=np.int64),
            moved=np.zeros(len(groups), dtype=np.int64),
            sums=np.zeros((len(groups), len(SUMS))),
        )

    def collected(
        self, group_codes: ArrayLike, targets: ArrayLike, predictions: ArrayLike, *, weights: ArrayLike | None = None
    ) -> Self:
        """Return the table of these rows, with this one's vocabulary and range.

        Args:
            group_codes: Positions in the vocabulary, shape (rows,).
            targets: Finite, shape (rows,).
            predictions: Finite, shape (rows,).
            weights: How many rows each row stands for, whole numbers of 0 or more; 1 each by default.

        Raises:
            DataError: A target or a prediction is not finite, a code outside the vocabulary, or the arrays differ in
                length.
        """
        codes = np.asarray(group_codes)
        truth, predicted = np.asarray(targets, dtype=np.float64), np.asarray(predictions, dtype=np.float64)
        if not codes.shape == truth.shape == predicted.shape or codes.ndim != 1:
            raise DataError(f"attribute {self.attribute!r}: groups, targets and predictions differ in length")
        if codes.size and not 0 <= codes.min() <= codes.max() < len(self.groups):
            raise DataError(f"attribute {self.attribute!r}: a group code is outside its vocabulary")
        if not (np.isfinite(truth).all() and np.isfinite(predicted).all()):
            raise DataError(f"attribute {self.attribute!r}: a target or a prediction is not a finite number")
        rows = np.ones(len(codes), dtype=np.int64) if weights is None else np.asarray(weights)
        target, within = np.clip(truth, self.low, self.high), np.clip(predicted, self.low, self.high)
        beyond = (target != truth) | (within != predicted)
        groups, width = len(self.groups), self.high - self.low
        place = np.clip(((within - self.low) / width * self.num_bins).astype(np.int64), 0, self.num_bins - 1)
        counts = counted(codes * self.num_bins + place, size=groups * self.num_bins, weights=rows)
        parts = summands((target - self.low) / width, (within - target) / width)
        sums = [np.bincount(codes, weights=rows * part, minlength=groups) for part in parts]
        return replace(
            self,
            counts=counts.reshape(groups, self.num_bins),
            moved=counted(codes[beyond], size=groups, weights=rows[beyond]),
            sums=np.stack(sums, axis=1),
        )

    def __add__(self, other: ValueTable) -> ValueTable:
        if not isinstance(other, ValueTable):
            return NotImplemented
        if self.vocabulary != other.vocabulary:
            raise DataError(
                f"tables of attribute {self.attribute!r} cannot be added: groups, range or bins differ; all clients "
                "must count with the plan's"
            )
        return replace(
            self, counts=self.counts + other.counts, moved=self.moved + other.moved, sums=self.sums + other.sums
        )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ValueTable) and self.to_json() == other.to_json()

    __hash__ = None  # type: ignore[assignment]  # holds arrays

    def whole(self) -> Self:
        """Return the table of all rows in one group, "unknown"."""
        sums = {name: getattr(self, name).sum(axis=0, keepdims=True) for name in ("counts", "moved", "sums")}
        return replace(self, groups=(UNKNOWN,), **sums)

    @property
    def variance(self) -> float:
        """Variance of the noise in the counts: none."""
        return 0.0

    @property
    def vocabulary(self) -> tuple[object, ...]:
        """Tables are added only if these are equal."""
        return self.attribute, self.groups, self.low, self.high, self.num_bins

    @property
    def group_sizes(self) -> dict[str, int]:
        return dict(zip(self.groups, self.counts.sum(axis=1).tolist(), strict=True))

    def to_json(self) -> dict[str, Any]:
        return parts_json(self)

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Self:
        """Read what ``to_json`` wrote; the content may come from outside and is checked in full.

        Raises:
            DataError: A key is missing or unknown, a part has another type, or the sums are refused.
        """
        types = {
            "attribute": str, "groups": list, "low": float, "high": float, "num_bins": int, "counts": list,
            "moved": list, "sums": list,
        }  # fmt: skip
        check_parts("table of values", content, types)
        if not all(isinstance(group, str) for group in content["groups"]):
            raise DataError("table of values: groups must be names")
        return cls(**{**content, "groups": tuple(content["groups"])})


AuditTable = GroupTable | ValueTable
"""A client's table of an attribute's groups: of labels, or of numbers."""


def read_table(content: Any) -> AuditTable:
    """Read what ``to_json`` of either table wrote; raises `DataError` for anything else."""
    if isinstance(content, Mapping) and "sums" in content:
        return ValueTable.from_json(content)
    return GroupTable.from_json(content)


def pooled(one: AuditTable, other: AuditTable) -> AuditTable:
    if isinstance(one, GroupTable) and isinstance(other, GroupTable):
        return one + other
    if isinstance(one, ValueTable) and isinstance(other, ValueTable):
        return one + other
    raise DataError(f"tables of attribute {one.attribute!r} cannot be added: one is of labels, the other of numbers")


def _frozen(name: str, found: ArrayLike, shape: tuple[int, ...], kind: type) -> NDArray[Any]:
    array = shaped(name, found, shape)
    if array.dtype == np.bool_ or not np.can_cast(array.dtype, kind) or not np.isfinite(array).all():
        raise DataError(f"{name} must be finite numbers of type {kind.__name__}")
    return frozen(array, kind)


def _check_sums(table: ValueTable) -> None:
    n = table.counts.sum(axis=1)
    impossible = (table.counts < 0).any() or (table.moved < 0).any() or (table.moved > n).any()
    if impossible or not all(possible(int(rows), sums) for rows, sums in zip(n, table.sums, strict=True)):
        raise DataError(f"attribute {table.attribute!r}: no rows have such counts and sums")
