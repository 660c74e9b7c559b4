"""The tests that every rule and every encoding must pass; subclass them in a test module of your own."""

from __future__ import annotations

import torch
from torch import Tensor

from fedcore.aggregation.codec import Codec
from fedcore.aggregation.contract import Array, Block, Context, Encoding, Rule
from fedcore.aggregation.norm_clip import NormClip
from fedcore.errors import DataError, LayoutError

_SIZE = 40
_VECTOR = Array(dtype="float64", size=_SIZE)


class RuleContract:
    """Set `make_rule`; `num_updates` is a number of updates that the rule can combine."""

    num_updates = 8

    def make_rule(self) -> Rule:
        """A new rule."""
        raise NotImplementedError

    def test_of_equal_updates_it_makes_that_update(self) -> None:
        update = _random(0)
        combined = self._combined([update] * self.num_updates)
        torch.testing.assert_close(combined, update)

    def test_updates_in_one_block_give_what_they_give_one_by_one(self) -> None:
        updates = [_random(number) for number in range(self.num_updates)]
        one_by_one = self._combined(updates)
        combination = self.make_rule().begin({"update": _SIZE}, {})
        combination.add(_block(*updates))
        torch.testing.assert_close(combination.finish()[0]["update"], one_by_one)

    def test_memory_of_updates_may_be_used_again(self) -> None:
        combination, slot = self.make_rule().begin({"update": _SIZE}, {}), torch.zeros(_SIZE, dtype=torch.float64)
        updates = [_random(number) for number in range(self.num_updates)]
        for update in updates:
            slot.copy_(update)
            combination.add(_block(slot))
        torch.testing.assert_close(combination.finish()[0]["update"], self._combined(updates))

    def test_without_updates_it_makes_zeros(self) -> None:
        combined, _ = self.make_rule().begin({"update": _SIZE}, {}).finish()
        assert combined["update"].dtype == torch.float64
        assert combined["update"].tolist() == [0.0] * _SIZE

    def _combined(self, updates: list[Tensor]) -> Tensor:
        combination = self.make_rule().begin({"update": _SIZE}, {})
        for update in updates:
            combination.add(_block(update))
        return combination.finish()[0]["update"]


class EncodingContract:
    """Set `make_encoding`."""

    def make_encoding(self) -> Encoding:
        """A new encoding."""
        raise NotImplementedError

    def test_what_travels_is_what_it_declares_and_comes_back_in_the_models_size(self) -> None:
        codec = self._codec()
        sent = {"update": _random(0)}
        travelling, kept = codec.encode(sent, self._memory(codec), client="a", round=1, seed=0)
        assert torch.equal(sent["update"], _random(0))
        assert set(kept) == set(codec.kept)
        packed = codec.form.packed(travelling)
        assert packed.numel() * packed.element_size() == codec.form.num_bytes
        decoded = codec.decode(codec.form.unpacked(packed))["update"]
        assert decoded.shape == (_SIZE,)
        assert decoded.dtype == torch.float64
        assert bool(torch.isfinite(decoded).all())

    def test_it_nests_after_another_and_takes_several_vectors(self) -> None:
        codec = Codec([NormClip(1.0), self.make_encoding()], ("update", "more"), _VECTOR)
        sent = {"update": _random(0), "more": _random(1)}
        travelling, _ = codec.encode(sent, self._memory(codec), client="a", round=1, seed=0)
        assert {name: vector.shape for name, vector in codec.decode(travelling).items()} == {
            "update": (_SIZE,),
            "more": (_SIZE,),
        }

    def test_a_cohort_gives_what_its_clients_give_one_by_one(self) -> None:
        encoding, rows = self.make_encoding(), torch.stack([_random(number) for number in range(3)])
        context = Context(client="a", round=1, uniform=lambda like: torch.full_like(like, 0.5))
        kept = dict.fromkeys(encoding.keeps, rows / 2)
        values, beside, _ = encoding.encode(rows, kept, context)
        for number, row in enumerate(rows):
            own = {name: vectors[number] for name, vectors in kept.items()}
            alone, own_beside, _ = encoding.encode(row, own, context)
            torch.testing.assert_close(values[number], alone)
            for name, array in own_beside.items():
                torch.testing.assert_close(beside[name][number], array)

    def test_an_update_of_zeros_stays_one(self) -> None:
        codec = self._codec()
        zeros = {"update": torch.zeros(_SIZE, dtype=torch.float64)}
        travelling, _ = codec.encode(zeros, self._memory(codec), client="a", round=1, seed=0)
        assert codec.decode(travelling)["update"].tolist() == [0.0] * _SIZE

    def test_the_same_client_and_round_give_the_same_bits(self) -> None:
        codec = self._codec()
        once, twice = (
            codec.encode({"update": _random(0)}, self._memory(codec), client="a", round=1, seed=0)[0] for _ in range(2)
        )
        assert all(torch.equal(once[name], twice[name]) for name in once)

    def test_whatever_arrives_is_decoded_or_refused(self) -> None:
        codec = self._codec()
        for seed in range(20):
            generator = torch.Generator().manual_seed(seed)
            noise = torch.randint(0, 256, (codec.form.num_bytes,), generator=generator, dtype=torch.uint8)
            packed = noise.view(getattr(torch, codec.form.dtype))
            try:
                decoded = codec.decode(codec.form.unpacked(packed))["update"]
            except (DataError, LayoutError):
                continue
            assert decoded.shape == (_SIZE,)

    def _codec(self) -> Codec:
        return Codec([self.make_encoding()], ("update",), _VECTOR)

    def _memory(self, codec: Codec) -> dict[str, Tensor]:
        return {name: torch.zeros(array.size, dtype=torch.float64) for name, array in codec.kept.items()}


def _random(seed: int) -> Tensor:
    return torch.randn(_SIZE, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def _block(*updates: Tensor) -> Block:
    ones = torch.ones(len(updates), dtype=torch.float64)
    return Block(vectors={"update": torch.stack(updates)}, factors=ones, divisors=ones)
