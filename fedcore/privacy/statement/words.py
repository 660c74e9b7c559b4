"""A privacy statement in plain language."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from fedcore.privacy.accounting import rounded_up
from fedcore.text.wording import counted

_HONEST = {
    "record": "the client's own software is honest",
    "client": "the server is honest, which sees every update as it is",
}
_SEVERAL = {
    "record": "A person with several records is protected less than stated.",
    "client": "A person is protected with the client that holds the records; at several clients less than stated.",
}
_VOID = "This model carries no privacy guarantee; known_deviations says why."
_TIERS = {
    "strong": "strong: even a well-informed attacker learns next to nothing about one {unit}",
    "reasonable": "reasonable: what is in use in practice, and weaker than it sounds for ε well above 1",
    "weak": "weak: in theory it promises little, whatever attacks achieve in practice",
    "none": "none",
}


def in_a_paragraph(statement: Mapping[str, Any]) -> str:
    """The statement in the words of a paragraph."""
    if not statement["valid"]:
        return _VOID
    unit, attack = statement["unit"], statement["attack_bounds"]
    person = statement.get("person") or {"max_records": None}
    several = (
        f"A person with up to {counted(person['max_records'], 'record')} at one client has "
        f"ε = {_shown(person['epsilon'])}."
        if person["max_records"]
        else _SEVERAL[unit["name"]]
    )
    return (
        f"Whoever sees {_listed(statement['protected_outputs'])} can hardly tell whether {unit['definition']} was "
        f"used in training. Formally ({_shown(statement['epsilon'])}, {statement['delta']:g})"
        f"-differential privacy, {statement['neighbouring_relation']['name']}, over "
        f"{counted(statement['rounds'], 'round')} of this run. An attacker allowed 1 % false alarms detects a "
        f"participant in at most {_percent(attack['tpr_at_fpr_1_percent'])} of cases. It holds against "
        f"{_listed(statement['protected_from'])}, as long as {_HONEST[unit['name']]}{_of_isolation(statement)}. "
        f"{_of_evaluation(statement)} "
        f"{several}"
    )


def _of_isolation(statement: Mapping[str, Any]) -> str:
    """What the guarantee rests on besides, where nothing rules out that one record bears on another's gradient."""
    found = statement.get("isolation") or {}
    return (
        ", and no record bears on another's gradient, which was measured and not proven"
        if (found.get("name") == "probed")
        else ""
    )


def _of_evaluation(statement: Mapping[str, Any]) -> str:
    spent = statement.get("evaluation", {}).get("epsilon")
    if spent is None:
        return (
            "It does not cover the evaluation results on held-out rows, other runs on the same records, or trials of "
            "other settings."
        )
    return (
        f"Held-out records, which are never trained on, have ε = {_shown(spent)} for the evaluation results. It does "
        "not cover other runs on the same records, or trials of other settings."
    )


def explained(statement: Mapping[str, Any]) -> str:
    """The statement for somebody who answers for data protection and is no statistician; several paragraphs."""
    return "\n\n".join(f"{title}\n{text}" for title, text in _sections(statement))


def _sections(statement: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    if not statement["valid"]:
        yield "There is no guarantee", _bullets(statement["known_deviations"])
        return
    unit, relation = statement["unit"]["name"], statement["neighbouring_relation"]["definition"]
    yield "What is promised", in_a_paragraph(statement)  # from the figures, so that words cannot contradict them
    yield (
        "How strong it is",
        f"ε = {_shown(statement['epsilon'])} at δ = {statement['delta']:g}; "
        f"{_TIERS[statement['strength_tier']].format(unit=unit)}. {_attack_words(statement['attack_bounds'])} "
        f"{_sentence(statement['delta_against_size'])}",
    )
    yield (
        "Who is protected",
        f"One {unit}: {statement['unit']['definition']}. Compared are {relation}. "
        f"{_sentence(statement['max_contribution']['words'])}",
    )
    yield "Against whom", _bullets(statement["protected_from"])
    yield "Who must be trusted", _bullets(f"{who}: {what}" for who, what in statement["trust_model"].items())
    yield "What is protected", _bullets(statement["protected_outputs"])
    yield "What is not protected", _bullets(statement["unprotected_outputs"])
    yield (
        "What else uses up privacy",
        _bullets([statement["composition_scope"]["covers"], statement["hyperparameter_tuning"]["words"]]),
    )
    yield "Before training", _sentence(statement["preprocessing"])
    if isolation := statement.get("isolation"):
        yield f"How records are kept apart: {isolation['name']}", _sentence(isolation["definition"])
    yield "What went otherwise than planned", _bullets(statement["known_deviations"] or ["nothing that is known"])
    yield "Which model", f"the file whose SHA-256 is {statement['model_sha256']}"
    if statement.get("contact"):
        yield "Whom to ask", statement["contact"]


def _attack_words(attack: Mapping[str, Any]) -> str:
    return (
        f"Whatever attackers know and compute: with 1 % false alarms they find at most "
        f"{_percent(attack['tpr_at_fpr_1_percent'])} of those who took part, with 0.1 % at most "
        f"{_percent(attack['tpr_at_fpr_0_1_percent'])}; guessing would find 1 % and 0.1 %."
    )


def _shown(epsilon: float | None) -> str:
    return "∞" if epsilon is None else f"{rounded_up(epsilon):g}"


def _percent(share: float) -> str:
    return f"{rounded_up(min(1.0, share), 4):.2%}".replace("%", " %")


def _listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _bullets(lines: Any) -> str:
    return "\n".join(f"- {line}" for line in lines)


def _sentence(text: str) -> str:
    capital = text[:1].upper() + text[1:] if text[:1].isascii() else text
    return capital if capital.endswith(".") else f"{capital}."
