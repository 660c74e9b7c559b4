"""The headings of particular rules that a run's figures can fill.

They order evidence. People who know the system and its use judge whether a rule is met.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from fedcore.audit.verdict.profiles import EU_AI_ACT, NIST_AI_RMF, Profile
from fedcore.report.model_card.markdown import escaped
from fedcore.report.model_card.sections import accuracy_by_group, rows_by_group

Content = Mapping[str, Any]


def frameworks(bias: Content, summary: Content) -> Iterator[str]:
    yield from ("## EU AI Act: headings of the technical documentation", "")
    yield from (_source(EU_AI_ACT), "")
    yield from _data(bias, summary)
    yield from _testing(bias)
    yield from _performance(bias)
    yield from ("## NIST AI RMF: MEASURE 2.11", "", _source(NIST_AI_RMF), "")
    yield "“Fairness and bias – as identified in the MAP function – are evaluated and results are documented.”"
    yield ""
    yield f"- Evaluated: {_names(bias)}; quantitative analyses, above."
    yield f"- Limits and verdict: {bias['verdict'] or 'no limits were declared, so that nothing was judged'}."
    yield "- Not in these figures: the harms mapped, why these metrics were chosen, and who accepts what remains."


def _source(profile: Profile) -> str:
    return f"Source: {'; '.join(profile.sources)}. {'; '.join(profile.remarks)}. Read {profile.date}."


def _data(bias: Content, summary: Content) -> Iterator[str]:
    """Annex IV 2(d): what the held-out rows show of the data."""
    yield from ("### 2(d) Data: main characteristics", "")
    if summary.get("examples") is not None:
        yield f"{summary['examples']:,} rows at {summary['clients']} clients, held-out rows among them."
        yield ""
    favourable = any("base_rate" in one for groups in bias["groups"].values() for one in groups.values())
    yield f"Held-out rows by group{', and the share of them that is favourable' if favourable else ''}:"
    yield from rows_by_group(bias)
    yield from ("", "Provenance, collection, labelling and cleaning are not known to a run.", "")


def _testing(bias: Content) -> Iterator[str]:
    """Annex IV 2(g): testing."""
    yield from ("### 2(g) Validation and testing: metrics, potentially discriminatory impacts", "")
    yield "- Metrics, thresholds and methods: metrics, above; limits were declared in the plan, before the run."
    yield f"- Potentially discriminatory impacts: gaps between groups by {_names(bias)}, with intervals, above."
    yield f"- Test log: `bias.json` and `rounds.jsonl` of the run, plan `{bias['plan_sha256']}`. Date and signature of"
    yield "  the person responsible are to be added."
    yield ""


def _performance(bias: Content) -> Iterator[str]:
    """Annex IV 3: accuracy for groups of persons."""
    yield from ("### 3 Capabilities and limitations: accuracy for groups of persons", "")
    yield from accuracy_by_group(bias)
    yield ""


def _names(bias: Content) -> str:
    return ", ".join(escaped(attribute) for attribute in bias["groups"])
