"""Several attributes as one: ``sex*race`` with groups such as ``female & Black``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fedcore.audit.tables.groups import UNKNOWN
from fedcore.errors import DataError

ATTRIBUTE_MARK = "*"
GROUP_MARK = " & "


def cross(vocabularies: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    """Return the groups of a crossing: every combination of known values, and ``"unknown"`` last.

    Args:
        vocabularies: For each attribute, in the order of crossing, its declared groups with ``"unknown"``.

    Raises:
        DataError: Fewer than two attributes, one without ``"unknown"``, or a name with a separator.
    """
    _check(vocabularies)
    known = ([group for group in groups if group != UNKNOWN] for groups in vocabularies.values())
    return (*(GROUP_MARK.join(values) for values in product(*known)), UNKNOWN)


def crossed_codes(vocabularies: Mapping[str, Sequence[str]], codes: Mapping[str, ArrayLike]) -> NDArray[np.int64]:
    """Return each row's position in ``cross(vocabularies)``.

    A row of unknown group in one attribute is unknown in the crossing.

    Args:
        codes: For each attribute, whole numbers of shape (rows,): positions in its vocabulary.

    Raises:
        DataError: As ``cross``; or a code lies outside its vocabulary.
    """
    unknown = len(cross(vocabularies)) - 1
    position = np.full([len(groups) for groups in vocabularies.values()], unknown, dtype=np.int64)
    known = np.ix_(*([i for i, g in enumerate(groups) if g != UNKNOWN] for groups in vocabularies.values()))
    position[known] = np.arange(unknown).reshape(position[known].shape)
    rows = tuple(_inside(attribute, codes[attribute], len(groups)) for attribute, groups in vocabularies.items())
    return position[rows]


def parts(attribute: str, group: str) -> dict[str, str]:
    """Return the value of each crossed attribute in a group, ``{"sex": "female", "race": "Black"}``.

    An attribute without crossing is its own only part. Raises `DataError` if the number of parts does not fit.
    """
    attributes = attribute.split(ATTRIBUTE_MARK)
    if group == UNKNOWN:
        return dict.fromkeys(attributes, UNKNOWN)
    values = [group] if len(attributes) == 1 else group.split(GROUP_MARK)
    if len(values) != len(attributes):
        raise DataError(f"attribute {attribute!r} is a crossing by its name, but {group!r} is not a group of one")
    return dict(zip(attributes, values, strict=True))


def _check(vocabularies: Mapping[str, Sequence[str]]) -> None:
    if len(vocabularies) < 2:
        raise DataError(f"a crossing needs two attributes or more, not {list(vocabularies)!r}")
    for attribute, groups in vocabularies.items():
        if UNKNOWN not in groups:
            raise DataError(f"attribute {attribute!r}: the groups {tuple(groups)!r} must hold {UNKNOWN!r}")
        if ATTRIBUTE_MARK in attribute or any(GROUP_MARK in group for group in groups):
            raise DataError(
                f"attribute {attribute!r} cannot be crossed: its name holds {ATTRIBUTE_MARK!r} or a group "
                f"{GROUP_MARK!r}, which mark a crossing; rename it"
            )


def _inside(attribute: str, codes: ArrayLike, size: int) -> NDArray[np.int64]:
    array = np.asarray(codes)
    if array.size and not np.issubdtype(array.dtype, np.integer):
        raise DataError(f"attribute {attribute!r}: group codes must be whole numbers, not {array.dtype}")
    outside = array[(array < 0) | (array >= size)]
    if outside.size:
        raise DataError(f"attribute {attribute!r}: group code {outside[0]} is outside the vocabulary of {size}")
    return array.astype(np.int64)
