"""Elements of a picture. Everything that is not an element itself is escaped."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable

from markupsafe import Markup

WIDTH = 344.0  # of every picture, in the units of its text: one column of the page, or a phone


def element(name: str, *content: str, **attributes: object) -> Markup:
    """Return an element with escaped text; None leaves an attribute out, ``_`` becomes ``-``, ``class_`` ``class``."""
    values = {key: number(value) if isinstance(value, float) else value for key, value in attributes.items()}
    written = Markup("").join(
        Markup(' {}="{}"').format(key.rstrip("_").replace("_", "-"), value)
        for key, value in values.items()
        if value is not None
    )
    if not content:
        return Markup("<{}{}/>").format(name, written)
    return Markup("<{0}{1}>{2}</{0}>").format(name, written, Markup("").join(content))


def picture(content: Iterable[Markup], *, height: float, says: str) -> Markup:
    """Return a whole picture, ``WIDTH`` wide; ``says`` describes it for those who do not see it."""
    size = f"0 0 {number(WIDTH)} {number(height)}"
    return element("svg", *content, viewBox=size, role="img", aria_label=says)


def text(x: float, y: float, content: str, *, style: str = "", anchor: str | None = None) -> Markup:
    """Return text; ``style`` names classes, ``anchor`` is ``middle``, ``end`` or None."""
    return element("text", content, x=x, y=y, class_=style or None, text_anchor=anchor)


def path(d: str, style: str, *content: str) -> Markup:
    return element("path", *content, d=d, class_=style)


def title(content: str) -> Markup:
    return element("title", content)


def number(value: float) -> str:
    """Write a coordinate to a tenth."""
    return f"{round(value, 1) + 0.0:.1f}".removesuffix(".0")


def text_width(content: str, size: float = 11.5) -> float:
    """Estimate the width of a text in a system font: 0.56 em a character, 1 em a wide one."""
    wide = sum(unicodedata.east_asian_width(character) in "WF" for character in content)
    return size * (0.56 * (len(content) - wide) + wide)


def shortened(content: str, width: float, size: float = 11.5) -> str:
    """Cut a text to a width, with an ellipsis."""
    if text_width(content, size) <= width:
        return content
    kept = content
    while kept and text_width(kept + "…", size) > width:
        kept = kept[:-1]
    return kept.rstrip() + "…"
