"""The card, put together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import date
from typing import Any

from fedcore.audit.groups import UNKNOWN
from fedcore.wording import counted
from fedcore_server.model_card.analyses import (
    attributes,
    class_table,
    gap_table,
    group_table,
    listed,
    over_clients,
    rows_of,
    served,
    spread,
)
from fedcore_server.model_card.frameworks import frameworks
from fedcore_server.model_card.markdown import escaped, words
from fedcore_server.model_card.thresholds import by_group

Content = Mapping[str, Any]


def model_card(bias: Content, summary: Content, *, day: date) -> str:
    """Return the audit as Markdown.

    Args:
        bias: Content of ``bias.json``; empty where nothing was audited.
        summary: Content of ``summary.json``.
        day: On which it is written.
    """
    lines = [f"# Bias audit: {escaped(summary['task'])}", ""]
    if not bias.get("groups"):
        return "\n".join([*lines, "Nothing was audited: the plan names no sensitive attribute."]) + "\n"
    lines += [
        f"Written by fedcore {summary['fedcore_version']} on {day.isoformat()}, to be completed by whoever answers for "
        "the model: intended use, training data and ethical considerations are not known to a run. The figures are "
        "evidence and no legal advice.",
        "",
    ]
    for section in (_details, _factors, _metrics, _data, _analyses, _verdict, _caveats, frameworks):
        lines += [*section(bias, summary), ""]
    return "\n".join(lines).rstrip() + "\n"


def _details(bias: Content, summary: Content) -> Iterator[str]:
    yield from ("## Model details", "")
    yield f"- Model SHA-256 `{summary['model_sha256']}`, plan SHA-256 `{bias['plan_sha256']}`."
    trained = f"- Trained in {counted(summary['rounds'], 'round')} with {counted(summary['clients'], 'client')}"
    chosen = summary.get("released_round", summary["rounds"])
    yield trained + (f"; the model is that of round {chosen}." if chosen != summary["rounds"] else ".")
    if summary.get("epsilon") is not None:
        yield (
            f"- Differentially private training: ε = {summary['epsilon']:.2f} per {summary['unit']}, "
            f"δ = {summary['delta']:g}; the figures below are outside of that guarantee, see `privacy.json`."
        )


def _factors(bias: Content, _: Content) -> Iterator[str]:
    yield from ("## Factors", "")
    for attribute in bias["groups"]:
        told = ", ".join(
            f"{escaped(group)} ({rows_of(one)})" for group, one in listed(bias, attribute).items() if group != UNKNOWN
        )
        unknown = listed(bias, attribute).get(UNKNOWN)
        rest = "" if unknown is None else f"; of unknown group {rows_of(unknown)}, reported and not compared"
        yield f"- {escaped(attribute)}: {told}{rest}."
    yield ""
    yield f"In parentheses the held-out rows. Groups of fewer than {bias['min_cell']} rows, and others that would give "
    yield "them back, are not shown."


def _metrics(bias: Content, summary: Content) -> Iterator[str]:
    yield from ("## Metrics", "")
    yield f"- {_decisions(bias)}"
    yield f"- Intervals of {100 * bias['confidence']:g} % confidence; a gap's interval holds for all pairs of groups at"
    yield "  once. " + "; ".join(f"{words(name)}: {escaped(method)}" for name, method in bias["methods"].items()) + "."
    limits = list(dict.fromkeys(finding["limit"] for finding in bias["findings"]))
    yield f"- Limits, declared before the run: {'; '.join(map(escaped, limits)) or 'none'}."


def _data(bias: Content, _: Content) -> Iterator[str]:
    yield from ("## Evaluation data", "")
    attribute = next(iter(bias["groups"]))
    overall = bias["overall"][attribute]
    n = overall[served(overall)]["n"]
    yield f"Held-out rows of all clients, which were not trained on: {'not shown' if n is None else f'{n:,}'}."
    yield escaped(bias["population"])


def _analyses(bias: Content, _: Content) -> Iterator[str]:
    yield "## Quantitative analyses"
    for heading, crossed in (("Unitary results", False), ("Intersectional results", True)):
        names = attributes(bias, crossed=crossed)
        if names:
            yield from ("", f"### {heading}")
        for attribute in names:
            yield from ("", f"By {escaped(attribute)}:", "", *group_table(bias, attribute))
            yield from ("", *gap_table(bias, attribute))
            if classes := class_table(bias, attribute):
                yield from ("", "Each class against the others, all at once:", "", *classes)
    split, clients = [*over_clients(bias)], [*spread(bias)]
    if split:
        yield from ("", "### Gaps within and between clients", *split)
    if clients:
        yield from ("", "### Performance over clients", "", *clients)
    thresholds = [*by_group(bias)]
    if thresholds:
        yield from ("", "### Thresholds by group, not in use", *thresholds)


def _verdict(bias: Content, summary: Content) -> Iterator[str]:
    yield from ("## Verdict", "")
    yield f"{bias['verdict'] or 'Nothing was judged: no limits were declared.'}"
    yield ""
    reasons = [finding["reason"] for finding in bias["findings"]]
    said = [f"{one['hook']}: {text}" for one in bias["decisions"] for text in one["findings"] if text not in reasons]
    yield from (f"- {escaped(text)}" for text in (*reasons, *said))
    if summary.get("withheld"):
        yield f"- The model is withheld: {escaped(summary['withheld'])}."


def _caveats(bias: Content, summary: Content) -> Iterator[str]:
    yield from ("## Caveats and recommendations", "")
    for attribute, hidden in bias["suppressed"].items():
        if hidden:
            yield f"- {escaped(attribute)}: too small to be shown, or would give such a group back: " + (
                ", ".join(map(escaped, hidden)) + "; the verdict rests on them, too."
            )
    for attribute in bias["groups"]:
        undefined = {
            words(metric)
            for group, one in listed(bias, attribute).items()
            for metric, value in one.items()
            if group != UNKNOWN and value["value"] is None and value["n"] is not None
        }
        if undefined:
            yield f"- {escaped(attribute)}: undefined in a group: {', '.join(sorted(undefined))}."
    yield "- A gap within its interval of 0 is no proof that there is none; one over it is no proof of its cause."
    yield "- Calibration within groups and equal error rates cannot all hold where base rates differ (Chouldechova"
    yield "  2017; Kleinberg, Mullainathan and Raghavan 2017): which of them matters is a decision about the use."
    withheld = summary.get("withheld")
    told = [one for one in summary.get("warnings", ()) if not (withheld and withheld in one)]
    yield from (f"- {escaped(warning)}" for warning in told)


def _decisions(bias: Content) -> str:
    """Return how a row comes to be selected."""
    if not any("selection_rate" in one for groups in bias["groups"].values() for one in groups.values()):
        if any(one.get("classes") for one in bias["by_class"].values()):
            return "No label is favourable: each is taken against the others."
        return "Targets are numbers: errors of predictions, in the target's unit."
    label = escaped(bias["favourable"] or "the second of two")
    return f"Favourable label: {label}; of two labels, it is predicted from a score of {bias['threshold']:g}."
