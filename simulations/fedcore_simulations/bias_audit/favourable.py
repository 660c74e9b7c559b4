"""Which label of a table is the favourable one, and what cannot be audited without it."""

from __future__ import annotations

from collections.abc import Sequence

from fedcore.audit.profiles import PROFILES
from fedcore.errors import DataError, PlanError
from fedcore_simulations.bias_audit.grouping import in_order
from fedcore_simulations.bias_audit.options import BiasOptions


def favourable_of(source: str, column: str, values: tuple[str, ...], wanted: str | None) -> tuple[str, list[str]]:
    """Return the favourable one of a column's values, and what a reader must know of the choice.

    Raises:
        DataError: The value that is wanted is not in the column; or none is wanted, and there are more than two.
    """
    ordered = in_order(values)
    if wanted is not None:
        if wanted not in values:
            raise DataError(
                f"--positive {wanted!r} is no value of column {column!r} of {source}; it has {_list(ordered)}"
            )
        return wanted, []
    if len(values) > 2:
        raise DataError(
            f"column {column!r} of {source} has {len(values)} values ({_list(ordered)}); say with --positive which one "
            "is favourable, against the rest"
        )
    return ordered[-1], [f"favourable: {ordered[-1]}, the last in order; --positive says otherwise"]


def check_selected(options: BiasOptions, column: str, labels: Sequence[str]) -> None:
    """Refuse a profile that compares who is selected where no label is favourable.

    Raises:
        PlanError: The profile is one of these.
    """
    if options.profile is not None and PROFILES[options.profile].compares_selection:
        raise PlanError(
            f"--profile {options.profile} compares who is selected; say with --positive which label of column "
            f"{column!r} that is: it has {_list(labels)}"
        )


def _list(values: Sequence[str]) -> str:
    return f"{', '.join(values[:6])}{', …' if len(values) > 6 else ''}"
