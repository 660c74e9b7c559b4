"""The table behind every group metric, the only thing a client releases about its groups."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fedcore.audit.tables.counting import counted
from fedcore.errors import DataError

UNKNOWN = "unknown"
_VOCABULARY = ("attribute", "groups", "labels", "num_bins", "scored")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class GroupTable:
    """Counts per group x label x bin: the sufficient statistic of the audit of one attribute.

    Tables are values closed under ``+``: the sum of the clients' tables is the table of their pooled rows, so
    rates are formed from the sum ("sum first, divide last"; averaging clients' gaps can flip their sign).
    The vocabulary comes from the plan and is never inferred from rows: a client without a group sends zeros,
    not a shorter table.

    Attributes:
        groups: Declared vocabulary, with ``"unknown"`` among it.
        num_bins: Number of score bins if ``scored``, else the number of labels.
        scored: True: bin b holds rows with P(labels[1]) in [b, b + 1) / num_bins, and the last bin 1.0 too.
            False: bin b holds rows that were predicted as ``labels[b]``.
        counts: int64 of shape (groups, labels, bins), in rows; the table keeps a copy that cannot be written.
            With noise a count may be negative: cutting it off would make sums of counts too large.
        variance: Variance of the noise in every cell, in rows squared; 0 if the counts are exact.
        sampling: Weights of the rows, if sampled unequally; None in a run.

    Raises:
        DataError: The parts do not fit one another, or a count is not a whole number, or negative without noise.
    """

    attribute: str
    groups: tuple[str, ...]
    labels: tuple[str, ...]
    num_bins: int
    scored: bool
    counts: NDArray[np.int64]
    variance: float = 0.0
    sampling: Sampling | None = None

    def __post_init__(self) -> None:
        _check_vocabulary(self.attribute, self.groups, self.labels)
        _check_bins(self.attribute, self.labels, self.num_bins, self.scored)
        shape = (len(self.groups), len(self.labels), self.num_bins)
        if not 0.0 <= self.variance < math.inf:
            raise DataError(f"attribute {self.attribute!r}: the variance of the noise must be 0 or more, and finite")
        counts = _frozen_counts(self.attribute, self.counts, shape, noisy=self.variance > 0)
        object.__setattr__(self, "counts", counts)

    @classmethod
    def zeros(
        cls, *, attribute: str, groups: Sequence[str], labels: Sequence[str], num_bins: int, scored: bool
    ) -> Self:
        """Return the table without rows, the neutral element of ``+``."""
        counts = np.zeros((len(groups), len(labels), num_bins), dtype=np.int64)
        groups, labels = tuple(groups), tuple(labels)
        return cls(attribute=attribute, groups=groups, labels=labels, num_bins=num_bins, scored=scored, counts=counts)

    @classmethod
    def collect(
        cls,
        *,
        attribute: str,
        groups: Sequence[str],
        labels: Sequence[str],
        group_codes: ArrayLike,
        label_codes: ArrayLike,
        scores: ArrayLike | None = None,
        predictions: ArrayLike | None = None,
        num_bins: int | None = None,
        weights: ArrayLike | None = None,
    ) -> Self:
        """Count rows. Exactly one of ``scores`` and ``predictions`` is given.

        Args:
            groups: Declared vocabulary; ``group_codes`` are positions in it.
            labels: Class names; ``label_codes`` and ``predictions`` are positions in them.
            group_codes: Whole numbers of shape (rows,).
            label_codes: Whole numbers of shape (rows,).
            scores: P(labels[1]) in [0, 1], shape (rows,). A score equal to an edge belongs to the bin above
                it, in the precision of the scores, so that ``score >= threshold`` and the table agree.
            predictions: Predicted classes, whole numbers of shape (rows,).
            num_bins: Number of score bins; needed with ``scores``, and otherwise the number of labels.
            weights: How many rows each row stands for, whole numbers of 0 or more, shape (rows,); 1 each by
                default.

        Raises:
            DataError: A code is outside its vocabulary, a score is not finite or outside [0, 1], the arrays
                differ in length, not exactly one of scores and predictions is given, or weights are none.
        """
        if (scores is None) == (predictions is None):
            raise DataError(f"attribute {attribute!r}: give either scores or predictions, and not both")
        if scores is not None and num_bins is None:
            raise DataError(f"attribute {attribute!r}: scores need num_bins, the number of score bins")
        bins_expected = len(labels) if num_bins is None else num_bins
        scored = scores is not None
        empty = cls.zeros(attribute=attribute, groups=groups, labels=labels, num_bins=bins_expected, scored=scored)
        codes = (
            _codes(attribute, "group", group_codes, len(groups)),
            _codes(attribute, "label", label_codes, len(labels)),
            _codes(attribute, "predicted label", predictions, len(labels))
            if scores is None
            else _score_bins(attribute, scores, bins_expected),
        )
        if len({len(code) for code in codes}) > 1:
            found = ", ".join(str(len(code)) for code in codes)
            raise DataError(f"attribute {attribute!r}: groups, labels and outputs differ in length: {found} rows")
        cells = np.ravel_multi_index(codes, empty.counts.shape)
        counts = counted(cells, size=empty.counts.size, weights=weights).reshape(empty.counts.shape)
        return replace(empty, counts=counts)

    def __add__(self, other: GroupTable) -> GroupTable:
        if not isinstance(other, GroupTable):
            return NotImplemented
        if self.sampling is not None or other.sampling is not None:
            raise DataError(f"tables of attribute {self.attribute!r} with sampling weights cannot be added")
        for field, mine, theirs in zip(_VOCABULARY, self.vocabulary, other.vocabulary, strict=True):
            if mine != theirs:
                raise DataError(
                    f"tables of attribute {self.attribute!r} cannot be added: {field} is {mine!r} in one and "
                    f"{theirs!r} in the other; all clients must count with the plan's vocabulary"
                )
        return replace(self, counts=self.counts + other.counts, variance=self.variance + other.variance)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, GroupTable) and self.to_json() == other.to_json()

    __hash__ = None  # type: ignore[assignment]  # holds an array

    def whole(self) -> Self:
        """Return the table of all rows in one group, "unknown"."""
        one: dict[str, Any] = {"groups": (UNKNOWN,), "counts": self.counts.sum(axis=0, keepdims=True)}
        if self.sampling is not None:
            sums = (each.sum(axis=0, keepdims=True) for each in (self.sampling.weights, self.sampling.squares))
            one["sampling"] = Sampling(*sums)
        return replace(self, **one, variance=len(self.groups) * self.variance)

    @property
    def vocabulary(self) -> tuple[object, ...]:
        """Tables are added only if these are equal."""
        return tuple(getattr(self, field) for field in _VOCABULARY)

    @property
    def group_sizes(self) -> dict[str, int]:
        return dict(zip(self.groups, self.counts.sum(axis=(1, 2)).tolist(), strict=True))

    def to_json(self) -> dict[str, Any]:
        return parts_json(self)

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Self:
        """Read what ``to_json`` wrote; the content may come from outside and is checked in full.

        Raises:
            DataError: A key is missing or unknown, a part has another type, or the counts are refused.
        """
        types = {
            "attribute": str, "groups": list, "labels": list, "num_bins": int, "scored": bool, "counts": list,
            "variance": float,
        }  # fmt: skip
        check_parts("group table", content, types)
        return cls(**{**content, "groups": tuple(content["groups"]), "labels": tuple(content["labels"])})


@dataclass(frozen=True, slots=True, eq=False)
class Sampling:
    """Sums of sampling weights, and of their squares, in the cells of a table; float64, shape of the counts."""

    weights: NDArray[np.float64]
    squares: NDArray[np.float64]


def check_parts(name: str, content: Any, types: Mapping[str, type]) -> None:
    """Refuse content from outside that is not a table as JSON; ``name`` describes it in the error.

    Raises:
        DataError: A key is missing or unknown, or a part has another type.
    """
    if not isinstance(content, Mapping) or set(content) != set(types):
        raise DataError(f"a {name} has exactly the keys {', '.join(types)}")
    for key, kind in types.items():
        if type(found := content[key]) is not kind:
            raise DataError(f"{name}: {key} must be a {kind.__name__}, not a {type(found).__name__}")


def _check_vocabulary(attribute: str, groups: tuple[str, ...], labels: tuple[str, ...]) -> None:
    for kind, names in (("groups", groups), ("labels", labels)):
        if not all(isinstance(name, str) and name for name in names) or len(set(names)) != len(names):
            raise DataError(f"attribute {attribute!r}: {kind} must be different, non-empty names, not {names!r}")
    if UNKNOWN not in groups:
        raise DataError(f"attribute {attribute!r}: the groups {groups!r} must hold {UNKNOWN!r}")
    if len(labels) < 2:
        raise DataError(f"attribute {attribute!r}: two labels or more are needed, not {labels!r}")


def _check_bins(attribute: str, labels: tuple[str, ...], num_bins: int, scored: bool) -> None:
    if scored and (len(labels) != 2 or num_bins < 2):
        raise DataError(
            f"attribute {attribute!r}: scores need 2 labels and 2 bins or more, not {len(labels)} and {num_bins}"
        )
    if not scored and num_bins != len(labels):
        raise DataError(
            f"attribute {attribute!r}: without scores there is one bin for each of the {len(labels)} labels, "
            f"not {num_bins}"
        )


def shaped(name: str, found: ArrayLike, shape: tuple[int, ...]) -> NDArray[Any]:
    """Return an array; ``name`` describes it in the error.

    Raises:
        DataError: It has another shape.
    """
    try:
        array = np.asarray(found)
    except ValueError:  # lists of unequal length
        raise DataError(f"{name} must have the shape {shape}") from None
    if array.shape != shape:
        raise DataError(f"{name} must have the shape {shape}, not {array.shape}")
    return array


def frozen(array: NDArray[Any], kind: type) -> NDArray[Any]:
    """Return a copy that cannot be written."""
    copy: NDArray[Any] = array.astype(kind, copy=True)
    copy.setflags(write=False)
    return copy


def parts_json(table: Any) -> dict[str, Any]:
    """Return the parts of a table as plain values, without sampling weights."""
    parts = {field.name: getattr(table, field.name) for field in fields(table) if field.name != "sampling"}
    return {
        name: part.tolist() if isinstance(part, np.ndarray) else list(part) if isinstance(part, tuple) else part
        for name, part in parts.items()
    }


def _frozen_counts(attribute: str, counts: ArrayLike, shape: tuple[int, ...], *, noisy: bool) -> NDArray[np.int64]:
    array = shaped(f"attribute {attribute!r}: counts", counts, shape)
    if not np.can_cast(array.dtype, np.int64):
        raise DataError(f"attribute {attribute!r}: counts must be whole numbers, not {array.dtype}")
    if array.dtype == np.bool_ or (not noisy and (array < 0).any()):
        raise DataError(f"attribute {attribute!r}: counts must be whole numbers of 0 or more")
    return frozen(array, np.int64)


def _codes(attribute: str, kind: str, codes: ArrayLike | None, size: int) -> NDArray[np.int64]:
    array = np.asarray(codes)
    if array.ndim != 1 or (array.size and not np.issubdtype(array.dtype, np.integer)):
        raise DataError(
            f"attribute {attribute!r}: {kind} codes must be one row of whole numbers, "
            f"not {array.dtype} of shape {array.shape}"
        )
    outside = array[(array < 0) | (array >= size)]
    if outside.size:
        raise DataError(f"attribute {attribute!r}: {kind} code {outside[0]} is outside its vocabulary, 0 to {size - 1}")
    return array.astype(np.int64)


def _score_bins(attribute: str, scores: ArrayLike, num_bins: int) -> NDArray[np.int64]:
    array = np.asarray(scores)
    if not np.issubdtype(array.dtype, np.floating):
        array = array.astype(np.float64)
    if array.ndim != 1:
        raise DataError(f"attribute {attribute!r}: scores must be one row of numbers, not of shape {array.shape}")
    if not ((array >= 0) & (array <= 1)).all():  # false for NaN too
        raise DataError(f"attribute {attribute!r}: a score is not a number or outside [0, 1]; give probabilities")
    edges = (np.arange(1, num_bins) / num_bins).astype(array.dtype)
    return np.searchsorted(edges, array, side="right")
