"""What a plan asks of a data owner, in sentences to decide by."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from fedcore.plan.digest import digest_of
from fedcore.plugins import Reference
from fedcore.privacy.accounting import composed_epsilon, rounded_up
from fedcore.schedules.learning_rate import planned_rate
from fedcore.text.wording import counted
from fedcore_clients.policy.privacy_gate import promised
from fedcore_clients.policy.request_facts import RequestFacts
from fedcore_clients.policy.settings import Policy

_MEGABYTE = 1_000_000
_MOST_MODULES = 20


def plan_summary(request: RequestFacts, policy: Policy) -> tuple[str, ...]:
    """Task, data, rounds, worst-case ε, and what leaves the site.

    Args:
        request: One that passed every other check, so each name in it is listed in the policy.
    """
    plan = request.plan
    training = plan.training
    return (
        f"run {ascii(request.run)[:80]}: task {plan.task.name} on data set {request.data_set}, "
        f"{counted(plan.federation.rounds, 'round')}",
        *(
            f"code: {name[:80]!a} {version[:12]!a}"
            for name, version in list((plan.task.code or {}).items())[:_MOST_MODULES]
        ),
        f"training: {training.optimizer}, learning rate {planned_rate(plan):g}{_schedule(training.schedule)}",
        _method(request),
        _privacy(request),
        *_schema(plan.task.options.get("schema")),
        *_leaving(request, policy),
    )


def _schedule(reference: Reference | None) -> str:
    return "" if reference is None else f", times the factors of {str(reference)[:80]!a}"


def _method(request: RequestFacts) -> str:
    plan = request.plan
    encodings = "".join(f", {str(each)[:80]!a}" for each in plan.aggregation.encode)
    options = f" with {str(plan.algorithm.options)[:200]!a}" if plan.algorithm.options else ""
    return f"algorithm {plan.algorithm.name[:80]!a}{options}" + (
        f"; updates encoded by{encodings[1:]}" if encodings else ""
    )


def _schema(content: Any) -> Iterator[str]:
    if content is None:
        return
    from fedcore.tasks.tabular.toml import schema_content, schema_of

    described = schema_content(schema_of(content, source="of the plan"))
    label = described.get("label", {"column": None, "classes": []})
    yield f"table: schema {digest_of(content)[:12]}; label {label['column']!a} with classes {label['classes']!a}"
    yield f"table: columns {', '.join(_column(column) for column in described['columns'])}"


def _column(column: Mapping[str, Any]) -> str:
    values = column.get("range", column.get("categories", ""))
    return f"{column['name']!a} {column['kind']}{f' {values!a}' if values else ''}"


def _privacy(request: RequestFacts) -> str:
    privacy = promised(request.plan)
    if privacy is None:
        return "privacy: NONE; updates leave without protection"
    epsilon = composed_epsilon([privacy.total_event], privacy.delta, privacy.relation)
    bound = f"ε is at most {rounded_up(epsilon):g}" if math.isfinite(epsilon) else "ε has no bound"
    return (
        f"privacy: {bound} at δ = {privacy.delta:g} over all rounds, for each {privacy.unit.value} "
        f"({privacy.relation.value}); repeated rounds are added, up to your limits"
    )


def _leaving(request: RequestFacts, policy: Policy) -> list[str]:
    release, audit = policy.release, request.plan.audit
    leaving = [f"leaves in each round: an update, for a request of {request.array_bytes / _MEGABYTE:.2f} MB"]
    if request.plan.privacy.unit == "none" or request.plan.privacy.relation != "add-remove":
        leaving.append("leaves in each round: the number of training rows")
    if request.plan.privacy.unit == "none" and release.training:
        leaving.append(f"leaves in each round: sums over the training rows of {', '.join(release.training)}")
    if release.evaluation:
        metrics = ", ".join(release.evaluation)
        leaving.append(f"leaves when evaluated, without noise: sums over the held-out rows of {metrics}")
    if audit.sensitive and release.evaluation:
        leaving.append(f"leaves when evaluated, without noise: counts by {', '.join(audit.sensitive)}")
    return leaving
