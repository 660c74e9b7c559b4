"""The one array of a message: named segments, declared by plan and algorithm on both sides.

Declarations in the message itself are not trusted.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fedcore.errors import LayoutError

if TYPE_CHECKING:
    from torch import Tensor

MODEL = "model"
"""The segment of a request that holds the model."""

FLOATING = ("float64", "float32", "bfloat16", "float16")
ITEM_BYTES = {
    "float64": 8, "float32": 4, "bfloat16": 2, "float16": 2, "int64": 8, "int32": 4, "int16": 2, "int8": 1, "uint8": 1,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Segment:
    """One vector: its name, number type and number of elements."""

    name: str
    dtype: str
    size: int

    @property
    def num_bytes(self) -> int:
        return self.size * ITEM_BYTES[self.dtype]


@dataclass(frozen=True, slots=True)
class Form:
    """The segments of one array, in order.

    Floating-point segments of one type travel as an array of it, others as bytes, the widest numbers first.
    """

    segments: tuple[Segment, ...]

    @classmethod
    def of(cls, segments: Iterable[Segment]) -> Form:
        """The form of segments in any order; equal number types keep theirs."""
        return cls(tuple(sorted(segments, key=lambda segment: -ITEM_BYTES[segment.dtype])))

    @property
    def dtype(self) -> str:
        kinds = {segment.dtype for segment in self.segments}
        return kinds.pop() if len(kinds) == 1 and kinds <= {"float32", "float64"} else "uint8"

    @property
    def num_bytes(self) -> int:
        return sum(segment.num_bytes for segment in self.segments)

    @property
    def size(self) -> int:
        return self.num_bytes // ITEM_BYTES[self.dtype]

    def times(self, rows: int) -> Form:
        """The form of a block: each segment with the elements of so many rows."""
        return Form(tuple(Segment(each.name, each.dtype, rows * each.size) for each in self.segments))

    def packed(self, values: Mapping[str, Tensor]) -> Tensor:
        """One array of all segments; a single segment is returned itself.

        Raises:
            LayoutError: The segments differ from the declared ones.
        """
        import torch

        self.check(values)
        if len(self.segments) == 1 and self.dtype != "uint8":
            return values[self.segments[0].name]
        parts = [values[segment.name].cpu().contiguous() for segment in self.segments]
        return torch.cat(parts if self.dtype != "uint8" else [part.view(torch.uint8) for part in parts])

    def unpacked(self, array: Tensor) -> dict[str, Tensor]:
        """Views of the segments; raises `LayoutError` if the array has another size or number type."""
        import torch

        if array.shape != (self.size,) or array.dtype != getattr(torch, self.dtype):
            found = f"{tuple(array.shape)} {array.dtype}"
            raise LayoutError(f"expected an array of {self.size} {self.dtype}, found {found}")
        if len(self.segments) == 1 and self.dtype != "uint8":
            return {self.segments[0].name: array}
        item, start, views = ITEM_BYTES[self.dtype], 0, {}
        for segment in self.segments:
            end = start + segment.num_bytes // item
            views[segment.name] = array[start:end].view(getattr(torch, segment.dtype))
            start = end
        return views

    def check(self, values: Mapping[str, Tensor], *, rows: int | None = None) -> None:
        """Refuse segments other than those declared; raises `LayoutError`, which names the first difference.

        Args:
            rows: Of each segment, where they are those of a block.
        """
        before = () if rows is None else (rows,)
        for segment in self.segments:
            found = values.get(segment.name)
            if found is None:
                raise LayoutError(f"segment {segment.name!r} is missing")
            kind = str(found.dtype).removeprefix("torch.")
            if kind != segment.dtype or found.shape != (*before, segment.size):
                raise LayoutError(
                    f"segment {segment.name!r}: expected {segment.size} {segment.dtype}, "
                    f"found {tuple(found.shape[len(before) :])} {kind}"
                )
        if extra := set(values) - {segment.name for segment in self.segments}:
            raise LayoutError(f"segments that were not declared: {', '.join(sorted(extra))}")
