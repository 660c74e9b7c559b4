"""The privacy spent by the run, and the guarantee."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from typing import Any

from fedcore.report.page.run_record import Round, RunRecord
from fedcore.report.page.wording import EPSILON, NOT_DEFINED, Quantity, delta_text, significant
from fedcore.report.pictures.figures import Figure, Table, drawn_rounds
from fedcore.report.pictures.line_chart import Curve, LineChart
from fedcore.text.wording import counted


def is_private(record: RunRecord) -> bool:
    return bool(record.privacy) or record.summary.get("epsilon") is not None


def is_refuted(record: RunRecord) -> bool:
    return record.summary.get("privacy_audit") == "VIOLATED"


def unit_words(record: RunRecord) -> str:
    return str(record.summary.get("unit") or _named(record.privacy.get("unit")) or "unit")


def privacy_figures(record: RunRecord) -> list[Figure]:
    """Return ε over the rounds, and the metric by ε; empty without DP."""
    rounds, note = drawn_rounds([one for one in record.rounds if one.committed and one.epsilon is not None])
    if not rounds:
        return []
    figures = [_spending(record, rounds, note)]
    if record.headline and any(record.headline in (one.evaluation or {}) for one in rounds):
        figures.append(_bought(record, record.headline, rounds, note))
    return figures


def terms(record: RunRecord) -> dict[str, Any]:
    found = record.privacy
    sampling = found.get("sampling")
    rate = sampling.get("rate") if isinstance(sampling, Mapping) else None
    values = {
        "unit": unit_words(record),
        "relation": _named(found.get("neighbouring_relation")),
        "isolation of records": _named(found.get("isolation")),
        "noise multiplier": found.get("noise_multiplier"),
        "clip norm": found.get("clip_norm"),
        "sampling rate": rate,
        **_person(found.get("person")),
        "found by any attack, at 1 % false alarms": _share(found.get("attack_bounds"), "tpr_at_fpr_1_percent"),
    }
    return {name: value for name, value in values.items() if value is not None}


def _person(person: Any) -> dict[str, Any]:
    if not isinstance(person, Mapping) or not person.get("max_records"):
        return {}
    return {f"ε of a person with up to {counted(person['max_records'], 'record')}": EPSILON.text(person.get("epsilon"))}


def _share(group: Any, name: str) -> str | None:
    value = group.get(name) if isinstance(group, Mapping) else None
    return f"at most {100 * value:.1f} %" if isinstance(value, int | float) else None


def _spending(record: RunRecord, rounds: Sequence[Round], note: str) -> Figure:
    unit, delta = unit_words(record), delta_text(record.summary.get("delta"))
    void = record.privacy.get("valid") is False
    title = "Nominal ε" if void else "ε spent"
    said = f"{EPSILON.text(rounds[-1].epsilon)} per {unit} after round {rounds[-1].number}, at δ = {delta}."
    if void:
        why = "The guarantee is void; with secure noise it would be"
        said = f"{'An audit refuted the claim of' if is_refuted(record) else why} {said}"
    chart = LineChart(
        curves=[Curve(name="ε", points=[(float(one.number), one.epsilon) for one in rounds])],
        quantity=EPSILON,
        zero=True,
        reference=_target(record.plan),
        says=f"{title}, over the rounds. {said}",
    )
    rows = [[str(one.number), EPSILON.text(one.epsilon, exact=True)] for one in rounds]
    return Figure(
        title=title,
        sentence=said,
        picture=chart.draw(),
        table=Table(columns=["round", f"ε per {unit}"], rows=rows),
        note=note,
    )


def _bought(record: RunRecord, name: str, rounds: Sequence[Round], note: str) -> Figure:
    quantity = Quantity.of(name)
    points = [(one.epsilon or 0.0, (one.evaluation or {}).get(name)) for one in rounds]
    chart = LineChart(
        curves=[Curve(name="", points=points)],
        quantity=quantity,
        across="ε",
        rounds=False,
        says=f"{quantity.title} against ε spent",
    )
    rows = [
        [EPSILON.text(one.epsilon, exact=True), quantity.text(value, exact=True), str(one.number)]
        for one, (_, value) in zip(rounds, points, strict=True)
    ]
    return Figure(
        title=f"{quantity.title} against ε",
        sentence="What each unit of privacy bought: where the curve is flat, more ε bought nothing.",
        picture=chart.draw(),
        table=Table(columns=["ε", quantity.words, "round"], rows=rows),
        note=note,
    )


def _target(plan: str) -> tuple[float, str] | None:
    try:
        target = tomllib.loads(plan).get("privacy", {}).get("epsilon")
    except (tomllib.TOMLDecodeError, AttributeError):
        return None
    if not isinstance(target, int | float) or isinstance(target, bool):
        return None
    return float(target), f"planned {target:g}"


def _named(value: Any) -> Any:
    return value.get("name") if isinstance(value, Mapping) else value


def plain(value: Any) -> str:
    """Write a value of the statement that is neither a table nor a list."""
    if value is None:
        return NOT_DEFINED
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return _number(value)
    return str(value) if not isinstance(value, Mapping | list) else "nothing"


def _number(value: float) -> str:
    """Write a number as short as it was given, or with six digits."""
    short = f"{value:g}"
    if float(short) == value and abs(value) >= 1e-4:
        return short
    return delta_text(value) if abs(value) < 1e-4 else significant(value, 6)
