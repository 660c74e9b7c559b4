"""Sections common to all documents about an audit, from the content of ``bias.json``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from fedcore.audit.tables.groups import UNKNOWN
from fedcore.report.model_card.analyses import (
    attributes,
    class_table,
    gap_table,
    group_table,
    is_measured,
    listed,
    reference_table,
    rows_of,
    served,
)
from fedcore.report.model_card.markdown import escaped, measured, table, words

Content = Mapping[str, Any]


def factors(bias: Content, *, rows: str) -> Iterator[str]:
    """Return the groups of every attribute with their rows; ``rows`` names the rows."""
    for attribute in bias["groups"]:
        figures = ", ".join(
            f"{escaped(group)} ({rows_of(one)})" for group, one in listed(bias, attribute).items() if group != UNKNOWN
        )
        unknown = listed(bias, attribute).get(UNKNOWN)
        rest = "" if unknown is None else f"; of unknown group {rows_of(unknown)}, reported and not compared"
        yield f"- {escaped(attribute)}: {figures}{rest}."
    yield ""
    yield f"In parentheses the {rows}. Groups and rates of fewer than {bias['min_cell']} rows, and others that would"
    yield "reveal them, are not shown."


def intervals(bias: Content) -> Iterator[str]:
    yield f"- Intervals of {100 * bias['confidence']:g} % confidence; a gap's interval holds for all pairs of groups at"
    yield "  once. " + "; ".join(f"{words(name)}: {escaped(method)}" for name, method in bias["methods"].items()) + "."


def limits(bias: Content, *, declared: str) -> Iterator[str]:
    found = list(dict.fromkeys(finding["limit"] for finding in bias["findings"]))
    yield f"- Limits, declared {declared}: {'; '.join(map(escaped, found)) or 'none'}."


def quantitative(bias: Content) -> Iterator[str]:
    for heading, crossed in (("Unitary results", False), ("Intersectional results", True)):
        names = attributes(bias, crossed=crossed)
        if names:
            yield from ("", f"### {heading}")
        for attribute in names:
            yield from ("", f"By {escaped(attribute)}:", "", *group_table(bias, attribute))
            yield from ("", *gap_table(bias, attribute))
            if compared := reference_table(bias, attribute):
                yield from ("", *compared)
            if classes := class_table(bias, attribute):
                yield from ("", "Each class against the others, all at once:", "", *classes)


def rows_by_group(bias: Content) -> Iterator[str]:
    """Return rows by group, and the favourable share of them if labels are known."""
    for attribute in bias["groups"]:
        rows = [
            [escaped(group), rows_of(one), *([measured("base_rate", one["base_rate"])] if "base_rate" in one else [])]
            for group, one in listed(bias, attribute).items()
        ]
        width = max(len(row) for row in rows)
        yield from ("", *table([escaped(attribute), "rows", "favourable"][:width], rows))


def has_labels(bias: Content) -> bool:
    """Return whether labels were counted, so that groups have base rates of one label or of each."""
    return is_measured(bias, "base_rate") or any(one.get("classes") for one in bias.get("by_class", {}).values())


def accuracy_by_group(bias: Content) -> Iterator[str]:
    """Return a line for every attribute, with the accuracy or error of each group and of all rows."""
    for attribute in [*attributes(bias, crossed=False), *attributes(bias, crossed=True)]:
        overall = bias["overall"][attribute]
        metric = served(overall)
        figures = "; ".join(
            f"{escaped(group)} {measured(metric, one.get(metric))}" for group, one in listed(bias, attribute).items()
        )
        yield f"- {words(metric).capitalize()} by {escaped(attribute)}: {figures}. All rows:"
        yield f"  {measured(metric, overall[metric])}."


def caveats(bias: Content) -> Iterator[str]:
    for attribute, hidden in bias["suppressed"].items():
        if hidden:
            yield f"- {escaped(attribute)}: too small to be shown, or would reveal such a group: " + (
                ", ".join(map(escaped, hidden)) + "; the verdict rests on them, too."
            )
    for attribute, thin in bias.get("partly_suppressed", {}).items():
        if thin and has_labels(bias):
            yield f"- {escaped(attribute)}: shown in part, because a rate rests on too few rows or would give such a"
            yield f"  rate back: {', '.join(map(escaped, thin))}; the verdict rests on them, too."
    for attribute, few in bias.get("not_judged", {}).items():
        if few:
            yield f"- {escaped(attribute)}: too small to be judged: {', '.join(map(escaped, few))}."
    for attribute in bias["groups"]:
        undefined = {
            words(metric)
            for group, one in listed(bias, attribute).items()
            for metric, value in one.items()
            if group != UNKNOWN and value["value"] is None and value["n"] is not None
        }
        if undefined:
            yield f"- {escaped(attribute)}: undefined in a group: {', '.join(sorted(undefined))}."
    yield "- A gap within its interval of 0 does not prove that there is none; one outside it does not prove its cause."
    if not has_labels(bias):
        return
    yield "- Calibration within groups and equal error rates cannot all hold where base rates differ (Chouldechova"
    yield "  2017; Kleinberg, Mullainathan and Raghavan 2017): which of them matters is a decision about the use."
