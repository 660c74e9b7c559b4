"""Plain English in the documentation, in docstrings and in messages: words that readers stumble over are not used."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("fedcore", "server/fedcore_server", "clients/fedcore_clients", "simulations/fedcore_simulations")

WORDS = {  # what is not written, and what is written instead
    r"told|tells?|telling": "report, show, release, pass",
    r"(go|goes|going|gone|went) on(?! (to|a)\b)": "resume, continue",
    r"lets? out|letting out": "release",
    r"hand(s|ed)? out": "release, save",
    r"says? of|said of|says? nothing of": "report, or say what it does",
    r"nought": "zero",
    r"whereof|thereof|therein": "of which, in it",
    r"whoever": "who",
    r"another one of": "a different, a new",
    r"bears?|borne": "accept, carry, affect",
    r"lies? (in|with|over|within)(?! \[)": "is, is stored",
    r"st(ands?|ood) (by itself|beside|in (its|the|a)|last|over|at the)": "is, is shown",
    r"(?<!differences of )(?<!ratios of )what is no": "other than",  # two keys of bias.json
    r"such as live": "that run",
    r"(to be|can be) had": "available, possible",
    r"its word|beyond belief": "what the client reports; implausible",
    r"beyond that|as it were": "leave it out",
    r"no more than (it|that)": "not exceed",
    r"one's own": "your own",
    r"is no [a-z]+ at all": "is not",
    r"can hardly be": "the field's word",
    r"strangers?": "unknown",
}


@cache
def texts() -> tuple[tuple[str, str], ...]:
    return tuple(_texts())


def _texts() -> Iterator[tuple[str, str]]:
    """Each page, and each docstring and text of the packages, with its place."""
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
    for path in pages:
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
            yield f"{path.relative_to(ROOT)}:{number}", line
    for path in sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                for number, line in enumerate(node.value.splitlines(), start=node.lineno):
                    yield f"{path.relative_to(ROOT)}:{number}", line


@pytest.mark.parametrize("words", WORDS)
def test_pages_docstrings_and_messages_are_in_plain_words(words: str) -> None:
    pattern = re.compile(rf"\b({words})\b", re.IGNORECASE)
    found = [f"{place}: {line.strip()}" for place, line in texts() if pattern.search(line)]
    assert not found, f"write instead: {WORDS[words]}\n" + "\n".join(found)
