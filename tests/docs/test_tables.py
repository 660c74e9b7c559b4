"""Tables that list all of something list all of it."""

from __future__ import annotations

import re
import runpy
from itertools import product
from pathlib import Path

import fedcore.task_families
from fedcore.algorithms.registry import ALGORITHMS
from fedcore.audit.metrics.catalogue import CATALOGUE, RATES
from fedcore.privacy.statement.statement import Statement
from fedcore_simulations import simulate
from tests.builders import TinyTask
from tests.docs.pages import ROOT, listed

HOW = "run: python docs/engine_matrix.py > docs/engines.md"


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


def test_the_table_of_engines_holds_every_algorithm_and_what_cells_hold_when_they_are_trained_anew() -> None:
    matrix = runpy.run_path(str(ROOT / "docs/engine_matrix.py"))
    page = (ROOT / "docs/engines.md").read_text(encoding="utf-8")
    rows = [line.strip("| ").split(" | ") for line in page.splitlines() if line.startswith("| `")]
    reasons = dict(re.findall(r"^(\d+)\. (.*)$", page, re.MULTILINE))
    columns = list(product(matrix["PRIVACY"], matrix["OPTIMIZERS"]))
    assert [row[0].strip("`") for row in rows] == [*ALGORITHMS.rows]
    assert {len(row) for row in rows} == {1 + len(columns)}

    for place, (algorithm, *cells) in enumerate(rows):  # one cell of each row, another column in each
        privacy, optimizer = columns[place % len(columns)]
        written = cells[place % len(columns)]
        reason = re.sub(r"refused \((\d+)\)", lambda found: reasons[found[1]], written)
        assert reason == matrix["outcome"](algorithm.strip("`"), optimizer, privacy), HOW
