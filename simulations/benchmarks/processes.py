"""Processes of a benchmark: servers and clients started as on a command line."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

START_SECONDS = 120.0
LOOK_SECONDS = 0.1
_ROOT = Path(__file__).parents[2]
_MAIN = (sys.executable, "-c", "import sys; from fedcore.cli import main; sys.exit(main())")


def run_command(directory: Path, *arguments: str, timeout: float = START_SECONDS) -> None:
    """Run a command of fedcore to its end; a failure ends the benchmark."""
    done = subprocess.run(
        [*_MAIN, *arguments],
        cwd=directory,
        env=clean_environment(),
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    if done.returncode:
        sys.exit(f"fedcore {' '.join(arguments)} failed:\n{done.stdout}{done.stderr}")


def running(directory: Path, *arguments: str) -> contextlib.AbstractContextManager[subprocess.Popen[bytes]]:
    """A command of fedcore while the block runs."""
    return running_process(directory, clean_environment(), *_MAIN, *arguments)


@contextlib.contextmanager
def running_process(directory: Path, variables: dict[str, str], *command: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process with its output in a file, ended with the block."""
    with (directory / f"{Path(command[0]).name}-{time.monotonic_ns()}.log").open("wb") as log:
        found = Path(sys.executable).with_name(Path(command[0]).name)
        process = subprocess.Popen(
            [str(found) if found.exists() else command[0], *command[1:]],
            cwd=directory,
            env=variables,
            stdout=log,
            stderr=log,
        )
        try:
            yield process
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def clean_environment() -> dict[str, str]:
    """In which every process finds this checkout, and Flower reports nothing."""
    paths = [_ROOT, _ROOT / "server", _ROOT / "clients", _ROOT / "simulations", Path(__file__).parent]
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(map(str, paths)),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "FLWR_TELEMETRY_ENABLED": "0",
        "FLWR_DISABLE_UPDATE_CHECK": "1",
        "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
    }


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def listens(port: int) -> bool:
    """Whether somebody listens on a port of this machine."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def wait_for(condition: Callable[[], bool], what: str, *, seconds: float = START_SECONDS) -> None:
    """Wait for a condition, or end the benchmark."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            sys.exit(f"{what}: not within {seconds:.0f} seconds")
        time.sleep(LOOK_SECONDS)
