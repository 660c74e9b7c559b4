"""A run's encodings, applied to every vector that an algorithm sends."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from fedcore.aggregation.contract import Array, Context, Encoding
from fedcore.errors import PlanError
from fedcore.parameters import Tensors
from fedcore.seeding import torch_generator
from fedcore.segments import FLOATING, ITEM_BYTES, Form, Segment

_MOST_TIMES, _FEW_BYTES = 3, 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class _Stage:
    """One encoding of one vector: its place, and the declared array before it."""

    key: str
    encoding: Encoding
    before: Array
    beside: Mapping[str, Array]


class Codec:
    """Encodes the vectors that an algorithm sends, and decodes them; its numbers travel as they are.

    Raises:
        PlanError: An encoding follows one that leaves no floating-point values, or they make updates much larger.

    Attributes:
        form: Segments of a reply.
        kept: State that a client keeps for the encodings, by name.
    """

    def __init__(
        self, encodings: Sequence[Encoding], sends: Sequence[str], vector: Array, numbers: Sequence[str] = ()
    ) -> None:
        self._stages: dict[str, list[_Stage]] = {name: [] for name in numbers}
        segments = [Segment(name, vector.dtype, 1) for name in numbers]
        self.kept: dict[str, Array] = {}
        for name in sends:
            values, stages = vector, []
            for place, encoding in enumerate(encodings):
                kind, key = type(encoding).__name__, f"{name}/{place}"
                if values.dtype not in FLOATING:
                    raise PlanError(f"aggregation.encode: {kind} needs floating-point values, and finds {values.dtype}")
                after, beside = encoding.declare(values)
                if unknown := {array.dtype for array in (after, *beside.values())} - set(ITEM_BYTES):
                    raise PlanError(
                        f"aggregation.encode: {kind} makes {', '.join(sorted(unknown))}, which cannot travel"
                    )
                stages.append(_Stage(key=key, encoding=encoding, before=values, beside=beside))
                segments += [Segment(f"{key}.{each}", array.dtype, array.size) for each, array in beside.items()]
                self.kept |= {f"{key}.{each}": values for each in encoding.keeps}
                values = after
            self._stages[name] = stages
            segments.append(Segment(name, values.dtype, values.size))
        self.form = Form.of(segments)
        plain = Segment("", vector.dtype, vector.size).num_bytes * len(sends)
        if self.form.num_bytes > _MOST_TIMES * plain + _FEW_BYTES:
            raise PlanError(
                f"aggregation.encode: the encodings make updates larger, {self.form.num_bytes} bytes of {plain}"
            )

    def encode(
        self, sent: Tensors, kept: Tensors, *, client: str, round: int, seed: int
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """What travels, and what the client keeps for the next time."""
        travelling: dict[str, Tensor] = {}
        keeps: dict[str, Tensor] = {}
        for name, stages in self._stages.items():
            values = sent[name]
            for stage in stages:
                context = Context(client=client, round=round, uniform=_uniform(seed, stage.key, round, client))
                own = {each: kept[f"{stage.key}.{each}"] for each in stage.encoding.keeps}
                values, beside, new = stage.encoding.encode(values, own, context)
                travelling |= {f"{stage.key}.{each}": array for each, array in beside.items()}
                keeps |= {f"{stage.key}.{each}": array for each, array in new.items()}
            travelling[name] = values
        self.form.check(travelling)
        return travelling, keeps

    def decode(self, travelled: Tensors, *, rows: int | None = None) -> dict[str, Tensor]:
        """The vectors that were sent.

        Args:
            rows: Of each segment, where they are those of a block.

        Raises:
            LayoutError: The segments differ from the declared ones.
            DataError: They are not what an encoding makes.
        """
        self.form.check(travelled, rows=rows)
        vectors = {}
        for name, stages in self._stages.items():
            values = travelled[name]
            for stage in reversed(stages):
                beside = {each: travelled[f"{stage.key}.{each}"] for each in stage.beside}
                values = stage.encoding.decode(values, beside, stage.before)
            vectors[name] = values
        return vectors


def _uniform(seed: int, *stream: str | int) -> Callable[[Tensor], Tensor]:
    import torch

    def draw(like: Tensor) -> Tensor:
        return torch.rand(like.shape, generator=torch_generator(seed, "encoding", *stream), dtype=like.dtype)

    return draw
