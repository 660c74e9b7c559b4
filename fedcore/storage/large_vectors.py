"""Vectors as large as the model, processed in slices.

A server that holds the model, a sum in float64 and an update at once needs four times the model's size, and
more for every expression over them. Here large temporary vectors are in a file without a name, read
in slices, and released after each. Small vectors are ordinary memory.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from fedcore.storage.mapped_bytes import SLICE_BYTES, let_go, scratch_bytes

_CACHED = 2**17
"""Numbers whose float64 copy stays in a core's cache: a conversion costs no way through memory."""
_DEVICE_BYTES = 2**28


def scratch(size: int, dtype: torch.dtype) -> Tensor:
    """Zeros of shape ``(size,)`` on the CPU."""
    return over(scratch_bytes(size * dtype.itemsize), dtype) if size else torch.zeros(0, dtype=dtype)


def put_aside(vector: Tensor) -> Tensor:
    """A copy in scratch memory, for vectors that are kept between rounds and read in slices."""
    aside = scratch(len(vector), vector.dtype)
    for kept, given in slices(aside, vector):
        kept.copy_(given)
    return aside


def over(data: memoryview | bytes, dtype: torch.dtype) -> Tensor:
    """A tensor over existing memory, which must not be written if read-only."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of memory that may only be read
        tensor = torch.frombuffer(data, dtype=dtype)
    tensor.fedcore_memory = data  # type: ignore[attr-defined]
    return tensor


def memory_of(vector: Tensor) -> memoryview:
    """The bytes of a vector without copying, or the object that `over` was given."""
    given = getattr(vector, "fedcore_memory", None)
    if given is not None and len(given) == len(vector) * vector.dtype.itemsize:
        return memoryview(given)
    return memoryview(vector.detach().cpu().contiguous().numpy()).cast("B")  # type: ignore[arg-type]


def slices(*vectors: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """Equal slices of vectors of one length, in order; pages of a file are released after each."""
    step = SLICE_BYTES // max(vector.dtype.itemsize for vector in vectors)
    for start in range(0, len(vectors[0]), step):
        yield tuple(vector[start : start + step] for vector in vectors)
        let_go_of(*vectors)


def cached_slices(*vectors: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """As `slices`, of a size that may be converted to float64 without leaving the cache."""
    for parts in slices(*vectors):
        yield from zip(*(torch.split(part, _CACHED) for part in parts), strict=True)


def let_go_of(*vectors: Tensor) -> None:
    """Release the memory pages of vectors in files; they are read again on use."""
    for vector in vectors:
        owner = vector if vector._base is None else vector._base
        let_go(getattr(owner, "fedcore_memory", None))


def is_finite(vector: Tensor) -> bool:
    return all(bool(torch.isfinite(part).all()) for (part,) in slices(vector))


def norm(vector: Tensor) -> float:
    """Euclidean norm, summed in float64."""
    parts = (part.to(torch.float64) for (part,) in cached_slices(vector))
    return math.hypot(*(float(torch.linalg.vector_norm(part)) for part in parts))


def norms(rows: Tensor) -> list[float]:
    """The norm of each row of shape ``(k, d)``, summed in float64; several small ones at once."""
    if rows.device.type != "cpu":
        return [*torch.linalg.vector_norm(rows, dim=1, dtype=torch.float64).tolist()]
    if len(rows) == 1 or rows.numel() * 8 > SLICE_BYTES:
        return [norm(row) for row in rows]
    found: list[float] = torch.linalg.vector_norm(rows, dim=1, dtype=torch.float64).tolist()
    return found


def rough_norms(rows: Tensor) -> list[float]:
    """As `norms`, summed in the rows' own type where that is faster: for distant limits, never for clipping."""
    if len(rows) == 1 or rows.device.type != "cpu" or rows.numel() * 8 > SLICE_BYTES:
        return norms(rows)
    return [*torch.linalg.vector_norm(rows, dim=1).tolist()]


def add_rows(total: Tensor, rows: Tensor, factors: Tensor) -> None:
    """Add the rows of shape ``(k, d)``, each times its factor, to a sum in float64; several small ones at once."""
    if rows.device.type != "cpu":  # summed there, and brought in one copy
        there = factors.to(rows.device)
        columns = torch.split(rows, max(1, _DEVICE_BYTES // (8 * len(rows))), dim=1)
        total.add_(torch.cat([there @ part.to(torch.float64) for part in columns]).cpu())
        return
    if len(rows) > 1 and rows.numel() * 8 <= SLICE_BYTES:
        at_once = max(1, _CACHED // rows.shape[1])
        for start in range(0, len(rows), at_once):
            some = slice(start, start + at_once)
            total.addmv_(rows[some].to(torch.float64).T, factors[some])
        return
    weights = factors.tolist()
    for part, *values in cached_slices(total, *rows):
        for row, weight in zip(values, weights, strict=True):
            part.add_(row, alpha=weight)


def rows_of(rows: Tensor, which: Sequence[int]) -> Tensor:
    """Some rows, on the device that they are on."""
    return rows.index_select(0, torch.tensor(which, dtype=torch.int64).to(rows.device))


def difference(after: Tensor, before: Tensor) -> Tensor:
    """``after - before``; of single vectors in scratch memory, slice by slice."""
    if after.dim() != 1 or after.device.type != "cpu":
        return after - before
    found = scratch(len(after), after.dtype)
    for new, one, other in slices(found, after, before):
        torch.sub(one, other, out=new)
    return found
