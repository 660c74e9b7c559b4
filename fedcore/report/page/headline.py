"""The cards at the top, and the warnings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fedcore.audit.metrics.catalogue import HEADLINES
from fedcore.report.page.groups import headline, served_at_best, shown_rates, worst_group
from fedcore.report.page.privacy import is_private, is_refuted, unit_words
from fedcore.report.page.run_record import RunRecord
from fedcore.report.page.wording import (
    EPSILON,
    Quantity,
    capitalised,
    delta_text,
    difference_reach,
    interval_text,
    listed,
    seconds_text,
)
from fedcore.text.wording import bytes_text, counted, energy_text

VERDICTS = {
    "PASS": ("✓", "pass", "Every declared limit holds, with its whole interval."),
    "FAIL": ("✕", "fail", "A declared limit is broken, with its whole interval."),
    "INCONCLUSIVE": ("?", "open", "The evidence does not show whether the limits hold."),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """One headline number.

    Attributes:
        value: The number, or a few words.
        verdict: ``pass``, ``fail`` or ``open`` on the card of the verdict; else empty.
    """

    label: str
    value: str
    detail: str
    verdict: str = ""
    sign: str = ""


def cards(record: RunRecord) -> list[Card]:
    """Return the cards in reading order, only for what was asked for."""
    audited = bool(record.bias.groups) or bool(record.final and record.final.groups)
    judged = record.summary.get("audit_verdict") in VERDICTS
    found = [
        _quality(record),
        groups_card(record) if audited else None,
        _privacy(record) if is_private(record) else None,
        _verdict(record) if audited or judged else None,
        _size(record),
        _time(record),
        _traffic(record),
    ]
    return [card for card in found if card is not None]


def warnings(record: RunRecord) -> list[str]:
    """Return the run's warnings, and the rejected replies if not among them."""
    shown = [str(words) for words in record.summary.get("warnings") or ()]
    names = [*dict.fromkeys(rejection.client for rejection in record.rejected)]
    if names and not all(any(name in words for words in shown) for name in names):
        replies = counted(len(record.rejected), "reply", "replies")
        shown.append(f"{replies} of {listed(names)} did not count; see “Who took part”")
    return [capitalised(words).rstrip(".") + "." for words in shown if words]


def _quality(record: RunRecord) -> Card:
    name = record.headline
    if name is None:
        return Card(label="Quality", value="not measured", detail="No round was evaluated.")
    final = record.final.evaluation if record.final and record.final.evaluation else {}
    metrics, quantity = record.metrics or final, Quantity.of(name)
    interval = _overall_interval(record, quantity) if name in HEADLINES else ""
    others = [interval] if interval else []
    others += [
        f"{Quantity.of(other).words} {Quantity.of(other).text(metrics[other])}" for other in metrics if other != name
    ]
    return Card(
        label=f"Held-out {quantity.words}",
        value=quantity.text(metrics[name]),
        detail=capitalised(", ".join(others[:4]) or "of the released model") + ".",
    )


def _overall_interval(record: RunRecord, quantity: Quantity) -> str:
    """Return the audit's interval, if it is about the same rows."""
    for rates in record.bias.overall.values():
        rate = rates.get(quantity.name)
        if rate and rate.value is not None and abs(rate.value - record.metrics[quantity.name]) < 5e-4:
            return interval_text(rate.low, rate.high, quantity)
    return ""


def groups_card(record: RunRecord) -> Card:
    worst, gap = _worst(record), _gap_words(record)
    if worst is None:
        missing = "No sensitive attribute was audited." if not record.bias.groups else "No two groups can be compared."
        return Card(label="Worst group", value="not audited", detail=gap or missing)
    attribute, metric, group = worst
    rate, quantity = shown_rates(record, attribute)[metric][group], Quantity.of(metric)
    interval = interval_text(rate.low, rate.high, quantity)
    found = f"{group} ({attribute.replace('*', ' and ')})" + (f", {interval}" if interval else "")
    return Card(
        label=f"Worst group’s {quantity.words}", value=quantity.text(rate.value), detail=f"{found}. {gap}".rstrip()
    )


def _worst(record: RunRecord) -> tuple[str, str, str] | None:
    found = []
    attributes = record.bias.groups or (record.final.groups if record.final else {})
    for attribute in attributes:
        rates = shown_rates(record, attribute)
        metric = headline(rates)
        group = worst_group(metric, rates[metric]) if metric else None
        if metric is not None and group is not None:
            found.append((served_at_best(metric, rates[metric][group]) or 0.0, attribute, metric, group))
    return min(found)[1:] if found else None


def _gap_words(record: RunRecord) -> str:
    gap: dict[str, Any] | None = record.summary.get("worst_gap")
    if not gap or not gap.get("words"):
        return ""
    metric, which = str(gap.get("metric") or "accuracy"), str(gap.get("which") or "gap")
    name = metric.replace("_", " ")  # with which the words begin
    lead = which.removesuffix(name) if which.endswith(name) else f"{which}, "
    reach = gap.get("reach") or difference_reach(metric, gap.get("low"), gap.get("high"))
    return f"{capitalised(lead)}{gap['words']}{reach}."


def _privacy(record: RunRecord) -> Card:
    epsilon, delta = record.summary.get("epsilon"), delta_text(record.summary.get("delta"))
    if epsilon is None or record.privacy.get("valid") is False:
        nominal = "" if epsilon is None else f" The nominal ε is {EPSILON.text(epsilon)} at δ = {delta}."
        value = "VIOLATED" if is_refuted(record) else "void"
        return Card(label="Privacy", value=value, detail=f"The guarantee does not hold; see the warnings.{nominal}")
    relation = record.privacy.get("neighbouring_relation")
    name = relation.get("name") if isinstance(relation, dict) else relation
    shown = f"Per {unit_words(record)}, δ = {delta}" + (f", {name} relation" if name else "")
    return Card(label="Privacy spent", value=f"ε = {EPSILON.text(epsilon)}", detail=f"{shown}.")


def _verdict(record: RunRecord) -> Card:
    verdict = record.summary.get("audit_verdict")
    if verdict not in VERDICTS:
        return Card(label="Bias audit", value="not judged", detail="The plan declares no limits to hold it to.")
    sign, style, detail = VERDICTS[str(verdict)]
    return Card(label="Bias audit", value=str(verdict), detail=detail, verdict=style, sign=sign)


def _size(record: RunRecord) -> Card:
    summary, rejected = record.summary, len(record.rejected)
    rounds, clients = int(summary.get("rounds") or 0), int(summary.get("clients") or 0)
    rows = f"{counted(summary['examples'], 'row')}. " if summary.get("examples") is not None else ""
    replies = f"{counted(rejected, 'reply', 'replies')} rejected." if rejected else "Every reply counted."
    detail = rows + (replies if record.rounds else "")
    cohorts = [len(one.asked) for one in record.rounds if one.committed and one.asked]
    if not cohorts or min(cohorts) >= clients:
        return Card(label="Rounds × clients", value=f"{rounds:,} × {clients:,}", detail=detail)
    mean = sum(cohorts) / len(cohorts)
    cohort = f"{cohorts[0]:,}" if min(cohorts) == max(cohorts) else f"{mean:,.1f}"
    return Card(
        label="Rounds × clients in each",
        value=f"{rounds:,} × {cohort}",
        detail=f"Of {counted(clients, 'client')}. {detail}".rstrip(),
    )


def _time(record: RunRecord) -> Card:
    rate = record.summary.get("client_rounds_per_second")
    detail = f"{rate:,.1f} client-rounds a second." if rate is not None else ""
    if energy := record.summary.get("energy_kwh"):
        detail = f"{detail} {energy_text(energy)}, {record.summary.get('energy_source')}.".lstrip()
    return Card(label="Wall time", value=seconds_text(record.summary.get("wall_seconds")), detail=detail)


def _traffic(record: RunRecord) -> Card | None:
    sent, received = (record.summary.get(key) for key in ("bytes_sent", "bytes_received"))
    if not sent or not received:
        return None
    detail = f"{bytes_text(received)} came back in updates; headers and encryption are not counted."
    return Card(label="Sent to clients", value=bytes_text(sent), detail=detail)
