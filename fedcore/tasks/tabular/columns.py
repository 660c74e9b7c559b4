"""What all owners of a table must agree on: the kinds of its columns, and the label's classes.

A column's description fixes how each of its cells becomes inputs of a model, whatever the other rows hold.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, ClassVar, Literal, TypeAlias

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator

from fedcore.audit.tables.groups import UNKNOWN

Scale: TypeAlias = Literal["linear", "log"]

NUM_KNOTS = 9
"""Points of a number's range that have an input each; a linear model then bends at seven of them."""


def _check_range(ends: tuple[float, float]) -> tuple[float, float]:
    if not ends[0] < ends[1]:
        raise ValueError(f"expected [low, high] with low < high, found [{ends[0]:g}, {ends[1]:g}]")
    return ends


def _check_bands(edges: tuple[float, ...]) -> tuple[float, ...]:
    if not all(first < second for first, second in pairwise(edges)):
        raise ValueError(f"expected rising edges, found {list(edges)}")
    return edges


def _check_words(words: tuple[str, ...]) -> tuple[str, ...]:
    if double := {word for word in words if words.count(word) > 1}:
        raise ValueError(f"{', '.join(map(repr, sorted(double)))} more than once")
    if not words or "" in words:
        raise ValueError("expected at least one, and no empty word; missing cells have an input of their own")
    return words


Range = Annotated[tuple[float, float], Field(strict=False), AfterValidator(_check_range)]
Bands = Annotated[tuple[float, ...], Field(strict=False), AfterValidator(_check_bands)]
Words = Annotated[tuple[str, ...], Field(strict=False), AfterValidator(_check_words)]


class _Part(BaseModel):
    """A part of a schema as its file spells it."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid", allow_inf_nan=False, validate_by_name=True)


class Numeric(_Part):
    """A column of numbers: an input for each of `NUM_KNOTS` points of its range, and one for a missing value.

    A value is shared by the two points next to it, in proportion to their nearness (a linear B-spline, de Boor
    1978), so that even a linear model can follow a curve, and every value weighs at most one.

    Attributes:
        range: The first point, also for all smaller values, and the last.
        scale: ``log`` spreads out the values near the first point, for columns with a long tail.
        bands: Rising edges between the groups of an audit; a value equal to an edge is in the group above.
        use: Whether it is an input; groups of an audit need not be.
    """

    kind: Literal["numeric"] = "numeric"
    name: str
    range: Range
    scale: Scale = "linear"
    bands: Bands = ()
    use: bool = True

    @property
    def width(self) -> int:
        return NUM_KNOTS + 1 if self.use else 0

    @property
    def groups(self) -> tuple[str, ...]:
        """Names of the bands, from the lowest; ``unknown`` last."""
        edges = [str(int(edge)) if edge.is_integer() else repr(edge) for edge in self.bands]
        if not edges:
            return ("any", UNKNOWN)
        inner = (f"{below} to {above}" for below, above in pairwise(edges))
        return (f"below {edges[0]}", *inner, f"{edges[-1]} and above", UNKNOWN)


class Categorical(_Part):
    """A column of words: an input for each declared category, one for any other word, one for none."""

    kind: Literal["categorical"] = "categorical"
    name: str
    categories: Words
    use: bool = True

    @property
    def width(self) -> int:
        return len(self.categories) + 2 if self.use else 0

    @property
    def groups(self) -> tuple[str, ...]:
        """The categories, and ``unknown`` for missing and undeclared words."""
        return _with_unknown(self.categories)


class Binary(_Part):
    """A column of two words, -1 and 1: two inputs, the word (0 for neither), and whether it is neither."""

    kind: Literal["binary"] = "binary"
    name: str
    categories: Words
    use: bool = True

    @property
    def width(self) -> int:
        return 2 if self.use else 0

    @property
    def groups(self) -> tuple[str, ...]:
        """The two categories, and ``unknown`` for missing and undeclared words."""
        return _with_unknown(self.categories)

    @field_validator("categories")
    @classmethod
    def _are_two(cls, words: tuple[str, ...]) -> tuple[str, ...]:
        if len(words) != 2:
            raise ValueError(f"expected two for kind binary, found {len(words)}")
        return words


class Ignored(_Part):
    """A column that is neither an input nor a group."""

    kind: Literal["ignored"] = "ignored"
    name: str
    use: ClassVar[bool] = False
    width: ClassVar[int] = 0
    groups: ClassVar[tuple[str, ...]] = ()


Column: TypeAlias = Numeric | Categorical | Binary | Ignored


class Label(_Part):
    """The column to predict.

    Attributes:
        classes: Its values; of two, the second is the positive one.
    """

    name: str = Field(alias="column")
    classes: Annotated[tuple[str, ...], Field(strict=False)]

    @field_validator("classes")
    @classmethod
    def _are_different(cls, classes: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(classes)) != len(classes) or len(classes) < 2:
            raise ValueError(f"expected a list of two or more different texts, found {list(classes)}")
        return classes


class Schema(_Part):
    """The columns of a table in the order of a model's inputs, and the label.

    Attributes:
        public: Whether its author declares that nothing in it was read off private rows.
    """

    columns: Annotated[tuple[Annotated[Column, Field(discriminator="kind")], ...], Field(strict=False)] = ()
    label: Label | None = None
    public: bool = False

    @field_validator("columns")
    @classmethod
    def _have_different_names(cls, columns: tuple[Column, ...]) -> tuple[Column, ...]:
        if len({column.name for column in columns}) != len(columns):
            raise ValueError("expected a different name for each column")
        return columns

    @property
    def width(self) -> int:
        return sum(column.width for column in self.columns)

    def column(self, name: str) -> Column | None:
        return next((column for column in self.columns if column.name == name), None)


def _with_unknown(categories: tuple[str, ...]) -> tuple[str, ...]:
    return categories if UNKNOWN in categories else (*categories, UNKNOWN)
