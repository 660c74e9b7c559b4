"""Running ``fedcore audit bias``, from options to exit code."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console

from fedcore.audit.table.bias_json import result_json
from fedcore.audit.table.kinds import audited
from fedcore.audit.table.options import BiasOptions
from fedcore.audit.table.text.report import ALL, MORE, readable
from fedcore.audit.verdict.gate import Verdict
from fedcore.errors import PlanError, StorageError
from fedcore.report.model_card.documents import document
from fedcore.report.page.table_audit import render_audit
from fedcore.storage.files import write_whole
from fedcore.text.printable import printable_json
from fedcore.text.wording import named

_FAILED, _INCONCLUSIVE = 3, 4


def bias_command(*, out: Path | None, as_json: bool, everything: bool, fail_on_inconclusive: bool, **given: Any) -> int:
    """Read, audit, print and write; return the exit code.

    The screen hides no small cells unless asked to; files and documents are meant to be shared and hide them.
    """
    options = _options(**given)
    with Console(stderr=True, highlight=False).status(f"reading {options.table.name} …") as status:
        result = audited(options, progress=status.update)
        closing = MORE if out is None else ALL
        content, shown = result_json(result), readable(result, everything=everything, closing=closing)
        to_share = result.to_share()
        shared, text = result_json(to_share), readable(to_share, everything=True)
        written = document(shared, day=datetime.now(UTC).date())
    files = {
        "audit.html": render_audit(to_share) if out else None,
        "bias.json": f"{_json(shared)}\n",
        "bias.txt": text,
        "bias.md": written,
    }
    if out is not None:
        _keep(out, files)
    print(_json(content) if as_json else written or shown, end="\n" if as_json else "", flush=True)
    if out is not None:
        print(f"wrote {named([str(out / name) for name, text in files.items() if text is not None])}", file=sys.stderr)
    return _exit_code(content["verdict"], fail_on_inconclusive=fail_on_inconclusive)


def _options(
    *,
    group: Sequence[str],
    reference: Sequence[str] | None,
    bands: Sequence[str] | None,
    limit: Sequence[str] | None,
    score_range: str,
    **as_they_are: Any,
) -> BiasOptions:
    return BiasOptions(
        groups=tuple(group),
        references=tuple(map(reference_of, reference or ())),
        bands=tuple(map(bands_of, bands or ())),
        limits=tuple(limit or ()),
        score_range=range_of(score_range),
        **as_they_are,
    )


def _json(content: dict[str, Any]) -> str:
    return printable_json(json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False))


def range_of(text: str) -> tuple[float, float]:
    try:
        low, high = (float(part) for part in text.split(","))
    except ValueError:
        raise PlanError(f"--score-range must be two numbers, LOW,HIGH, not {text!r}") from None
    return low, high


def bands_of(text: str) -> tuple[str, tuple[float, ...]]:
    name, _, edges = text.rpartition("=")
    try:
        return name, tuple(float(edge) for edge in edges.split(","))
    except ValueError:
        raise PlanError(f"--bands must be COL=EDGE,EDGE with numbers, as age=30,50, not {text!r}") from None


def reference_of(text: str) -> tuple[str, str]:
    name, _, group = text.partition("=")
    if not name or not group:
        raise PlanError(f"--reference must be COL=GROUP, as sex=female, not {text!r}")
    return name, group


def _keep(directory: Path, files: dict[str, str | None]) -> None:
    """Write the files; remove those without content, which an earlier command left from another audit."""
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
