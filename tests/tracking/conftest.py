"""One private, audited run that the tests track afterwards, and a working directory of each test's own."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

from fedcore.listeners import Beginning
from fedcore.tracking.mlflow import MlflowTracker
from fedcore_simulations import simulate
from tests.builders import build_plan

SECTIONS = {
    "task": {"name": "tests.builders:TinyTask"},
    "federation": {"rounds": 2},
    "privacy": {"unit": "record", "noise-multiplier": 1.0, "noise": "test"},
    "aggregation": {"rule": "uniform"},
    "audit": {"sensitive": ["sex"], "min_cell": 1},
}


@pytest.fixture(scope="package")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("tracked") / "tiny-0001"
    simulate(None, build_plan(**SECTIONS), out=directory)
    return directory


@pytest.fixture(scope="package")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of one MLflow store, made from nothing as a first run makes it: that takes seconds."""
    folder = tmp_path_factory.mktemp("store")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        MlflowTracker(experiment="first").run_begins(
            build_plan(), Beginning(run="first", task="tiny", clients=("client-0",))
        )
    return folder


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return tmp_path


@pytest.fixture
def in_store(here: Path, store: Path) -> None:
    """A copy of the store in the working directory."""
    shutil.copy(store / "mlflow.db", here / "mlflow.db")
