"""Tables that list all of something list all of it."""

from __future__ import annotations

from pathlib import Path

import fedcore.task_families
from fedcore.audit.metrics.catalogue import CATALOGUE, RATES
from fedcore.privacy.statement.statement import Statement
from fedcore_simulations import simulate
from tests.builders import TinyTask
from tests.docs.pages import listed


def test_the_readme_lists_every_file_of_a_run(tmp_path: Path) -> None:
    plan = {"federation": {"clients": 2, "rounds": 1}, "training": {"device": "cpu"}, "engine": {"workers": 1}}
    simulate(TinyTask(rows=40), plan, out=tmp_path / "run")
    left = {f"{path.name}/" if path.is_dir() else path.name for path in (tmp_path / "run").iterdir()}

    assert listed("README.md", "What a run leaves behind") == left


def test_the_privacy_page_explains_every_field_of_a_statement() -> None:
    assert listed("docs/privacy.md", "The statement") == set(Statement.model_fields)


def test_the_audit_page_explains_every_metric() -> None:
    assert listed("docs/audit.md", "Metrics") == set(RATES)


def test_every_metric_of_the_catalogue_is_in_a_table() -> None:
    pages = {"docs/audit.md": ("Metrics", "Several labels", "Numbers"),
             "docs/audit-tables.md": ("Limits and exit codes", "More than rates")}  # fmt: skip
    found = {name for page, headings in pages.items() for heading in headings for name in listed(page, heading)}

    assert set(CATALOGUE) <= found


def test_the_task_page_lists_every_family() -> None:
    families = {
        name
        for name, kind in vars(fedcore.task_families).items()
        if isinstance(kind, type) and not name.startswith("_") and kind.__module__ == "fedcore.task_families"
    }

    assert listed("docs/write-a-task.md", "The task") == families
