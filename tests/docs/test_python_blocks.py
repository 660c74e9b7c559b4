"""Every Python block of the documentation runs, page by page from top to bottom."""

from __future__ import annotations

import contextlib
import io
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.docs.pages import PACKAGES, Block, blocks, name_of, with_blocks


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty working directory whose modules can be imported, and are forgotten again."""
    known = set(sys.modules)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    yield tmp_path
    for name in set(sys.modules) - known:
        if str(getattr(sys.modules[name], "__file__", None) or "").startswith(str(tmp_path)):
            del sys.modules[name]


@pytest.mark.parametrize("page", with_blocks("python"), ids=name_of)
def test_every_python_block_runs_and_prints_what_the_page_says(page: Path, workplace: Path) -> None:
    namespace: dict[str, Any] = {"__name__": "__main__"}
    printed = ""
    for block in blocks(page):
        if block.file:
            (workplace / block.file).write_text(block.text, encoding="utf-8")
        if block.comment == "output":
            assert printed == block.text, f"{name_of(page)}:{block.line} shows another output than its block gives"
        if block.language == "python" and not block.is_marked("not run"):
            printed = _run(block, namespace, f"{name_of(page)}:{block.line}")


@pytest.mark.parametrize("page", with_blocks("python"), ids=name_of)
def test_every_file_that_is_shown_from_a_template_is_that_template(page: Path) -> None:
    templates = PACKAGES[3] / "templates"
    for block in blocks(page):
        if block.file and (templates / block.file).is_file():
            assert block.text == (templates / block.file).read_text(encoding="utf-8")


def _run(block: Block, namespace: dict[str, Any], place: str) -> str:
    """Run a block as the main module would; lines in a traceback are those of the page's block."""
    code = compile(block.text, place, "exec")
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        exec(code, namespace)  # noqa: S102 - the documentation's own text
    return printed.getvalue()
