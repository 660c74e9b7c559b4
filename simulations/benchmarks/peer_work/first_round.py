"""How long ``fedcore simulate digits`` takes to its first finished round, against the import of torch and Opacus."""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

_COMMAND = "from fedcore.cli import main; main()"
_LONGEST_SECONDS, _POLL_SECONDS = 300.0, 0.005


def measured(pairs: int) -> dict[str, Any]:
    """Medians over alternating pairs of processes; the round is finished when it is in the run's journal."""
    found = [(_imports(), _first_round()) for _ in range(pairs)]
    return {
        "engine": "fedcore simulate digits",
        "seconds_to_first_round": round(statistics.median(ours for _, ours in found), 2),
        "seconds_of_imports": round(statistics.median(imports for imports, _ in found), 2),
        "times_imports": round(statistics.median(ours / imports for imports, ours in found), 2),
        "pairs": pairs,
    }


def _imports() -> float:
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", "import torch, opacus"], check=True)
    return time.perf_counter() - started


def _first_round() -> float:
    with tempfile.TemporaryDirectory() as directory:
        run = Path(directory) / "run"
        command = [
            sys.executable,
            "-c",
            _COMMAND,
            "simulate",
            "digits",
            "--out",
            str(run),
        ]
        started = time.perf_counter()
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            try:
                _wait_for(run / "rounds.jsonl", process)
                return time.perf_counter() - started
            finally:
                process.kill()


def _wait_for(journal: Path, process: subprocess.Popen[bytes]) -> None:
    started = time.perf_counter()
    while not (journal.is_file() and journal.stat().st_size):
        if process.poll() is not None or time.perf_counter() - started > _LONGEST_SECONDS:
            raise SystemExit(f"expected a first round within {_LONGEST_SECONDS:.0f} s, found none")
        time.sleep(_POLL_SECONDS)
