"""Several labels: each class against the others, the class with the largest gap, and the class served worst."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from fedcore.audit.metrics.catalogue import CATALOGUE
from fedcore.audit.metrics.gaps import Gap
from fedcore.audit.metrics.parity import Parity, furthest_of, parities, parity_of
from fedcore.audit.tables.values import AuditTable, ValueTable
from fedcore.audit.verdict.attribute_audit import AttributeAudit
from fedcore.audit.verdict.fairness import audit_of


@dataclass(frozen=True, slots=True, kw_only=True)
class WorstClass:
    """The clearest gap across classes: the largest lower end.

    Attributes:
        label: Its class; None if it is undefined for every class.
        parity: The gap, with its own interval; ``over_all_pairs`` is over all classes, too.
        undefined: Classes without such a gap, because fewer than two groups have the rate.
    """

    label: str | None
    parity: Parity
    undefined: tuple[str, ...] = ()


def with_classes(audit: AttributeAudit, table: AuditTable) -> AttributeAudit:
    """Return the audit with each class against the others, if there are more than two and none is favourable.

    All intervals of all classes hold together with the audit's confidence (Bonferroni): the largest of many gaps is
    large by chance alone.
    """
    settings = audit.settings
    if isinstance(table, ValueTable) or len(table.labels) == 2 or settings.favourable is not None:
        return audit
    together = replace(settings, confidence=1 - (1 - settings.confidence) / len(table.labels))
    classes = {
        label: _named(
            label,
            audit_of(table, replace(together, favourable=label), audit.suppressed, audit.thin, audit.of_thin),
        )
        for label in table.labels
    }
    return replace(audit, classes=classes)


def worst_classes(audit: AttributeAudit) -> dict[str, WorstClass]:
    """Return the clearest gap across classes of every rate, and of every usual name of a gap, between shown groups.

    The intervals of all classes hold together. Classes whose gap is undefined are named, and not compared.
    """
    by_class = {label: _parities(audit, one) for label, one in audit.classes.items()}
    names = next(iter(by_class.values()), {})
    return {name: _worst(name, {label: found[name] for label, found in by_class.items()}) for name in names}


def _parities(audit: AttributeAudit, of_class: AttributeAudit) -> dict[str, Parity]:
    rates = {metric: {group: of[group] for group in audit.shown_in(metric)} for metric, of in of_class.groups.items()}
    found = {metric: parity_of(metric, [gap]) for metric, gap in of_class.shown_gaps.items()}
    return found | parities(audit.attribute, rates, confidence=of_class.settings.confidence)


def _worst(name: str, by_class: Mapping[str, Parity]) -> WorstClass:
    defined = {label: parity for label, parity in by_class.items() if parity.difference is not None}
    undefined = tuple(label for label in by_class if label not in defined)
    if not defined:
        return WorstClass(label=None, parity=Parity(), undefined=undefined)
    label = max(defined, key=lambda one: (defined[one].low or 0.0, defined[one].difference or 0.0))
    of_all = furthest_of([parity.over_all_pairs for parity in defined.values()])
    return WorstClass(label=label, parity=replace(defined[label], over_all_pairs=of_all), undefined=undefined)


def _named(label: str, audit: AttributeAudit) -> AttributeAudit:
    """Return the audit of one class, without what concerns all classes; its gaps carry the class's name."""

    def own(gaps: Mapping[str, Gap]) -> dict[str, Gap]:
        return {metric: replace(gap, label=label) for metric, gap in gaps.items() if CATALOGUE[metric].needs_favourable}

    return replace(
        audit,
        overall={metric: rate for metric, rate in audit.overall.items() if CATALOGUE[metric].needs_favourable},
        groups={metric: rates for metric, rates in audit.groups.items() if CATALOGUE[metric].needs_favourable},
        gaps=own(audit.gaps),
        shown_gaps=own(audit.shown_gaps),
        to_reference={group: own(gaps) for group, gaps in audit.to_reference.items()},
    )
