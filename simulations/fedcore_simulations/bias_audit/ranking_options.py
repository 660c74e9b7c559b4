"""What contradicts itself in the options of a ranking."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import TYPE_CHECKING

from fedcore.audit.ranked_lists import Top

if TYPE_CHECKING:
    from fedcore_simulations.bias_audit.options import BiasOptions

_DEFAULT_TOP = "10"


def ranking_problems(options: BiasOptions) -> Iterator[str]:
    """Yield every problem that is a ranking's own."""
    unfitting = {
        "--prediction": options.prediction is not None,
        "--threshold": options.threshold is not None,
        "--positive": options.positive is not None,
        "--site": options.site is not None,
        "--reference": bool(options.references),
        "--profile": options.profile is not None,
        "--group-thresholds": options.group_thresholds is not None,
        "--score-range": options.score_range != (0.0, 1.0),
    }
    for option, given in unfitting.items():
        if given:
            yield f"{option} has no meaning in a ranking; leave it out"
    if options.score is None:
        yield "--kind ranking needs --score COL: rows are ranked by it, the highest first"
    others = {options.label, options.score, options.weight, *options.attributes}
    if options.list_column is not None and options.list_column in others:
        yield f"column {options.list_column!r} is given both as --list and as something else"
    if _places(options.top) is None:
        yield (
            f"--top must be a whole number of places, or a share of the list below 1, as 10 or 0.1, not {options.top!r}"
        )


def top_of(options: BiasOptions) -> Top:
    """Return the places at the top, 10 unless the options say otherwise."""
    return Top(places=_places(options.top) or Fraction(_DEFAULT_TOP))


def _places(text: str | None) -> Fraction | None:
    """Return the number that was written, exactly; None where it is none that can be used."""
    try:
        places = Fraction(_DEFAULT_TOP if text is None else text)
    except (ValueError, ZeroDivisionError):
        return None
    return places if 0 < places < 1 or (places >= 1 and places.denominator == 1) else None
