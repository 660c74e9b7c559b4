"""The gate for requests: checked before data is opened, and refused, never changed.

Only the code of a refusal leaves the client. Its message, for the client's own log, may name the policy and the
request, and nothing of the data.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from fedcore.aggregation.registry import ENCODINGS
from fedcore.algorithms.registry import ALGORITHMS
from fedcore.audit.tables.crossing import ATTRIBUTE_MARK
from fedcore.errors import DataError, PlanError
from fedcore.plan import RunPlan
from fedcore.plan.digest import digest_of
from fedcore.plan.evaluation_schedule import after_training, most_evaluations
from fedcore.plugins import Reference, Registry
from fedcore.refusals import Refusal
from fedcore.schedules.learning_rate import learning_rate
from fedcore.text.toml_problems import kebab
from fedcore.text.wording import counted
from fedcore_clients.policy.approvals import Approvals
from fedcore_clients.policy.privacy_gate import check_privacy
from fedcore_clients.policy.request_facts import RequestFacts, shown
from fedcore_clients.policy.settings import Policy
from fedcore_clients.policy.summary import plan_summary

if TYPE_CHECKING:
    from fedcore.method.exchange import Exchange

SCHEMA = "schema"
"""The option of a task that says how a table is read."""
_MEGABYTE = 1_000_000
_NUMBER_BYTES = {"float32": 4, "float64": 8}
_MOST_GROUPS = 4096
_FEWEST_REQUESTS = 2000

_RANGES: dict[str, Callable[[RunPlan], tuple[float | None, ...]]] = {
    "local_epochs": lambda plan: (plan.training.local_epochs,),
    "batch_size": lambda plan: (plan.training.batch_size,),
    "steps_per_round": lambda plan: (plan.privacy.steps_per_round,),
    "learning_rate": lambda plan: (plan.training.learning_rate, plan.privacy.learning_rate, *_first_and_last(plan)),
    "max_physical_batch": lambda plan: (plan.training.max_physical_batch,),
    "held_out": lambda plan: (plan.federation.held_out,),
}


class KnownMembers(Protocol):
    """The part of a signed roster that is used here; ``fedcore.trust.roster.Roster`` is one."""

    @property
    def version(self) -> int: ...

    def member(self, name: str, /) -> object | None: ...


def _first_and_last(plan: RunPlan) -> tuple[float, float]:
    """The lowest rate of a schedule is one of them, and the highest is at most the planned rate."""
    return learning_rate(plan, 1), learning_rate(plan, plan.federation.rounds)


def check_request(
    request: RequestFacts,
    *,
    policy: Policy,
    roster: KnownMembers,
    me: str,
    approvals: Approvals,
    requests_today: int,
) -> None:
    """Refuse a request that the policy does not allow.

    Args:
        roster: The newest roster that this client has seen and verified.
        me: This client's name.
        approvals: Used where the policy wants plans approved; stores a plan that is refused only for that.
        requests_today: Requests already accepted today; see `DailyRequests`.

    Raises:
        RefusedError: With the code of the first check that fails, in the order below.
    """
    _check_kind(request)
    _check_roster(request, roster)
    _check_cohort(request, policy, roster, me)
    _check_task(request, policy)
    _check_data(request, policy)
    _check_rounds(request, policy)
    _check_ranges(request.plan, policy)
    _check_names(request.plan, policy)
    _check_model(request, policy)
    check_privacy(request.plan, policy.privacy)
    _check_release(request, policy)
    _check_requests(request.plan, requests_today, policy)
    _check_approval(request, policy, approvals)


def check_memory(exchange: Exchange, *, allowed: bool) -> None:
    """Refuse a method that keeps vectors here, where the policy's ``training.memory`` does not allow it.

    Separate, since only the process that trains imports the method; `check_request` has allowed its names before.

    Raises:
        RefusedError: With the code ``MEMORY``.
    """
    if exchange.remembers and not allowed:
        raise Refusal.MEMORY("the method keeps vectors here between rounds; training.memory does not allow it")


def _check_kind(request: RequestFacts) -> None:
    if request.kind not in ("train", "evaluate"):
        raise Refusal.KIND(f"expected a request to train or evaluate, found {shown(request.kind)}")


def _check_roster(request: RequestFacts, roster: KnownMembers) -> None:
    if request.roster_version != roster.version:
        raise Refusal.ROSTER(
            f"the request uses roster {shown(request.roster_version)}, and the newest seen here is "
            f"{roster.version}; a newer one must arrive signed before it counts, and an older one is out of date"
        )


def _check_cohort(request: RequestFacts, policy: Policy, roster: KnownMembers, me: str) -> None:
    cohort, minimum = request.cohort, policy.cohort.minimum
    if len(set(cohort)) != len(cohort):
        raise Refusal.COHORT("the cohort names a client more than once")
    if me not in cohort:
        raise Refusal.COHORT(f"the cohort does not name this client, {me!r}")
    unknown_members = [name for name in cohort if roster.member(name) is None]
    if unknown_members:
        raise Refusal.COHORT(
            f"{len(unknown_members)} of the cohort are not on the roster, among them {shown(unknown_members[0])}"
        )
    if len(cohort) < minimum:
        raise Refusal.COHORT(f"cohort.minimum is {minimum}, and the cohort has {len(cohort)}")


def _check_task(request: RequestFacts, policy: Policy) -> None:
    task, allowed = request.plan.task, policy.tasks.allowed
    if task.name not in allowed:
        raise Refusal.TASK(f"task {shown(task.name)} is not in tasks.allowed: {', '.join(allowed) or 'none'}")
    options = policy.tasks.options.get(task.name, ())
    for name in task.options:
        if name not in options:
            raise Refusal.TASK(
                f"the plan sets task.options.{shown(name)}, which tasks.options does not list for {task.name!r}"
            )
    if isinstance(task.options.get(SCHEMA), str):
        raise Refusal.TASK("task.options.schema names a file, and a server must send the content instead")
    _check_schema(task.options.get(SCHEMA))


def _check_schema(content: Any) -> None:
    """Refuse a schema that an owner could not be shown."""
    if content is None:
        return
    from fedcore.tasks.tabular.toml import schema_content, schema_of

    if not isinstance(content, Mapping):
        raise Refusal.TASK("task.options.schema is not a schema")
    try:
        written = schema_content(schema_of(content, source="of the plan"))
    except DataError as error:
        raise Refusal.TASK(str(error)) from error
    if digest_of(written) != digest_of(content):
        raise Refusal.TASK("task.options.schema is not written as a server writes it")


def _check_data(request: RequestFacts, policy: Policy) -> None:
    tasks = policy.data.allowed.get(request.data_set)
    if tasks is None:
        known = ", ".join(policy.data.allowed) or "none"
        raise Refusal.DATA(
            f"data set {shown(request.data_set)} is not in data.allowed: {known}; task.data names a data set, no path"
        )
    if request.plan.task.name not in tasks:
        raise Refusal.DATA(f"data.allowed does not grant {request.data_set!r} to task {shown(request.plan.task.name)}")


def _check_rounds(request: RequestFacts, policy: Policy) -> None:
    planned, (low, high) = request.plan.federation.rounds, policy.training.rounds
    if not low <= planned <= high:
        raise Refusal.ROUNDS(f"training.rounds allows {low} to {high} rounds, and the plan has {planned}")
    first = 0 if request.kind == "evaluate" else 1  # round 0 is the model before training
    if not first <= request.round <= planned:
        raise Refusal.ROUNDS(f"the plan has {counted(planned, 'round')}, and the request is for round {request.round}")
    may_be_last = request.round == planned or request.plan.federation.stop_when is not None
    again = may_be_last and after_training(request.plan)
    if request.kind == "evaluate" and request.attempt > again:
        raise Refusal.ROUNDS("the plan evaluates each model once, and a chosen one once more at the end")
    if request.attempt < 0 or request.incarnation < 1:
        raise Refusal.ROUNDS("expected an attempt of 0 or more and an incarnation of 1 or more")


def _check_ranges(plan: RunPlan, policy: Policy) -> None:
    for name, values in _RANGES.items():
        low, high = getattr(policy.training, name)
        for value in values(plan):
            if value is not None and not low <= value <= high:
                raise Refusal.RANGE(f"training.{kebab(name)} allows {low} to {high}, and the plan has {value}")


def _check_names(plan: RunPlan, policy: Policy) -> None:
    training = policy.training
    if plan.training.optimizer not in training.optimizers:
        raise Refusal.RANGE(f"training.optimizers does not list {shown(plan.training.optimizer)}")
    for name in plan.training.optimizer_options:
        if name not in training.optimizer_options:
            raise Refusal.RANGE(f"training.optimizer-options does not list {shown(name)}")
    _check_listed(ALGORITHMS, [plan.algorithm.reference], training.algorithms, "algorithms")
    _check_listed(ENCODINGS, plan.aggregation.encode, training.encodings, "encodings")


def _check_listed(registry: Registry, references: Iterable[Reference], listed: Collection[str], key: str) -> None:
    for reference in references:
        try:
            name = registry.read(reference).name
        except PlanError as error:
            raise Refusal.ALGORITHM(str(error)) from error
        if name not in listed:
            raise Refusal.ALGORITHM(f"training.{key} does not list {shown(name)}")


def _check_model(request: RequestFacts, policy: Policy) -> None:
    precision, limit = request.plan.training.precision, policy.limits.model_megabytes
    if request.model_dtype != precision:
        raise Refusal.LAYOUT(f"the plan's model is {precision}, and the request declares another number type")
    if request.array_bytes <= 0 or request.array_bytes % _NUMBER_BYTES[precision]:
        raise Refusal.SIZE(f"{shown(request.array_bytes)} bytes are not a whole number of {precision}")
    if request.array_bytes > limit * _MEGABYTE:
        raise Refusal.SIZE(
            f"limits.model-megabytes is {limit:g}, and the request has {request.array_bytes / _MEGABYTE:.1f} megabytes"
        )


def _check_release(request: RequestFacts, policy: Policy) -> None:
    audit, release = request.plan.audit, policy.release
    if request.kind == "evaluate" and not release.evaluation:
        raise Refusal.METRICS("release.evaluation lists no metric, so nothing is evaluated")
    for attribute in audit.sensitive:
        if attribute not in (*release.group_tables, *release.error_sums):  # which of them the reply shows
            raise Refusal.METRICS(f"release.group-tables does not list {shown(attribute)}")
        groups = math.prod(len(audit.vocabularies.get(name, ())) for name in attribute.split(ATTRIBUTE_MARK))
        if groups > _MOST_GROUPS:
            raise Refusal.METRICS(f"{shown(attribute)} has {groups} groups; at most {_MOST_GROUPS} are counted")
    if audit.sensitive and audit.score_bins > release.max_score_bins:
        raise Refusal.METRICS(
            f"release.max-score-bins is {release.max_score_bins}, and the plan asks for {audit.score_bins}"
        )


def requests_per_day(plan: RunPlan, policy: Policy) -> int:
    """The policy's limit of requests in a day, or as many as this plan may need."""
    needed = 2 * (plan.federation.rounds + most_evaluations(plan))
    return policy.limits.requests_per_day or max(_FEWEST_REQUESTS, needed)


def _check_requests(plan: RunPlan, requests_today: int, policy: Policy) -> None:
    if requests_today >= (limit := requests_per_day(plan, policy)):
        raise Refusal.LIMIT(f"limits.requests-per-day is {limit}, and it is reached")


def _check_approval(request: RequestFacts, policy: Policy, approvals: Approvals) -> None:
    digest, schema = request.plan.sha256, request.plan.task.options.get(SCHEMA)
    is_read = (
        schema is None or digest_of(schema) in policy.tasks.schemas
    )  # its refusals reveal something about the rows
    if (is_read and not policy.approval.required) or approvals.is_approved(digest):
        return
    approvals.remember(digest, plan_summary(request, policy))
    raise Refusal.APPROVAL(
        f"the plan is not approved here; read it and decide with: fedcore client approve {digest[:12]} --home HOME"
    )
