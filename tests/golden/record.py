"""Run the golden plans anew.

python -m tests.golden.record             rewrites golden.json: only where a change of results is meant
python -m tests.golden.record --out DIR   writes the normalised texts instead, so that two commits can be compared
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

from tests.golden.runs import GOLDEN, PLANS, GoldenRun, canary, golden_run


def record(out: Path | None) -> None:
    """Write ``golden.json``, or with `out` the normalised files in a folder for each plan."""
    runs = {}
    for name in PLANS:
        with tempfile.TemporaryDirectory() as directory:
            runs[name] = golden_run(name, Path(directory))
        if out is not None:
            _write_texts(out / name, runs[name])
    if out is None:
        plans = {name: {"sha256": run.hashes(), "numbers": run.numbers} for name, run in runs.items()}
        GOLDEN.write_text(json.dumps({"canary": canary(), "plans": plans}, indent=1) + "\n", encoding="utf-8")


def _write_texts(folder: Path, run: GoldenRun) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for file, text in run.texts.items():
        (folder / file).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="folder for the normalised texts; golden.json stays as it is")
    record(parser.parse_args().out)
