"""The whole page, and writing it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, Template

from fedcore.report.page.clients import client_figures
from fedcore.report.page.findings import findings
from fedcore.report.page.groups import group_parts
from fedcore.report.page.headline import cards, warnings
from fedcore.report.page.learning import learning_figures
from fedcore.report.page.privacy import is_private, plain, privacy_figures, terms
from fedcore.report.page.run_record import RunRecord, read_run
from fedcore.report.page.simulated_time import simulated_time_figures
from fedcore.storage.files import write_whole
from fedcore.text.wording import counted


@cache
def template(name: str) -> Template:
    loader = PackageLoader("fedcore.report.page", "templates")
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["plain"] = plain
    return environment.get_template(name)


def write_report(directory: Path) -> Path:
    """Write ``report.html`` from the files of a run's directory, and return its path.

    Raises:
        RunDirectoryError: The directory holds no finished run, or the report cannot be written; an existing
            report is kept.
    """
    path = directory / "report.html"
    write_whole(path, render(read_run(directory)))
    return path


def render(record: RunRecord) -> str:
    """Return the page: one HTML document without external references."""
    return template("report.html.j2").render(
        title=str(record.summary.get("task") or "run"),
        facts=_facts(record),
        warnings=warnings(record),
        cards=cards(record),
        learning=[*learning_figures(record), *simulated_time_figures(record)],
        privacy=privacy_figures(record),
        is_private=is_private(record),
        plain_language=record.privacy.get("plain_language") or "",
        terms=terms(record),
        statement={name: value for name, value in record.privacy.items() if name != "plain_language"},
        parts=group_parts(record),
        findings=findings(record.bias),
        population=record.bias.population,
        min_cell=record.bias.min_cell,
        confidence=f"{100 * record.bias.confidence:g}\u202f%",
        clients=client_figures(record),
        plan=record.plan,
        command=str(record.summary.get("command") or ""),
        origin=_origin(record.summary),
    )


def _facts(record: RunRecord) -> str:
    summary = record.summary
    clients, rounds = summary.get("clients"), summary.get("rounds")
    encodings = " + ".join(summary.get("encodings") or ())
    facts = [
        counted(int(clients), "client") if clients is not None else "",
        counted(int(rounds), "round") if rounds is not None else "",
        counted(int(summary["examples"]), "row") if summary.get("examples") is not None else "",
        ", ".join(part for part in (summary.get("algorithm"), summary.get("rule"), encodings) if part),
        f"{summary['engine']} engine" if summary.get("engine") else "",
        "" if is_private(record) else "no differential privacy",
    ]
    return " · ".join(fact for fact in facts if fact)


def _origin(summary: Mapping[str, Any]) -> list[tuple[str, str]]:
    versions = dict(summary.get("versions") or {})
    if summary.get("fedcore_version"):
        versions = {"fedcore": summary["fedcore_version"], **versions}
    hashes = {"model SHA-256": summary.get("model_sha256"), "plan SHA-256": summary.get("plan_sha256")}
    found = {"versions": ", ".join(f"{name} {version}" for name, version in versions.items()), **hashes}
    return [(name, str(value)) for name, value in found.items() if value]
