"""Whether what a plan asks for can be measured at all, told before anything is trained."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from fedcore.audit.estimates import MEASURES
from fedcore.audit.groups import GroupTable
from fedcore.audit.settings import AuditSettings, Limit
from fedcore.errors import PlanError

_SCORED = frozenset(MEASURES[3:])


def check_measurable(
    settings: AuditSettings, tables: Mapping[str, GroupTable], *, noisy: bool = False, group_thresholds: bool = False
) -> None:
    """Refuse limits on what these tables can never tell, and thresholds that they cannot give.

    Args:
        settings: With the limits.
        tables: A table of each attribute; the counts do not matter.
        noisy: Whether the counts will have noise.
        group_thresholds: Whether thresholds by group are wanted.

    Raises:
        PlanError: A limit is on what is measured of scores, or needs a favourable label, and there is none; or
            thresholds are wanted of what has no scores, or of noisy counts.
    """
    problems = list(dict.fromkeys(_problems(settings.limits, settings.favourable, tables.values())))
    problems += [
        f"audit.limits: {limit.metric} is not measured of noisy counts; limit a rate, or leave out "
        "privacy.evaluation-noise-multiplier"
        for limit in settings.limits
        if noisy and limit.metric in MEASURES
    ]
    if group_thresholds:
        problems += dict.fromkeys(_threshold_problems(tables.values(), noisy=noisy))
    if problems:
        raise PlanError(problems)


def _problems(limits: Iterable[Limit], favourable: str | None, tables: Iterable[GroupTable]) -> Iterable[str]:
    for table in tables:
        for limit in limits:
            if limit.metric in _SCORED and not table.scored:
                yield (
                    f"audit.limits: {limit.metric} is measured of scores, and these are counted for two labels; "
                    f"the task has {len(table.labels)}"
                )
            elif limit.metric in MEASURES and len(table.labels) > 2 and favourable is None:
                yield f"audit.limits: {limit.metric} of more than two labels needs audit.favourable"


def _threshold_problems(tables: Iterable[GroupTable], *, noisy: bool) -> Iterable[str]:
    for table in tables:
        if not table.scored:
            yield (
                "mitigation.method: group-thresholds cuts scores, which are counted for two labels; the task has "
                f"{len(table.labels)}"
            )
    if noisy:
        yield (
            "mitigation.method: group-thresholds chooses on one half of the rows and judges on the other, and counts "
            "with noise cannot be halved; leave out privacy.evaluation-noise-multiplier, or take another method"
        )
