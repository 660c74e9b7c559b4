"""The headings of particular rules, where the figures of a run have something to say under them.

They order evidence. Whether a rule is met is for people to say who know the system and its use.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from fedcore_server.model_card.analyses import attributes, listed, rows_of, served
from fedcore_server.model_card.markdown import escaped, measured, table, words

_READ = "2026-11-23"
EU_AI_ACT = (
    "Regulation (EU) 2024/1689 of 13 June 2024 (Artificial Intelligence Act), Official Journal L, 12 July 2024, "
    "Annex IV; http://data.europa.eu/eli/reg/2024/1689/oj. The dates from which duties hold have been moved since, and "
    "may be again: look them up."
)
NIST_AI_RMF = (
    "National Institute of Standards and Technology, AI Risk Management Framework 1.0, NIST AI 100-1, January 2023, "
    "doi:10.6028/NIST.AI.100-1; voluntary."
)

Content = Mapping[str, Any]


def frameworks(bias: Content, summary: Content) -> Iterator[str]:
    """Return the sections of all frameworks, as lines of Markdown."""
    yield from ("## EU AI Act: headings of the technical documentation", "")
    yield from (f"Source: {EU_AI_ACT} Written down {_READ}.", "")
    yield from _data(bias, summary)
    yield from _testing(bias)
    yield from _performance(bias)
    yield from ("## NIST AI RMF: MEASURE 2.11", "", f"Source: {NIST_AI_RMF} Written down {_READ}.", "")
    yield "“Fairness and bias – as identified in the MAP function – are evaluated and results are documented.”"
    yield ""
    yield f"- Evaluated: {_names(bias)}; quantitative analyses, above."
    yield f"- Limits and verdict: {bias['verdict'] or 'no limits were declared, so that nothing was judged'}."
    yield "- Not in these figures: the harms mapped, why these metrics were chosen, and who accepts what remains."


def _data(bias: Content, summary: Content) -> Iterator[str]:
    """Annex IV 2(d): of the data, what the held-out rows show."""
    yield from ("### 2(d) Data: main characteristics", "")
    if summary.get("examples") is not None:
        yield f"{summary['examples']:,} rows at {summary['clients']} clients, held-out rows among them."
        yield ""
    yield "Held-out rows by group, and the share of them that is favourable:"
    for attribute in bias["groups"]:
        rows = [
            [escaped(group), rows_of(one), *([measured("base_rate", one["base_rate"])] if "base_rate" in one else [])]
            for group, one in listed(bias, attribute).items()
        ]
        width = max(len(row) for row in rows)
        yield from ("", *table([escaped(attribute), "rows", "favourable"][:width], rows))
    yield from ("", "Provenance, collection, labelling and cleaning are not known to a run.", "")


def _testing(bias: Content) -> Iterator[str]:
    """Annex IV 2(g): how it was tested."""
    yield from ("### 2(g) Validation and testing: metrics, potentially discriminatory impacts", "")
    yield "- Metrics, thresholds and methods: metrics, above; limits were declared in the plan, before the run."
    yield f"- Potentially discriminatory impacts: gaps between groups by {_names(bias)}, with intervals, above."
    yield f"- Test log: `bias.json` and `rounds.jsonl` of the run, plan `{bias['plan_sha256']}`. Date and signature of "
    yield "  the person responsible are to be added."
    yield ""


def _performance(bias: Content) -> Iterator[str]:
    """Annex IV 3: accuracy for groups of persons."""
    yield from ("### 3 Capabilities and limitations: accuracy for groups of persons", "")
    for attribute in [*attributes(bias, crossed=False), *attributes(bias, crossed=True)]:
        overall = bias["overall"][attribute]
        metric = served(overall)
        told = "; ".join(
            f"{escaped(group)} {measured(metric, one.get(metric))}" for group, one in listed(bias, attribute).items()
        )
        yield f"- {words(metric).capitalize()} by {escaped(attribute)}: {told}. All rows: "
        yield f"  {measured(metric, overall[metric])}."
    yield ""


def _names(bias: Content) -> str:
    return ", ".join(escaped(attribute) for attribute in bias["groups"])
