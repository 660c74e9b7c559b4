"""What a bias audit of a million rows costs: fedcore against fairlearn's MetricFrame, on the same rows in one run.

Twelve groups, two labels, scores in 64 bins, all on one core; processor time is compared, so that a busy machine slows
both alike. fedcore counts the rows once; after that nothing grows with them: 2,000 tables are drawn from the counts.
fairlearn draws the rows themselves: of its bootstrap a few samples are measured, and 2,000 of them extrapolated. It
measures four rates and their gaps; fedcore all that it reports. Run ``python simulations/benchmarks/audit.py``, with
``--help`` for less.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from fedcore.audit.metrics.measures import measures_of_table
from fedcore.audit.statistics.resampling import NUM_DRAWS
from fedcore.audit.table.bias_json import result_json
from fedcore.audit.table.kinds import LABELS, read_rows
from fedcore.audit.table.options import BiasOptions
from fedcore.audit.table.result import audit_rows
from fedcore.audit.table.text.report import readable
from fedcore.audit.tables.groups import UNKNOWN, GroupTable
from fedcore.audit.verdict.fairness import audit_table
from fedcore.audit.verdict.settings import AuditSettings

_GROUPS, _BINS = 12, 64

_Found = TypeVar("_Found")
Rows = dict[str, NDArray[Any]]


def main() -> None:
    """Print the processor time of every step both ways, and their ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--samples", type=int, default=2, help="bootstrap samples of fairlearn that are measured")
    given = parser.parse_args()
    rows = _rows(given.rows)
    with threadpool_limits(limits=1):
        ours, theirs = _fedcore(rows), _fairlearn(rows, given.samples)
        print(f"{given.rows:,} rows, {_GROUPS} groups, {_BINS} bins, one core; seconds of processor time")
        _show("fedcore: rows to table", ours["table"])
        _show("fedcore: rates, gaps and all measures with intervals, 2,000 draws", ours["intervals"])
        _show("fairlearn: four rates and their gaps, no interval", theirs["frame"])
        _show("fairlearn: one bootstrap sample", theirs["sample"])
        whole = theirs["frame"] + NUM_DRAWS * theirs["sample"]
        _show(f"fairlearn: {NUM_DRAWS:,} samples, extrapolated", whole)
        print(f"ratio without intervals  {theirs['frame'] / ours['table']:10,.0f}")
        print(f"ratio with intervals     {whole / sum(ours.values()):10,.0f}")
        print("fedcore audit bias, the same rows as a CSV file")
        for step, seconds in _command(rows).items():
            _show(step, seconds)


def _rows(count: int) -> Rows:
    drawn = np.random.default_rng(0)
    score = drawn.beta(2, 3, count)
    return {
        "group": drawn.integers(0, _GROUPS, count),
        "label": (drawn.random(count) < score).astype(np.int64),
        "score": score,
    }


def _fedcore(rows: Rows) -> dict[str, float]:
    names = (*(f"g{i}" for i in range(_GROUPS)), UNKNOWN)

    def count() -> GroupTable:
        return GroupTable.collect(
            attribute="g",
            groups=names,
            labels=("no", "yes"),
            group_codes=rows["group"],
            label_codes=rows["label"],
            scores=rows["score"],
            num_bins=_BINS,
        )

    def measure() -> None:
        audit = audit_table(table, AuditSettings(score_bins=_BINS))
        measures_of_table(audit, table).added(audit)

    table = count()
    audit_table(table, AuditSettings(score_bins=_BINS))  # what is imported on first use is not measured
    counted = _timed(count)[1]
    return {"table": counted, "intervals": _timed(measure)[1]}


def _fairlearn(rows: Rows, samples: int) -> dict[str, float]:
    from fairlearn import metrics  # type: ignore[import-untyped]
    from sklearn.metrics import accuracy_score

    told: dict[str, Any] = {
        "metrics": {
            "selection_rate": metrics.selection_rate,
            "true_positive_rate": metrics.true_positive_rate,
            "false_positive_rate": metrics.false_positive_rate,
            "accuracy": accuracy_score,
        },
        "y_true": rows["label"],
        "y_pred": (rows["score"] >= 0.5).astype(np.int64),
        "sensitive_features": rows["group"],
    }

    def frame(**more: Any) -> None:
        found = metrics.MetricFrame(**told, **more)
        found.difference()
        found.ratio()

    once = _timed(frame)[1]
    drawn = _timed(lambda: frame(n_boot=samples, ci_quantiles=[0.025, 0.975], random_state=0))[1]
    return {"frame": once, "sample": (drawn - once) / samples}


def _command(rows: Rows) -> dict[str, float]:
    """Return what each part of the command takes, without the start of Python."""
    import pandas as pd

    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "rows.csv"
        pd.DataFrame({**rows, "score": rows["score"].round(6)}).to_csv(path, index=False)
        options = BiasOptions(table=path, label="label", score="score", groups=("group",))
        read, reading = _timed(lambda: read_rows(options))
    result, auditing = _timed(lambda: audit_rows(read, options, LABELS))
    writing = _timed(lambda: (result_json(result), readable(result)))[1]
    return {"  read": reading, "  count and audit": auditing, "  write JSON and text": writing}


def _timed(work: Callable[[], _Found]) -> tuple[_Found, float]:
    started = time.process_time()
    found = work()
    return found, time.process_time() - started


def _show(what: str, seconds: float) -> None:
    print(f"{what:70s}{seconds:10.2f}")


if __name__ == "__main__":
    main()
