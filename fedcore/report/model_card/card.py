"""The card, put together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import date
from typing import Any

from fedcore.report.model_card.analyses import over_clients, served, spread
from fedcore.report.model_card.frameworks import frameworks
from fedcore.report.model_card.markdown import escaped
from fedcore.report.model_card.sections import caveats, factors, intervals, limits, quantitative
from fedcore.report.release_words import waiver_words, withheld_words
from fedcore.text.wording import counted

Content = Mapping[str, Any]


def model_card(bias: Content, summary: Content, *, day: date) -> str:
    """Return the audit as Markdown.

    Args:
        bias: Content of ``bias.json``; empty if nothing was audited.
    """
    lines = [f"# Bias audit: {escaped(summary['task'])}", ""]
    if not bias.get("groups"):
        return "\n".join([*lines, "Nothing was audited: the plan names no sensitive attribute."]) + "\n"
    lines += [
        f"Written by fedcore {summary['fedcore_version']} on {day.isoformat()}, to be completed by those responsible "
        "for the model: intended use, training data and ethical considerations are not known to a run. The figures are "
        "evidence, not legal advice.",
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
    yield from ("## Factors", "", *factors(bias, rows="held-out rows"))


def _metrics(bias: Content, _: Content) -> Iterator[str]:
    yield from ("## Metrics", "")
    yield f"- {_decisions(bias)}"
    yield from (*intervals(bias), *limits(bias, declared="before the run"))


def _data(bias: Content, _: Content) -> Iterator[str]:
    yield from ("## Evaluation data", "")
    attribute = next(iter(bias["groups"]))
    overall = bias["overall"][attribute]
    n = overall[served(overall)]["n"]
    yield f"Held-out rows of all clients, which were not trained on: {'not shown' if n is None else f'{n:,}'}."
    yield escaped(bias["population"])


def _analyses(bias: Content, _: Content) -> Iterator[str]:
    yield from ("## Quantitative analyses", *quantitative(bias))
    split, clients = [*over_clients(bias)], [*spread(bias)]
    if split:
        yield from ("", "### Gaps within and between clients", *split)
    if clients:
        yield from ("", "### Performance over clients", "", *clients)


def _verdict(bias: Content, summary: Content) -> Iterator[str]:
    yield from ("## Verdict", "")
    yield f"{bias['verdict'] or 'Nothing was judged: no limits were declared.'}"
    yield ""
    reasons = [finding["reason"] for finding in bias["findings"]]
    said = [f"{one['hook']}: {text}" for one in bias["decisions"] for text in one["findings"] if text not in reasons]
    yield from (f"- {escaped(text)}" for text in (*reasons, *said))
    if summary.get("withheld"):
        yield f"- The model is withheld: {escaped(summary['withheld'])}."
    if summary.get("waiver"):
        yield f"- {escaped(waiver_words(summary['waiver']))}"


def _caveats(bias: Content, summary: Content) -> Iterator[str]:
    yield from ("## Caveats and recommendations", "", *caveats(bias))
    withheld, waiver = summary.get("withheld"), summary.get("waiver")
    said = [*([withheld_words(withheld)] if withheld else []), *([waiver_words(waiver)] if waiver else [])]
    yield from (f"- {escaped(warning)}" for warning in summary.get("warnings", ()) if warning not in said)


def _decisions(bias: Content) -> str:
    if not any("selection_rate" in one for groups in bias["groups"].values() for one in groups.values()):
        if any(one.get("classes") for one in bias["by_class"].values()):
            return "No label is favourable: each is taken against the others."
        return "Targets are numbers: errors of predictions, in the target's unit."
    label = escaped(bias["favourable"] or "the second of two")
    return f"Favourable label: {label}; of two labels, it is predicted from a score of {bias['threshold']:g}."
