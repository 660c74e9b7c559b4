"""What a threshold for each group would do, from the content of ``bias.json``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from fedcore.audit.group_thresholds import price_words
from fedcore.audit.groups import UNKNOWN
from fedcore_server.model_card.markdown import NOT_SHOWN, escaped, measured, table, words

Content = Mapping[str, Any]


def by_group(bias: Content) -> Iterator[str]:
    """Return each attribute's thresholds with the warning; nothing where none were asked for."""
    for attribute, found in (bias.get("group_thresholds") or {}).items():
        metric = found["metric"]
        yield from ("", escaped(found["warning"]), "", f"By {escaped(attribute)}, to close the gap in {words(metric)}:")
        columns = [escaped(attribute), "threshold", f"{words(metric)} before", "after", "accuracy before", "after"]
        yield from ("", *table(columns, [_row(group, one, metric) for group, one in _listed(found).items()]), "")
        yield from _summary(found)


def _listed(found: Content) -> dict[str, Content]:
    """Return the groups that have rows or are kept back."""
    return {g: one for g, one in found["groups"].items() if g != UNKNOWN or one["before"]["accuracy"]["n"] != 0}


def _row(group: str, one: Content, metric: str) -> list[str]:
    rates = [measured(name, one[when][name]) for name in (metric, "accuracy") for when in ("before", "after")]
    own = group == UNKNOWN or one["kept"]
    return [escaped(group), f"{one['threshold']:g}{', as for all' if own else ''}", *rates]


def _summary(found: Content) -> Iterator[str]:
    metric, accuracy, rows = found["metric"], found["accuracy"], found["rows"]
    gaps = [found["gaps"][when][metric] for when in ("before", "after")]
    if all(gap["difference"] is not None for gap in gaps):
        first, then = (
            f"{100 * gap['difference']:.1f} points ({100 * gap['low']:.1f} to {100 * gap['high']:.1f})" for gap in gaps
        )
        yield f"- Gap in {words(metric)}: {first} before, {then} after."
    cost = accuracy["cost"]
    if cost["value"] is not None:
        before, after = (measured("accuracy", accuracy[when]) for when in ("before", "after"))
        price = price_words(cost["value"], cost["low"], cost["high"])
        yield f"- Accuracy {before} before, {after} after: {price}."
    judged = NOT_SHOWN if rows["judged_on"] is None else f"{rows['judged_on']:,}"
    yield f"- Chosen on one random half of the rows, judged on the other ({judged} rows)."
    for group, one in _listed(found).items():
        if one["kept"]:
            yield f"- {escaped(group)} keeps the threshold for all: {escaped(one['kept'])}."
