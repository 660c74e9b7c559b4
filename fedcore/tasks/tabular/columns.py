"""What all owners of a table must agree on: the kinds of its columns, and the label's classes.

A column's description fixes how each of its cells becomes inputs of a model, whatever the other rows hold.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, TypeAlias

from fedcore.audit.tables.groups import UNKNOWN

Scale: TypeAlias = Literal["linear", "log"]

NUM_KNOTS = 9
"""Points of a number's range that have an input each; a linear model then bends at seven of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Numeric:
    """A column of numbers: an input for each of `NUM_KNOTS` points of its range, and one for a missing value.

    A value is shared by the two points next to it, in proportion to their nearness (a linear B-spline, de Boor
    1978), so that even a linear model follows a curve, and no value, however large, weighs more than one.

    Attributes:
        low: The first point; stands for all smaller values too.
        high: The last point; stands for all larger values too.
        scale: ``log`` spreads out the values near `low`, for columns with a long tail.
        bands: Edges between the groups of an audit, rising; a value equal to an edge lies above it.
        use: Whether it is an input at all; groups of an audit need none.
    """

    name: str
    low: float
    high: float
    scale: Scale = "linear"
    bands: tuple[float, ...] = ()
    use: bool = True

    @property
    def width(self) -> int:
        """Number of inputs."""
        return NUM_KNOTS + 1 if self.use else 0

    @property
    def groups(self) -> tuple[str, ...]:
        """Names of the bands, from the lowest; ``unknown`` last."""
        edges = [str(int(edge)) if edge.is_integer() else repr(edge) for edge in self.bands]
        if not edges:
            return ("any", UNKNOWN)
        inner = (f"{below} to {above}" for below, above in pairwise(edges))
        return (f"below {edges[0]}", *inner, f"{edges[-1]} and above", UNKNOWN)

    def problems(self) -> Iterator[str]:
        """What is wrong with the description."""
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low < self.high):
            yield f"range: expected [low, high] with low < high, found [{self.low:g}, {self.high:g}]"
        if not all(first < second for first, second in pairwise((-math.inf, *self.bands, math.inf))):
            yield f"bands: expected rising edges, found {list(self.bands)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Categorical:
    """A column of words: an input for each category, one for any other word, one for none.

    Attributes:
        categories: The declared words.
    """

    name: str
    categories: tuple[str, ...]
    use: bool = True

    @property
    def width(self) -> int:
        """Number of inputs."""
        return len(self.categories) + 2 if self.use else 0

    @property
    def groups(self) -> tuple[str, ...]:
        """The categories, and ``unknown`` for missing and undeclared words."""
        return _with_unknown(self.categories)

    def problems(self) -> Iterator[str]:
        """What is wrong with the description."""
        yield from _word_problems(self.categories)
        if not self.categories:
            yield "categories: expected at least one"


@dataclass(frozen=True, slots=True, kw_only=True)
class Binary:
    """A column of two words: two inputs, -1 or 1 (0 for neither), and whether it is neither.

    Attributes:
        categories: The words that become -1 and 1.
    """

    name: str
    categories: tuple[str, ...]
    use: bool = True

    @property
    def width(self) -> int:
        """Number of inputs."""
        return 2 if self.use else 0

    @property
    def groups(self) -> tuple[str, ...]:
        """The two categories, and ``unknown`` for missing and undeclared words."""
        return _with_unknown(self.categories)

    def problems(self) -> Iterator[str]:
        """What is wrong with the description."""
        yield from _word_problems(self.categories)
        if len(self.categories) != 2:
            yield f"categories: expected two for kind binary, found {len(self.categories)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ignored:
    """A column that is neither an input nor a group."""

    name: str
    use: bool = False
    width: int = 0
    groups: tuple[str, ...] = ()

    def problems(self) -> Iterator[str]:
        """Nothing can be wrong."""
        yield from ()


Column: TypeAlias = Numeric | Categorical | Binary | Ignored


@dataclass(frozen=True, slots=True, kw_only=True)
class Label:
    """The column to predict.

    Attributes:
        classes: Its values; of two, the second is the positive one.
    """

    name: str
    classes: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Schema:
    """The columns of a table in the order of a model's inputs, and the label.

    Attributes:
        public: Whether its author declares that nothing in it was read off private rows.
    """

    columns: tuple[Column, ...]
    label: Label | None
    public: bool = False

    @property
    def width(self) -> int:
        """Number of inputs."""
        return sum(column.width for column in self.columns)

    def column(self, name: str) -> Column | None:
        """The column of this name."""
        return next((column for column in self.columns if column.name == name), None)


def _with_unknown(categories: tuple[str, ...]) -> tuple[str, ...]:
    return categories if UNKNOWN in categories else (*categories, UNKNOWN)


def _word_problems(categories: tuple[str, ...]) -> Iterator[str]:
    double = {word for word in categories if categories.count(word) > 1}
    if double:
        yield f"categories: {', '.join(map(repr, sorted(double)))} more than once"
    if "" in categories:
        yield "categories: an empty word; missing cells have an input of their own"
