"""What ``fedcore audit bias`` does, from options to exit code."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console

from fedcore.audit.table.bias_json import result_json
from fedcore.audit.table.by_site import check_met
from fedcore.audit.table.options import BiasOptions
from fedcore.audit.table.profile_tables import with_profile
from fedcore.audit.table.regression.run import RegressionResult, audited_regression
from fedcore.audit.table.regression.text import regression_json, regression_text
from fedcore.audit.table.result import BiasResult, audit_rows
from fedcore.audit.table.rows import read_rows
from fedcore.audit.table.text.profile_documents import document
from fedcore.audit.table.text.report import readable
from fedcore.audit.verdict.gate import Verdict
from fedcore.errors import PlanError, StorageError
from fedcore.storage.files import write_whole
from fedcore.text.printable import printable_json

_FAILED, _INCONCLUSIVE = 3, 4


def bias_command(
    options: BiasOptions, *, out: Path | None, as_json: bool, everything: bool, fail_on_inconclusive: bool
) -> int:
    """Read, audit, show and keep; return the exit code.

    The screen hides nothing of a table of one's own unless it is asked to; files and documents are there to be shared.
    """
    with Console(stderr=True, highlight=False).status(f"reading {options.table.name} …") as status:
        result = _result(options, status.update)
        content, shown = _told(result, everything=everything)
        shared, text = _told(result.to_share(), everything=True)
        written = document(shared, day=datetime.now(UTC).date())
    if out is not None:
        _keep(out, {"bias.json": f"{_json(shared)}\n", "bias.txt": text, "bias.md": written})
    print(_json(content) if as_json else written or shown, end="\n" if as_json else "")
    return _exit_code(content["verdict"], fail_on_inconclusive=fail_on_inconclusive)


def _json(content: dict[str, Any]) -> str:
    return printable_json(json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False))


def _result(options: BiasOptions, tell: Callable[[str], None]) -> BiasResult | RegressionResult:
    if options.kind == "regression":
        return audited_regression(options, tell=tell)
    return audited(options, tell=tell)


def _told(result: BiasResult | RegressionResult, *, everything: bool) -> tuple[dict[str, Any], str]:
    """Return the audit as JSON and as text."""
    if isinstance(result, RegressionResult):
        return regression_json(result), regression_text(result, everything=everything)
    return result_json(result), readable(result, everything=everything)


def audited(options: BiasOptions, *, tell: Callable[[str], None] = lambda _: None) -> BiasResult:
    """Audit a table.

    Args:
        options: What is asked for.
        tell: Told what is being done, for whoever waits.

    Raises:
        PlanError: The options contradict one another or the table.
        DataError: The table cannot be read or counted.
    """
    options = with_profile(options)
    rows = read_rows(options)
    check_met(rows)
    tell(f"comparing groups of {rows.total:,} rows …")
    return audit_rows(rows, options)


def range_of(text: str) -> tuple[float, float]:
    """Return the ends of ``LOW,HIGH``.

    Raises:
        PlanError: It is not two numbers.
    """
    try:
        low, high = (float(part) for part in text.split(","))
    except ValueError:
        raise PlanError(f"--score-range must be two numbers, LOW,HIGH, not {text!r}") from None
    return low, high


def bands_of(text: str) -> tuple[str, tuple[float, ...]]:
    """Return the column and the edges of ``COL=EDGE,EDGE``.

    Raises:
        PlanError: It is not written so.
    """
    name, _, edges = text.rpartition("=")
    try:
        return name, tuple(float(edge) for edge in edges.split(","))
    except ValueError:
        raise PlanError(f"--bands must be COL=EDGE,EDGE with numbers, as age=30,50, not {text!r}") from None


def reference_of(text: str) -> tuple[str, str]:
    """Return the attribute and the group of ``COL=GROUP``.

    Raises:
        PlanError: It is not written so.
    """
    name, _, group = text.partition("=")
    if not name or not group:
        raise PlanError(f"--reference must be COL=GROUP, as sex=female, not {text!r}")
    return name, group


def _keep(directory: Path, files: dict[str, str | None]) -> None:
    """Write the files; of those without content remove what an earlier command left, which was of another audit."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"--out {directory} cannot be made a directory: {error.strerror}") from error
    for name, content in files.items():
        if content is None:
            _remove(directory / name)
        else:
            write_whole(directory / name, content)


def _remove(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise StorageError(
            f"{path} is of an earlier audit and cannot be removed: {error.strerror}; remove it, or give another --out"
        ) from error


def _exit_code(verdict: str | None, *, fail_on_inconclusive: bool) -> int:
    if verdict == Verdict.FAIL:
        return _FAILED
    return _INCONCLUSIVE if fail_on_inconclusive and verdict == Verdict.INCONCLUSIVE else 0
