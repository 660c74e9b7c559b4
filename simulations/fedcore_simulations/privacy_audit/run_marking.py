"""What an audit writes into the directory of its run."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fedcore.errors import PlanError, RunDirectoryError
from fedcore.privacy.statement.statement import read_statement
from fedcore.privacy.statement.words import in_a_paragraph
from fedcore.report.page import write_report
from fedcore.storage.files import write_whole
from fedcore_server.runs.place import is_finished
from fedcore_server.runs.store import is_deployed
from fedcore_simulations.scenarios import scenarios

_WORDS = "privacy: VIOLATED: an audit refuted the stated ε; see privacy-audit.json"


def is_run(subject: str) -> bool:
    """Whether a subject is the directory of a run, and not a plan, a task or a scenario.

    Raises:
        RunDirectoryError: It is a directory that holds no run.
        PlanError: It is a deployment's run, whose rows are not here.
    """
    directory = Path(subject)
    if not directory.is_dir() or (subject in scenarios() and not (directory / "plan.toml").is_file()):
        return False
    if not (directory / "plan.toml").is_file():
        raise RunDirectoryError(f"{directory} holds no run: expected a plan.toml in it, as fedcore simulate leaves it")
    if is_deployed(directory):
        raise PlanError(
            f"{directory} is the run of a deployment, whose rows are at its clients, so it cannot be trained "
            "once more here. Audit its mechanism on rows of your own: copy its plan.toml, set task.data to their "
            "path, and: fedcore audit privacy COPY.toml"
        )
    return True


def keep(directory: Path, content: Mapping[str, Any], *, violated: bool) -> None:
    """Write ``privacy-audit.json``; correct a refuted claim in statement, summary and report.

    Raises:
        StorageError: A file cannot be written.
        PrivacyError: The run's ``privacy.json`` is no statement.
    """
    _write(directory / "privacy-audit.json", content)
    if not (violated and is_finished(directory)):
        return
    statement = read_statement(directory / "privacy.json")
    others = [line for line in statement["known_deviations"] if line != _WORDS]
    statement |= {"valid": False, "strength_tier": "none", "known_deviations": [_WORDS, *others]}
    statement["verification"] = {**statement["verification"], "audit": _WORDS}
    _write(directory / "privacy.json", statement | {"plain_language": in_a_paragraph(statement)})
    summary = json.loads((directory / "summary.json").read_text(encoding="utf-8"))
    warnings = [line for line in summary["warnings"] if line != _WORDS]
    _write(directory / "summary.json", summary | {"privacy_audit": "VIOLATED", "warnings": [_WORDS, *warnings]})
    write_report(directory)


def _write(path: Path, content: Mapping[str, Any]) -> None:
    write_whole(path, json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n")
