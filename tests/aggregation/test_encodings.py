"""Encodings: what travels, what it is worth, and what a bad one costs."""

import pytest
import torch

from fedcore.aggregation.codec import Codec
from fedcore.aggregation.contract import Array, Encoding
from fedcore.aggregation.int8 import Int8
from fedcore.aggregation.norm_clip import NormClip
from fedcore.aggregation.top_k import TopK
from fedcore.errors import PlanError
from fedcore.messages import ClientUpdate
from fedcore.method.method import Method
from fedcore_server.rounds.rounds import close_round
from fedcore_server.rounds.state import ServerState
from fedcore_simulations import simulate
from tests.builders import TinyTask, build_parameters, build_plan, build_request
from tests.flower.driving import plan_of, through_flower

SIZE = 50


def codec(*encodings, dtype="float64"):
    return Codec(encodings, ("update",), Array(dtype=dtype, size=SIZE))


def rounds_of(codec, updates):
    """What the server reads in each round, and what the client keeps at the end."""
    kept = {name: torch.zeros(array.size, dtype=torch.float64) for name, array in codec.kept.items()}
    read = []
    for number, update in enumerate(updates, start=1):
        travelling, kept = codec.encode({"update": update}, kept, client="a", round=number, seed=0)
        read.append(codec.decode(travelling)["update"])
    return read, kept


def random_updates(number):
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(SIZE, generator=generator, dtype=torch.float64) for _ in range(number)]


def test_a_long_update_is_scaled_and_a_short_one_left():
    (long, short), _ = rounds_of(
        codec(NormClip(5.0)), [torch.full((SIZE,), 3.0).double(), torch.full((SIZE,), 0.1).double()]
    )
    assert float(long.norm()) == pytest.approx(5.0)
    assert short.tolist() == pytest.approx([0.1] * SIZE)


def test_what_top_k_leaves_out_is_not_lost():
    updates = random_updates(6)
    read, kept = rounds_of(codec(TopK(0.1)), updates)
    assert [int((each != 0).sum()) for each in read] == [5] * 6
    torch.testing.assert_close(sum(read) + kept["update/0.residual"], sum(updates))


def test_top_k_sends_the_largest_values():
    (read,), _ = rounds_of(codec(TopK(0.1)), random_updates(1))
    update = random_updates(1)[0]
    assert sorted(read.abs().tolist())[-5:] == pytest.approx(sorted(update.abs().tolist())[-5:])


def test_eight_bits_are_within_one_level_and_right_on_average():
    """The mean of 2,000 draws: five standard errors of a rounding error of at most one level."""
    update = random_updates(1)[0]
    reads, _ = rounds_of(codec(Int8()), [update] * 2000)
    level = float(update.abs().max()) / 127
    assert max(float((read - update).abs().max()) for read in reads) <= level * (1 + 1e-12)
    assert float((torch.stack(reads).mean(0) - update).abs().max()) < 5 * 0.5 * level / 2000**0.5


@pytest.mark.parametrize(
    ("encode", "share"),
    [([], 1.0), (["int8"], (58 + 8) / (58 * 8)), (["top-k:0.1"], 6 * 12 / (58 * 8)), (["top-k:0.1", "int8"], 38 / 464)],
)
def test_fewer_bytes_travel_and_the_run_says_how_many(encode, share):
    """Of a model of 58 numbers of 8 bytes; an index has 4, a scale 8."""
    sizes = []

    def measure(name, reply):
        sizes.extend(len(array.data) for array in reply["arrays"].values() if "arrays" in reply)
        return reply

    plan = plan_of("FedAvg with weights").updated(aggregation={"encode": encode})
    _, rounds = through_flower(plan, tamper=lambda name, reply: measure(name, reply) if "arrays" in reply else reply)
    assert set(sizes) == {round(58 * 8 * share)}
    assert [line["bytes_received"] for line in rounds] == [4 * sizes[0]] * 3
    assert [line["bytes_sent"] for line in rounds] == [2 * 4 * 58 * 8] * 3  # to train, and to evaluate


def test_the_summary_adds_up_what_was_sent():
    result = simulate(TinyTask(), build_plan(aggregation={"encode": ["int8"]}))
    assert result.summary["bytes_received"] == 3 * 4 * (58 + 4)
    assert result.summary["bytes_sent"] == 3 * 2 * 4 * 58 * 4


@pytest.mark.parametrize(
    "values",
    [
        {"update": torch.ones(3)},
        {"update": torch.ones(1), "update/0.index": torch.tensor([7], dtype=torch.int32)},
        {"update": torch.ones(1), "update/0.index": torch.tensor([-1], dtype=torch.int32)},
        {"update": torch.ones(1), "update/0.index": torch.tensor([1])},
        {"update": torch.ones(1), "update/0.index": torch.tensor([1], dtype=torch.int32), "more": torch.ones(1)},
        {},
    ],
)
def test_a_reply_of_other_segments_costs_that_clients_contribution_and_not_the_round(values):
    plan = build_plan(aggregation={"encode": ["top-k:0.3"]})
    state = ServerState(round=0, parameters=build_parameters(0.0, 0.0, 0.0))
    good = {"update": torch.ones(1), "update/0.index": torch.tensor([1], dtype=torch.int32)}
    updates = [
        ClientUpdate(client=name, round=1, values=each, num_examples=1) for name, each in (("a", values), ("b", good))
    ]
    after, report = close_round(state, plan, build_request(state.parameters, cohort=("a", "b")), iter(updates))
    assert [(each.client, each.code) for each in report.rejected] == [("a", "LAYOUT")]
    assert after.parameters.buffer.tolist() == [0.0, 1.0, 0.0]


@pytest.mark.parametrize(
    ("encode", "words"),
    [
        (["top-k:0"], "expected a number above 0, at most 1"),
        (["topk"], "did you mean 'top-k'"),
        (["int8", "top-k:0.1"], "TopK needs floating-point values, and finds int8"),
        ([{"name": "top-k", "shar": 0.1}], "its options are: share"),
        (["norm-clip:-1"], "expected a number above 0"),
    ],
)
def test_an_encoding_that_does_not_fit_is_refused_before_training(encode, words):
    with pytest.raises(PlanError, match=words):
        Method.of(build_plan(aggregation={"encode": encode}))


def test_an_update_that_its_client_did_not_clip_is_clipped_by_the_server():
    long = codec(NormClip(1.0)).decode({"update": torch.full((SIZE,), 1000.0).double()})["update"]
    assert float(long.norm()) == pytest.approx(1.0)


class Halves(Encoding):
    """Numbers of half the size."""

    dtype = "float16"

    def declare(self, values):
        return Array(dtype=self.dtype, size=values.size), {}

    def encode(self, values, kept, context):
        return values.half(), {}, {}

    def decode(self, values, beside, declared):
        return values.to(getattr(torch, declared.dtype))


def test_numbers_of_half_the_size_travel_and_others_are_refused_before_training():
    halves = codec(Halves(), dtype="float32")
    update = torch.linspace(-1, 1, SIZE)
    travelling, _ = halves.encode({"update": update}, {}, client="a", round=1, seed=0)
    array = halves.form.packed(travelling)
    assert array.numel() * array.element_size() == 2 * SIZE
    assert halves.decode(halves.form.unpacked(array))["update"] == pytest.approx(update, abs=1e-3)
    other = Halves()
    other.dtype = "complex64"
    with pytest.raises(PlanError, match="Halves makes complex64, which cannot travel"):
        codec(other)


def test_encodings_that_make_updates_much_larger_are_refused():
    with pytest.raises(PlanError, match="make updates larger"):
        Method.of(build_plan(aggregation={"encode": ["top-k:1.0"] * 3}))
    with pytest.raises(PlanError, match="make updates larger"):
        Codec([TopK(1.0)] * 3, ("update",), Array(dtype="float32", size=1000))
    with pytest.raises(PlanError, match="at most 4"):
        build_plan(aggregation={"encode": ["norm-clip:1"] * 5})
