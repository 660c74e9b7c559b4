"""How the tests run, and the environment of whatever they start: set before anything imports Flower or torch."""

import os
from pathlib import Path

import pytest

os.environ["FLWR_TELEMETRY_ENABLED"] = "0"
os.environ["FLWR_DISABLE_UPDATE_CHECK"] = "1"
os.environ["FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION"] = "1"
os.environ["OMP_NUM_THREADS"] = "1"  # one for each process, or they get in each other's way


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Two for a folder. None for single files, which are done before two have started, and none where `-s` prints."""
    folders = any(Path(argument).is_dir() for argument in config.args)
    return 2 if folders and config.getoption("capture") != "no" else 0
