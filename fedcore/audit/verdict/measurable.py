"""Checks before training whether a plan's limits can be measured."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from fedcore.audit.metrics.catalogue import CATALOGUE
from fedcore.audit.tables.groups import UNKNOWN
from fedcore.audit.tables.values import AuditTable, ValueTable
from fedcore.audit.verdict.limits import Limit
from fedcore.audit.verdict.settings import AuditSettings
from fedcore.errors import PlanError


def check_measurable(
    settings: AuditSettings,
    tables: Mapping[str, AuditTable],
    *,
    noisy: bool = False,
) -> None:
    """Refuse limits that these tables can never decide.

    Args:
        tables: A table of each attribute; the counts do not matter.

    Raises:
        PlanError: A limit needs scores, numbers or a favourable label that the tables lack; or a reference is unknown.
    """
    problems = [*dict.fromkeys(_problems(settings.limits, settings.favourable, tables.values()))]
    problems += _reference_problems(settings, {name: table.groups for name, table in tables.items()})
    problems += [
        f"audit.limits: {limit.metric} is not measured of noisy counts; limit a rate, or leave out "
        "privacy.evaluation-noise-multiplier"
        for limit in settings.limits
        if noisy and not CATALOGUE[limit.metric].of_noisy_counts
    ]
    if problems:
        raise PlanError(problems)


def check_references(settings: AuditSettings, groups: Mapping[str, Collection[str]]) -> None:
    """Refuse references that are not groups.

    Raises:
        PlanError: The attribute of a reference is not audited, or lacks that known group.
    """
    if problems := [*_reference_problems(settings, groups)]:
        raise PlanError(problems)


def _reference_problems(settings: AuditSettings, groups: Mapping[str, Collection[str]]) -> Iterable[str]:
    for attribute, group in settings.references.items():
        known = [one for one in groups.get(attribute, ()) if one != UNKNOWN]
        if attribute not in groups:
            yield f"reference of {attribute!r}: it is not audited; audited are {', '.join(groups)}"
        elif group not in known:
            yield f"reference of {attribute!r}: {group!r} is none of its groups, {', '.join(known)}"


def _problems(limits: Iterable[Limit], favourable: str | None, tables: Iterable[AuditTable]) -> Iterable[str]:
    for table in tables:
        for limit in limits:
            source = CATALOGUE[limit.metric].source
            if isinstance(table, ValueTable) != (source == "numbers"):
                targets = "numbers" if isinstance(table, ValueTable) else "labels"
                yield f"audit.limits: {limit.metric} is not measured where targets are {targets}, as those of the task"
            elif isinstance(table, ValueTable):
                continue
            elif source in ("scores", "probabilities") and not table.scored:
                yield (
                    f"audit.limits: {limit.metric} is measured of scores, and these are counted for two labels; "
                    f"the task has {len(table.labels)}"
                )
            elif source == "several classes" and (len(table.labels) == 2 or favourable is not None):
                yield f"audit.limits: {limit.metric} is of more than two labels, none of them favourable"
            elif source == "benefits" and len(table.labels) > 2 and favourable is None:
                yield f"audit.limits: {limit.metric} of more than two labels needs audit.favourable"
