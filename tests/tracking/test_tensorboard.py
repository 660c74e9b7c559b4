"""TensorBoard's event files, read back."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
from tensorboardX.proto.event_pb2 import Event

from fedcore.round_line import figures_of
from fedcore.tracking.replay import replay
from fedcore.tracking.tensorboard import TensorboardTracker
from fedcore_simulations import simulate
from tests.builders import build_plan
from tests.tracking.conftest import SECTIONS


def events_in(folder: Path) -> Iterator[Event]:
    """A record is its length, a checksum of it, the event, and a checksum: tensorflow/core/lib/io/record_writer.h."""
    (file,) = folder.iterdir()
    content, start = file.read_bytes(), 0
    while start < len(content):
        (length,) = struct.unpack_from("<Q", content, start)
        yield Event.FromString(content[start + 12 : start + 12 + length])
        start += length + 16


def read(folder: Path) -> tuple[dict[tuple[str, int], float], dict[str, str]]:
    """Scalars by name and step, and texts by name."""
    scalars, texts = {}, {}
    for event in events_in(folder):
        for value in event.summary.value:
            if value.HasField("tensor"):
                texts[value.tag.removesuffix("/text_summary")] = value.tensor.string_val[0].decode()
            else:
                scalars[value.tag, event.step] = value.simple_value
    return scalars, texts


def test_a_simulation_is_tracked_round_by_round_with_its_results(here):
    plan = build_plan(**SECTIONS, run={"track": [{"name": "tensorboard", "directory": "curves"}]})
    result = simulate(None, plan, out=here / "tiny-0001")
    scalars, texts = read(here / "curves" / "tiny-0001")
    for line in result.rounds:
        for name, value in figures_of(line).items():
            assert scalars[name, line["round"]] == pytest.approx(value, rel=1e-5), name
    assert scalars["released/accuracy", 2] == pytest.approx(result.metrics["accuracy"], rel=1e-5)
    assert "| federation.rounds | 2 |" in texts["plan"]
    assert texts["worst_group"].startswith("sex ")
    assert result.summary["model_sha256"] in texts["summary"]
    assert texts["report"] == (here / "tiny-0001" / "bias.md").read_text(encoding="utf-8")


def test_two_runs_of_one_name_never_share_a_folder(here, finished):
    for _ in range(2):
        replay(finished, [TensorboardTracker()])
    assert {folder.name for folder in (here / "tensorboard").iterdir()} == {"tiny-0001", "tiny-0001-2"}
    one, two = (read(folder)[0] for folder in (here / "tensorboard").iterdir())
    assert one == two
