"""Results by group and over clients, from the content of ``bias.json``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from fedcore.audit.metrics.catalogue import HEADLINES, RATES, headlines_of, is_share, shown_in, split_over_clients
from fedcore.audit.metrics.parity import NAMES
from fedcore.audit.tables.crossing import ATTRIBUTE_MARK
from fedcore.audit.tables.groups import UNKNOWN
from fedcore.audit.verdict.gap_json import between_words
from fedcore.audit.verdict.shown import ratio_ends
from fedcore.report.model_card.markdown import NO_RATIO, NOT_SHOWN, escaped, measured, table, with_ends, words
from fedcore.report.page.wording import in_points

_TOLD = headlines_of("card")

Content = Mapping[str, Any]


def attributes(bias: Content, *, crossed: bool) -> list[str]:
    return [name for name in bias["groups"] if (ATTRIBUTE_MARK in name) == crossed]


def is_measured(bias: Content, metric: str) -> bool:
    return any(metric in one for groups in bias["groups"].values() for one in groups.values())


def group_table(bias: Content, attribute: str) -> list[str]:
    groups = listed(bias, attribute)
    metrics = [name for name in _TOLD if any(name in one for one in groups.values())]
    rows = [
        [escaped(group), rows_of(one), *(measured(metric, one.get(metric)) for metric in metrics)]
        for group, one in groups.items()
    ]
    return table([escaped(attribute), "rows", *(words(metric) for metric in metrics)], rows)


def gap_table(bias: Content, attribute: str) -> list[str]:
    gaps = bias["gaps"][attribute]
    names = [name for name in (*_TOLD, *NAMES) if name in gaps]
    rows = [_gap_row(name, gaps[name]) for name in dict.fromkeys(names)]
    return table(["gap", "higher over lower", "difference", "ratio"], rows)


def reference_table(bias: Content, attribute: str) -> list[str]:
    found = bias.get("to_reference", {}).get(attribute) or {}
    rows = [
        [words(name), escaped(group), *_directed(name, gap)]
        for group, gaps in found.get("gaps", {}).items()
        for name, gap in gaps.items()
        if name in _TOLD
    ]
    columns = ["metric", f"against {escaped(found['reference'])}" if found else "", "difference", "ratio"]
    return table(columns, sorted(rows, key=lambda row: row[0])) if rows else []


def listed(bias: Content, attribute: str) -> dict[str, Content]:
    groups = bias["groups"][attribute]
    return {g: one for g, one in groups.items() if g != UNKNOWN or next(iter(one.values()))["n"] != 0}


def rows_of(one: Content) -> str:
    n = one[served(one)]["n"]
    return NOT_SHOWN if n is None else f"{n:,}"


def served(one: Content) -> str:
    return next(metric for metric in (*HEADLINES, "selection_rate") if metric in one)


def class_table(bias: Content, attribute: str) -> list[str]:
    """Return the gaps of each class against the others; empty if one label is favourable."""
    classes = bias.get("by_class", {}).get(attribute, {}).get("classes", {})
    rows = [
        [escaped(label), *_gap_row(name, one["gaps"][name])]
        for label, one in classes.items()
        for name in shown_in("class pictures")
        if name in one["gaps"]
    ]
    return table(["class", "gap", "higher over lower", "difference", "ratio"], rows) if rows else []


def over_clients(bias: Content) -> Iterator[str]:
    """Return the gaps within and between clients, without clients' names."""
    for attribute, splits in bias["sites"].items():
        text = [(metric, splits[metric]) for metric in split_over_clients() if splits.get(metric) is not None]
        if text:
            rows = [_split_row(metric, split) for metric, split in text]
            columns = ["gap", "points", "within clients", "between clients", "one group only", "odds ratio"]
            yield from ["", f"By {escaped(attribute)}:", "", *table(columns, rows), "", _judged(text[0][1])]


def spread(bias: Content) -> Iterator[str]:
    found = bias["clients"]
    if not found or not found["judged"]:
        return
    yield "Another question than that of groups, and no answer to it: how evenly the model serves clients."
    yield ""
    yield f"- {found['judged']} clients compared; {found['too_few_rows']} of too few rows left out."
    yield f"- Accuracy of the best {measured('accuracy', found['best'])}, of the worst"
    yield f"  {measured('accuracy', found['worst'])}; mean {measured('accuracy', found['mean'])}, of the worst tenth"
    yield f"  {measured('accuracy', found['worst_decile'])}."
    if found["gini"] is not None:
        yield f"- Gini coefficient of accuracy {measured('gini', found['gini'])}."


def _gap_row(name: str, gap: Content) -> list[str]:
    difference, low, high = gap["difference"], gap["low"], gap["high"]
    if difference is None or low is None or high is None:
        return [words(name), "fewer than two groups compared", "undefined", "undefined"]
    text = with_ends(difference, low, high, percent=" points" if in_points(name) else "")
    if most := str(gap.get("furthest") or "").partition(":")[0]:
        text += f"; {most}"
    return [words(name), escaped(between_words(gap)), text, _ratio(name, gap)]


def _directed(name: str, gap: Content) -> list[str]:
    if gap["difference"] is None:
        return ["undefined", "undefined"]
    unit, ends = " points" if is_share(name) else "", ratio_ends(gap)
    ratio = NO_RATIO if ends is None else with_ends(gap["ratio"], *ends)
    return [with_ends(gap["difference"], gap["low"], gap["high"], percent=unit, sign="+"), ratio]


def _ratio(name: str, gap: Content) -> str:
    ends = ratio_ends(gap)
    if ends is None:
        return "undefined" if name in RATES and gap["ratio"] is None else NO_RATIO
    return with_ends(gap["ratio"], *ends)


def _split_row(metric: str, split: Content) -> list[str]:
    parts = [f"{100 * split[part]:+.1f}" for part in ("gap", "within", "between", "no_overlap")]
    odds = split["odds_ratio"]
    if odds["value"] is None or odds["low"] is None:
        return [words(metric), *parts, "undefined"]
    return [words(metric), *parts, with_ends(odds["value"], odds["low"], odds["high"], digits=2)]


def _judged(split: Content) -> str:
    alone, few = split["not_judged"]["one_group_only"], split["not_judged"]["too_few_rows"]
    text = f"Clients with rows enough to be judged alone: {split['judged']}; with too few: {few}; with one of the "
    text += f"groups only: {alone}."
    for one in split["over_limit"]:
        if one["sites"] is not None:
            text += (
                f" Over the limit ({escaped(one['limit'])}): {one['sites']} of {one['judged']}, "
                f"{one['over_beyond_chance']} of them beyond chance; within it beyond chance: "
                f"{one['within_beyond_chance']}."
            )
    return text
