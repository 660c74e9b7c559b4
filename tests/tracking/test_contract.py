"""Every listener that ships keeps the contract."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from fedcore.listeners import RunListener
from fedcore.storage.events import EventLog, read_events
from fedcore.testing.listener import ListenerContract, example_line
from fedcore.tracking.mlflow import MlflowTracker
from fedcore.tracking.tensorboard import TensorboardTracker
from fedcore_server.runs.round_events import RoundEvents
from fedcore_simulations import simulate
from fedcore_simulations.progress import RoundsDisplay
from tests.builders import build_plan
from tests.tracking.conftest import SECTIONS


class InDirectory(ListenerContract):
    @pytest.fixture(autouse=True)
    def _here(self, here: Path) -> None:
        """Listeners write into the working directory."""


class TestTensorboard(InDirectory):
    def make_listener(self) -> RunListener:
        return TensorboardTracker()


class TestEvents(InDirectory):
    def make_listener(self) -> RunListener:
        return RoundEvents(EventLog(Path("events.jsonl")))


class TestDisplay(ListenerContract):
    def make_listener(self) -> RunListener:
        return RoundsDisplay(Console(file=io.StringIO()))


@pytest.mark.usefixtures("in_store")
class TestMlflow(ListenerContract):
    def make_listener(self) -> RunListener:
        return MlflowTracker()


def test_the_line_of_the_contract_has_what_a_line_of_a_run_has() -> None:
    (line, *_) = simulate(None, build_plan(**SECTIONS)).rounds
    assert set(example_line()) == set(line)
    json.dumps(example_line())


def test_events_name_the_round_and_who_was_rejected(here: Path) -> None:
    noted = RoundEvents(EventLog(here / "events.jsonl"))
    noted.round_closed(example_line(1, committed=False))
    (event,) = read_events(here / "events.jsonl")
    assert (event["event"], event["round"], event["rejected"]) == ("round-failed", 1, {"b": "NONFINITE"})
