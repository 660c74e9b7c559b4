"""A privacy statement in plain language."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, select_autoescape

from fedcore.privacy.accounting import rounded_up
from fedcore.text.wording import counted


def in_a_paragraph(statement: Mapping[str, Any]) -> str:
    return _templates().get_template("paragraph.txt.j2").render(statement)


def explained(statement: Mapping[str, Any]) -> str:
    """The statement for a data protection officer without statistics; several paragraphs."""
    return _templates().get_template("explained.txt.j2").render(statement)


@cache
def _templates() -> Environment:
    templates = Environment(
        loader=PackageLoader("fedcore.privacy.statement", "templates"),
        autoescape=select_autoescape(),  # text is not escaped
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.filters |= {
        "counted": counted,
        "epsilon": lambda epsilon: "∞" if epsilon is None else f"{rounded_up(epsilon):g}",
        "percent": lambda share: f"{rounded_up(min(1.0, share), 4):.2%}".replace("%", " %"),
        "listed": lambda names: names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}",
        "sentence": _sentence,
    }
    return templates


def _sentence(text: str) -> str:
    capital = text[:1].upper() + text[1:] if text[:1].isascii() else text
    return capital if capital.endswith(".") else f"{capital}."
