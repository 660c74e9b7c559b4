"""The pages of the documentation, and the fenced blocks in them.

A comment right before a block says what the block is, where its language does not:

``<!-- not run: reason -->``     this block is not executed
``<!-- not a plan: reason -->``  this TOML is something else
``<!-- file: NAME -->``          the block is also written to a file of this name, beside which later blocks run
``<!-- output -->``              what the Python block before it prints
``<!-- run -->``                 a step of docs/deploy.md, and ``<!-- stays: NAME -->`` one that goes on in a terminal
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = tuple(
    sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md", *(ROOT / "docs").rglob("*.md")])
)
PACKAGES = (
    ROOT / "fedcore",
    ROOT / "server/fedcore_server",
    ROOT / "clients/fedcore_clients",
    ROOT / "simulations/fedcore_simulations",
)

_BLOCK = re.compile(r"(?:^<!-- *(?P<comment>[^\n]*?) *-->\n+)?^```(?P<language>\w*)\n(?P<text>.*?)^```$", re.M | re.S)


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """A fenced block.

    Attributes:
        comment: The HTML comment right before it, or nothing.
        line: Where it begins in the page.
    """

    language: str
    text: str
    comment: str
    line: int

    @property
    def file(self) -> str | None:
        """The name of the file that it is."""
        return self.comment.removeprefix("file:").strip() if self.comment.startswith("file:") else None

    def is_marked(self, mark: str) -> bool:
        """Whether the comment before it begins with this mark and gives a reason."""
        return self.comment.startswith(f"{mark}:") and bool(self.comment.removeprefix(f"{mark}:").strip())


def blocks(page: Path) -> list[Block]:
    text = page.read_text(encoding="utf-8")
    return [
        Block(
            language=match["language"],
            text=match["text"],
            comment=match["comment"] or "",
            line=text.count("\n", 0, match.start("language")) + 1,
        )
        for match in _BLOCK.finditer(text)
    ]


def prose(page: Path) -> str:
    """The page without its fenced blocks."""
    return _BLOCK.sub("", page.read_text(encoding="utf-8"))


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def with_blocks(language: str) -> list[Path]:
    return [page for page in PAGES if any(block.language == language for block in blocks(page))]


def packaged_modules() -> list[Path]:
    """Every module of the four packages that is fedcore's own; templates are a user's."""
    found = [path for package in PACKAGES for path in sorted(package.rglob("*.py"))]
    return [path for path in found if "templates" not in path.parts]


def listed(page: str, heading: str) -> set[str]:
    """Everything in code in the first column of the tables under a heading."""
    section = re.split(r"^## ", prose(ROOT / page), flags=re.M)
    (found,) = (text for text in section if text.startswith(f"{heading}\n"))
    cells = re.findall(r"^\| (`[^|]*`) \|", found, re.M)
    return {name for cell in cells for name in re.findall(r"`([^`]+)`", cell)}
