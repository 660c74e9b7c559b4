"""What the pages point at is there, and every module says what it is."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from tests.docs.pages import PACKAGES, PAGES, ROOT, blocks, name_of, packaged_modules, prose

_LINK = re.compile(r"\]\((?!https?://|mailto:)([^)\s#]*)(?:#([^)\s]+))?\)")
_FILE = re.compile(r"`([\w./-]+/[\w.-]+\.(?:py|toml|md|txt|j2)|[\w.-]+/[\w./-]+/)`")


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    for target, anchor in _LINK.findall(prose(page)):
        path = (page.parent / target).resolve() if target else page
        assert path.exists(), f"{name_of(page)}: the link to {target} leads nowhere"
        assert path.is_relative_to(ROOT), f"{name_of(page)}: the link to {target} leads out of the repository"
        if anchor:
            assert anchor in _anchors(path), f"{name_of(page)}: {target} has no heading #{anchor}"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_file_named_in_the_text_exists(page: Path) -> None:
    homes = [ROOT, *(package.parent for package in PACKAGES), *PACKAGES, page.parent]
    for path in _FILE.findall(prose(page)):
        if not path.startswith(("checkpoint/", "runs/")):
            assert any((home / path).exists() for home in homes), f"{name_of(page)}: there is no file {path}"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_block_says_its_language(page: Path) -> None:
    for block in blocks(page):
        assert block.language, f"{name_of(page)}:{block.line}: a block without a language"


def test_every_document_can_be_reached_from_the_readme() -> None:
    reached, waiting = set(), [ROOT / "README.md"]
    while waiting:
        page = waiting.pop()
        if page in reached or page.suffix != ".md":
            continue
        reached.add(page)
        waiting += [(page.parent / target).resolve() for target, _ in _LINK.findall(prose(page)) if target]

    assert reached >= set(PAGES)


def test_every_module_says_what_it_is() -> None:
    silent = [name_of(module) for module in packaged_modules() if not ast.get_docstring(ast.parse(module.read_text()))]

    assert silent == []


def _anchors(page: Path) -> set[str]:
    """The headings of a page as a hosting site makes anchors of them."""
    titles = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.M)
    return {re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-") for title in titles}
