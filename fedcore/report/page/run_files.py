"""Reading the files of a run directory."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fedcore.errors import RunDirectoryError
from fedcore.report.page.run_record import Bias, Round, RunRecord, Split

# What XML cannot hold, and halves of characters, which UTF-8 cannot.
_UNPRINTABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff\ufffe\uffff]")


def read_run(directory: Path) -> RunRecord:
    """Read a run directory; raises `RunDirectoryError` if ``summary.json`` is missing, or a file is malformed."""
    summary = _read_json(directory / "summary.json")
    if not summary:
        raise RunDirectoryError(f"{directory} holds no finished run: expected a summary.json in it")
    return RunRecord(
        summary=summary,
        plan=clean(_read_text(directory / "plan.toml")),
        rounds=_read_rounds(directory / "rounds.jsonl"),
        privacy=_read_json(directory / "privacy.json"),
        bias=Bias.of(_read_json(directory / "bias.json")),
        split=Split.of(_read_json(directory / "split.json")),
    )


def _read_rounds(path: Path) -> tuple[Round, ...]:
    lines = [line for line in _read_text(path).split("\n") if line.strip()]
    return tuple(Round.of(_parse(path, line)) for line in lines)


def _read_json(path: Path) -> dict[str, Any]:
    text = _read_text(path)
    return _parse(path, text) if text.strip() else {}


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return ""
    except (OSError, UnicodeDecodeError) as error:
        raise RunDirectoryError(f"{path} cannot be read: {error}") from error


def _parse(path: Path, text: str) -> dict[str, Any]:
    try:
        content = clean(json.loads(text))
    except ValueError as error:
        raise RunDirectoryError(f"{path} is not JSON: {error}") from error
    if not isinstance(content, dict):
        raise RunDirectoryError(f"{path}: expected a JSON object, found a {type(content).__name__}")
    return content


def clean(content: Any) -> Any:
    """Replace values that no page can show: unprintable characters, infinity and NaN."""
    if isinstance(content, str):
        return _UNPRINTABLE.sub("\ufffd", content)
    if isinstance(content, float):
        return content if math.isfinite(content) else None
    if isinstance(content, Mapping):
        return {clean(key): clean(value) for key, value in content.items()}
    return [clean(value) for value in content] if isinstance(content, list) else content
