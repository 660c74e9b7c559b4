"""Documents about an audit, as Markdown under given headings; what an audit cannot know is left to people.

The texts are in ``templates``, a file for each document. Every text from a plan or from data goes through ``md``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from fedcore.audit.table.bias_json import like_a_run
from fedcore.audit.table.favourable import guess_words
from fedcore.audit.verdict.profiles import PROFILES
from fedcore.report.model_card import analyses, sections
from fedcore.report.model_card.markdown import escaped
from fedcore.report.release_words import waiver_words, withheld_words
from fedcore.text.wording import counted

Content = Mapping[str, Any]


def model_card(bias: Content, summary: Content, *, day: date) -> str:
    """Return the audit of a run as Markdown.

    Args:
        bias: Content of ``bias.json``; empty if nothing was audited.
    """
    return _rendered("run", bias=bias, summary=summary, day=day)


def document(audit: Content, *, day: date) -> str | None:
    """Return the document of an audit's profile as Markdown; None for a profile without one.

    Args:
        audit: The audit of a table as JSON, as ``bias_json.result_json`` returns it.
    """
    profile = PROFILES[audit["profile"]["name"]] if audit["profile"] else None
    if profile is None or not profile.document:
        return None
    return _rendered(profile.name, bias=like_a_run(audit), profile=profile, day=day)


def _rendered(name: str, **content: Any) -> str:
    text = _environment().get_template(f"{name}.md.j2").render(**content)
    return re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"


@cache
def _environment() -> Environment:
    loader = PackageLoader("fedcore.report.model_card", "templates")
    found = Environment(loader=loader, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)  # noqa: S701  (Markdown)
    found.filters["md"] = escaped
    found.globals |= {"analyses": analyses, "sections": sections, "profiles": PROFILES, "counted": counted}
    found.globals |= {"decisions_of_run": _decisions_of_run, "decisions_of_table": _decisions_of_table}
    found.globals |= {"guess_words": guess_words, "waiver_words": waiver_words, "withheld_words": withheld_words}
    return found


def _decisions_of_run(bias: Content) -> str:
    if not analyses.is_measured(bias, "selection_rate"):
        if any(one.get("classes") for one in bias["by_class"].values()):
            return "No label is favourable: each is taken against the others."
        return "Targets are numbers: errors of predictions, in the target's unit."
    label = escaped(bias["favourable"] or "the second of two")
    return f"Favourable label: {label}; of two labels, it is predicted from a score of {bias['threshold']:g}."


def _decisions_of_table(bias: Content) -> str:
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
