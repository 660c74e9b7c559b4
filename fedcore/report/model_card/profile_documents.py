"""Profiles that are documents: an audit as Markdown under the headings of a rule.

What the audit cannot know is left to people, in marked lines.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import date
from typing import Any

from fedcore.audit.table.bias_json import like_a_run
from fedcore.audit.table.favourable import guess_words
from fedcore.audit.verdict.profiles import EU_AI_ACT, MODEL_CARD, NIST_AI_RMF, PROFILES, Profile
from fedcore.report.model_card.markdown import escaped
from fedcore.report.model_card.sections import (
    accuracy_by_group,
    caveats,
    factors,
    intervals,
    limits,
    quantitative,
    rows_by_group,
)

Content = dict[str, Any]


def document(audit: Content, *, day: date) -> str | None:
    """Return the document of an audit's profile as Markdown; None for a profile without one.

    Args:
        audit: The audit as JSON, as ``bias_json.result_json`` returns it.
    """
    profile = PROFILES[audit["profile"]["name"]] if audit["profile"] else None
    if profile is None or not profile.document:
        return None
    bias = like_a_run(audit)
    lines = [
        f"# Bias audit of {escaped(audit['table']['name'])}: {escaped(profile.title)}",
        "",
        _origin(audit, profile, day),
    ]
    for section in _SECTIONS[profile.name]:
        lines += ["", *section(bias)]
    return "\n".join(lines).rstrip() + "\n"


def _origin(audit: Content, profile: Profile, day: date) -> str:
    sources = "; ".join(map(escaped, profile.sources))
    return (
        f"Written by fedcore {audit['fedcore_version']} on {day.isoformat()}, from {escaped(audit['table']['name'])}. "
        f"Source: {sources}; read {profile.date}."
    )


def _left(what: str) -> str:
    return f"- to be written by people: {what}."


def _details(_: Content) -> Iterator[str]:
    yield from ("## Model details", "", _left("who developed the model, its version, date, type, licence and contact"))
    yield from ("", "## Intended use", "", _left("what it is for, by whom, and what it is not for"))


def _factors(bias: Content) -> Iterator[str]:
    yield from ("## Factors", "", *factors(bias, rows="rows"), "")
    yield _left("why these groups, how they were determined, and which others matter")


def _metrics(bias: Content) -> Iterator[str]:
    yield from ("## Metrics", "", *_methods(bias), _left("why these metrics and limits"))


def _evaluation_data(bias: Content) -> Iterator[str]:
    yield from ("## Evaluation data", "", f"{_rows(bias)} {escaped(bias['population'])}", "")
    yield _left("where the rows come from, when, how they were chosen, and whether the model was trained on them")
    yield from ("", "## Training data", "", _left("the same of the data that it was trained on"))


def _analyses(bias: Content) -> Iterator[str]:
    yield from ("## Quantitative analyses", *quantitative(bias), "", "### Limits and verdict", "", *_verdict(bias))


def _ethics(bias: Content) -> Iterator[str]:
    yield from ("## Ethical considerations", "", _left("risks and harms, what was done about them, and who was asked"))
    yield from ("", "## Caveats and recommendations", "", *caveats(bias))


def _eu_data(bias: Content) -> Iterator[str]:
    yield from ("## 2(d) Data: main characteristics", "", _rows(bias), *rows_by_group(bias), "")
    yield _left(
        "training methodologies and data sets, their provenance and scope; how the data were obtained and selected, "
        "labelled and cleaned"
    )


def _eu_testing(bias: Content) -> Iterator[str]:
    yield from ("## 2(g) Validation and testing: metrics, potentially discriminatory impacts", "", *_methods(bias))
    yield from (f"- {escaped(bias['population'])}", *quantitative(bias), "", "### Limits and verdict", "")
    yield from (*_verdict(bias), "", "### Test log", "")
    yield "- This document, and `bias.json` of the same audit."
    yield _left(
        "validation and testing procedures and data; robustness; date and signature of the persons responsible; "
        "changes determined beforehand"
    )


def _eu_performance(bias: Content) -> Iterator[str]:
    yield from ("## 3 Capabilities and limitations: accuracy for specific persons or groups of persons", "")
    measured = any("accuracy" in one for groups in bias["groups"].values() for one in groups.values())
    yield from accuracy_by_group(bias) if measured else ("Not measured: the table holds no labels.",)
    yield from ("", *caveats(bias))
    yield _left(
        "the accuracy to be expected for the intended purpose; foreseeable unintended outcomes and sources of risk to "
        "health and safety, fundamental rights and discrimination; human oversight; what input data must be like"
    )


def _nist(bias: Content) -> Iterator[str]:
    yield from ("## MEASURE 2.11", "")
    yield "“Fairness and bias – as identified in the MAP function – are evaluated and results are documented.”"
    yield from ("", "### What was evaluated", "", _rows(bias), "", *factors(bias, rows="rows"), "", *_methods(bias), "")
    yield _left("the harms mapped, the people affected, and why these metrics were chosen")
    yield from ("", "## Results", *quantitative(bias), "", "### Limits and verdict", "", *_verdict(bias))
    yield from ("", "## What remains", "", *caveats(bias), _left("who accepts what remains, and what is done about it"))


_SECTIONS: dict[str, tuple[Callable[[Content], Iterator[str]], ...]] = {
    EU_AI_ACT.name: (_eu_data, _eu_testing, _eu_performance),
    NIST_AI_RMF.name: (_nist,),
    MODEL_CARD.name: (_details, _factors, _metrics, _evaluation_data, _analyses, _ethics),
}


def _rows(bias: Content) -> str:
    return f"{bias['table']['rows']:,} rows of {escaped(bias['table']['name'])}."


def _methods(bias: Content) -> Iterator[str]:
    yield f"- {_decisions(bias)}"
    yield from (*intervals(bias), *limits(bias, declared="with the command"))


def _decisions(bias: Content) -> str:
    columns = bias["columns"]
    if bias.get("kind") == "regression":
        return f"Predictions {escaped(columns['prediction'])} of the number {escaped(columns['label'])}."
    labels = "no labels" if columns["label"] is None else f"labels {escaped(columns['label'])}"
    label = bias["favourable"]
    favourable = f"{labels}; " + ("each against the others" if label is None else f"favourable is {escaped(label)}")
    favourable += ", a guess" if bias.get("favourable_is_a_guess") else ""
    if columns["score"] is None:
        return f"Decisions {escaped(columns['prediction'])}, {favourable}."
    return f"Selected from a score of {bias['threshold']:g} in {escaped(columns['score'])}; {favourable}."


def _verdict(bias: Content) -> Iterator[str]:
    yield bias["verdict"] or "Nothing was judged: no limits were declared."
    if bias.get("favourable_is_a_guess"):
        yield from ("", f"Note: {escaped(guess_words(bias['favourable']))}.")
    if bias["findings"]:
        yield from ("", *(f"- {escaped(finding['reason'])}" for finding in bias["findings"]))
