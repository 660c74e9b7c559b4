"""The favourable label of a table, and what cannot be audited without it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fedcore.audit.table.columns import in_order
from fedcore.audit.table.options import BiasOptions
from fedcore.audit.verdict.profiles import PROFILES
from fedcore.errors import DataError, PlanError

_KNOWN = (("0", "1"), ("false", "true"), ("no", "yes"))
"""Pairs with an obvious favourable value, the second; in any case of letters."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Favourable:
    """The favourable label and its opposite.

    Attributes:
        other: The only other value, or ``not LABEL`` of several.
        guessed: Whether it is a guess: the last in order of two whose words do not decide.
    """

    label: str
    other: str
    guessed: bool = False
    note: str = ""


def favourable_of(source: str, column: str, values: tuple[str, ...], wanted: str | None) -> Favourable:
    """Return the favourable one of a column's values.

    A wanted value must be in the column, unless the column has one value only.

    Raises:
        DataError: The wanted value is not in the column; or none is wanted, and there are not two.
    """
    ordered = in_order(values)
    if len(values) == 1:
        return _of_one(source, column, ordered[0], wanted)
    if wanted is not None:
        _check_held(source, column, ordered, wanted)
        return Favourable(label=wanted, other=_opposite(values, wanted))
    if len(values) > 2:
        raise DataError(
            f"column {column!r} of {source} has {len(values)} values ({_listed(ordered)}); set with --positive which "
            "one is favourable, against the rest"
        )
    known = _known(values)
    label = ordered[-1] if known is None else known
    return Favourable(label=label, other=_opposite(values, label), guessed=known is None)


def check_two(source: str, column: str, values: tuple[str, ...]) -> None:
    """Refuse labels of one value only; raises `DataError`."""
    if len(values) < 2:
        raise DataError(f"column {column!r} of {source} has one value only ({values[0]}); rates need two labels")


def guess_words(label: str) -> str:
    return f"favourable {label!r} is a guess: it is the last in order; set it with --positive"


def _of_one(source: str, column: str, only: str, wanted: str | None) -> Favourable:
    if wanted is None:
        raise DataError(
            f"column {column!r} of {source} has one value only ({only}); set --positive {only} if that is the "
            "favourable one, or another value if it is not"
        )
    if wanted == only:
        return Favourable(label=only, other=f"not {only}", note=f"every row is {only} in column {column}")
    if _alike(wanted, only):
        _check_held(source, column, [only], wanted)
    return Favourable(label=wanted, other=only, note=f"nobody is {wanted}: every row is {only} in column {column}")


def _check_held(source: str, column: str, values: Sequence[str], wanted: str) -> None:
    if wanted not in values:
        found = f"column {column!r} of {source}; it has {_listed(values)}"
        raise DataError(f"--positive {wanted!r} is not a value of {found}")


def _alike(first: str, second: str) -> bool:
    """Whether two words may mean the same: in other letters, or as 1 and true."""
    words = {first.lower(), second.lower()}
    return len(words) == 1 or any(words <= {pair[side] for pair in _KNOWN} for side in (0, 1))


def _known(values: tuple[str, ...]) -> str | None:
    """Return which of two values is the favourable one by its own meaning."""
    by_word = {value.lower(): value for value in values}
    return next((by_word[pair[1]] for pair in _KNOWN if set(by_word) == set(pair)), None)


def _opposite(values: tuple[str, ...], label: str) -> str:
    others = [value for value in values if value != label]
    return others[0] if len(others) == 1 else f"not {label}"


def check_selected(options: BiasOptions, column: str, labels: Sequence[str]) -> None:
    """Refuse a profile that compares selection rates without a favourable label; raises `PlanError`."""
    if options.profile is not None and not PROFILES[options.profile].document:
        raise PlanError(
            f"--profile {options.profile} compares who is selected; set with --positive which label of column "
            f"{column!r} that is: it has {_listed(labels)}"
        )


def _listed(values: Sequence[str]) -> str:
    return f"{', '.join(values[:6])}{', …' if len(values) > 6 else ''}"
