"""A picture with its title, its sentence and its table."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from fedcore.report.page.run_record import Round
from fedcore.report.pictures.scales import thinned

_MOST_ROUNDS = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """The numbers of a picture as text; the first column names the rows."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One picture; `sentence` describes it, `note` explains how to read it."""

    title: str
    sentence: str
    picture: Markup
    table: Table
    note: str = ""


def drawn_rounds(rounds: Sequence[Round]) -> tuple[list[Round], str]:
    places = thinned(len(rounds), at_most=_MOST_ROUNDS)
    note = f"{len(places)} of {len(rounds):,} evaluated rounds are drawn, evenly spaced."
    return [rounds[place] for place in places], note if len(places) < len(rounds) else ""


def sentences(parts: Iterable[str]) -> str:
    return " ".join(part for part in parts if part)
