"""Contradictions between keys of a plan that are each valid alone."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from fractions import Fraction
from typing import TYPE_CHECKING

from fedcore.errors import FedcoreError, PlanError
from fedcore.plan.audit_sections import AuditSection, LimitSection
from fedcore.plan.devices.section import DevicesSection
from fedcore.plan.section import Section
from fedcore.plan.sections import FederationSection, PrivacySection, TrainingSection
from fedcore.plan.stop_rule import StopRule
from fedcore.schedules.registry import schedule_of
from fedcore.text.toml_problems import unknown

_LEAST_FACTOR = 1e-12
"""Beneath, a rate could round to zero, by which SCAFFOLD divides."""

if TYPE_CHECKING:
    from fedcore.audit.verdict.limits import Limit


def contradictions(sections: Mapping[str, Section]) -> Iterator[str]:
    """Every contradiction, in a sentence; sections that could not be read are skipped."""
    names = ("federation", "training", "privacy", "audit", "devices")
    federation, training, privacy, audit, devices = (sections.get(name) for name in names)
    if isinstance(devices, DevicesSection):
        if devices.kinds and min(kind.dropout for kind in devices.kinds.values()) == 1.0:
            yield "devices: every kind has a dropout of 1, so that no client ever answers; expected one below 1"
        if isinstance(federation, FederationSection):
            yield from _device_and_federation_contradictions(devices, federation)
        if isinstance(privacy, PrivacySection) and privacy.unit == "client" and devices.simulated:
            yield (
                "devices: how long a client takes depends on its number of rows, and decides when a round ends and who "
                "else is counted, which the noise of unit client does not cover; leave the devices out"
            )
    if isinstance(training, TrainingSection):
        yield from _training_contradictions(training)
        if isinstance(federation, FederationSection):
            yield from _schedule_problems(training, federation)
    if isinstance(federation, FederationSection):
        yield from _federation_contradictions(federation)
    if isinstance(privacy, PrivacySection):
        yield from _privacy_contradictions(privacy)
        if isinstance(federation, FederationSection):
            yield from _privacy_and_federation_contradictions(privacy, federation)
    if isinstance(audit, AuditSection):
        yield from _audit_contradictions(audit)
        yield from _choice_contradictions(audit)
        if isinstance(federation, FederationSection):
            yield from _audit_and_federation_contradictions(audit, federation)


def _privacy_and_federation_contradictions(privacy: PrivacySection, federation: FederationSection) -> Iterator[str]:
    exact = privacy.unit != "none" and privacy.evaluation_noise_multiplier is None
    if exact and _looks_at_clients(federation.stop_when):
        noise = "set privacy.evaluation-noise-multiplier, " if privacy.unit == "record" else ""
        yield (
            "federation.stop-when: the round in which the run ends would show exact results on held-out rows; "
            f"{noise}name a metric of task.test-data, such as test_accuracy, or leave it out"
        )
    redrawn = privacy.relation == "add-remove" and federation.cohort_size is not None
    if privacy.unit == "client" and privacy.participation == "visible" and redrawn:
        yield (
            "privacy.relation: with one client more, add-remove would draw another cohort, which moves the sum by more "
            "than a client; ask all clients, or take zero-out"
        )
    if privacy.participation == "secret" and federation.quorum > 1:
        yield "federation.quorum: a round that fails for want of clients would show how many were asked; leave it out"
    if privacy.participation == "secret" and (privacy.unit != "client" or federation.cohort_sampling != "poisson"):
        yield (
            "privacy.participation: secret amplifies a Poisson cohort under unit client; set cohort-sampling and "
            "cohort-size in federation, or leave it out"
        )


def _looks_at_clients(stop_when: str | None) -> bool:
    try:
        return stop_when is not None and not StopRule.parse(stop_when).on_test_data
    except ValueError:
        return False  # reported with its section


def _federation_contradictions(federation: FederationSection) -> Iterator[str]:
    if (federation.evaluate_clients or 0) > federation.clients:
        yield (
            f"federation.evaluate-clients: expected at most clients = {federation.clients}, found "
            f"{federation.evaluate_clients}"
        )
    if federation.evaluate_clients is not None and _looks_at_clients(federation.stop_when):
        yield (
            "federation.evaluate-clients: stop-when would compare other clients in each round; leave one of them out, "
            "or name a metric of task.test-data"
        )
    if (federation.cohort_size or 0) > federation.clients:
        yield f"federation.cohort-size: expected at most clients = {federation.clients}, found {federation.cohort_size}"
    if federation.quorum > (federation.cohort_size or federation.clients):
        yield f"federation.quorum: expected at most the cohort, found {federation.quorum}"
    if federation.cohort_sampling == "poisson" and federation.cohort_size is None:
        yield "federation.cohort-sampling: poisson needs cohort-size, the expected number of clients"
    if federation.stop_when is not None:
        try:
            StopRule.parse(federation.stop_when)
        except ValueError as error:
            yield f"federation.stop-when: {error}"


def _device_and_federation_contradictions(devices: DevicesSection, federation: FederationSection) -> Iterator[str]:
    for key, value in (("wait-for", devices.wait_for), ("flops-per-example", devices.flops_per_example)):
        if value is not None and not devices.simulated:
            yield f"devices.{key}: it has a meaning in simulated time only; name profiles too, such as phones"
    if devices.wait_for is None:
        return
    if devices.wait_for > (federation.cohort_size or federation.clients):
        yield f"devices.wait-for: expected at most the cohort, found {devices.wait_for}"
    if devices.wait_for < federation.quorum:
        yield (
            f"devices.wait-for: a round that ends with {devices.wait_for} updates has no quorum of "
            f"{federation.quorum}; expected at least as many"
        )


def _privacy_contradictions(privacy: PrivacySection) -> Iterator[str]:
    if privacy.evaluation_noise_multiplier is not None and privacy.unit != "record":
        yield "privacy.evaluation-noise-multiplier: it protects records, and privacy.unit is not record"
    if privacy.unit == "none":
        return
    if (privacy.epsilon is None) == (privacy.noise_multiplier is None):
        yield "privacy: expected exactly one of epsilon (a target) and noise-multiplier"
    if privacy.unit == "record" and privacy.relation == "add-remove" and privacy.nominal_batch is None:
        yield (
            "privacy.nominal-batch: needed with relation add-remove, where the number of records is secret and "
            "nothing may be derived from it"
        )


def _training_contradictions(training: TrainingSection) -> Iterator[str]:
    if "lr" in training.optimizer_options:
        yield "training.optimizer-options: lr is set by learning-rate; remove it here"


def _schedule_problems(training: TrainingSection, federation: FederationSection) -> Iterator[str]:
    if training.schedule is None:
        return
    try:
        schedule = schedule_of(training.schedule)
    except FedcoreError as error:
        yield f"training.schedule: {error}"
        return
    rounds = federation.rounds
    if schedule.factor(rounds - 1, rounds) < _LEAST_FACTOR:
        yield (
            f"training.schedule: in round {rounds} the learning rate is below {_LEAST_FACTOR:g} of the planned one, "
            "with which nothing is learned; choose a schedule that falls more slowly"
        )


def _audit_contradictions(audit: AuditSection) -> Iterator[str]:
    problems = [problem for limit in audit.limits for problem in _limit_problems(limit)]
    yield from problems or _contradicting_limits(audit)
    bins = Fraction(str(audit.threshold)) * audit.score_bins
    if bins.denominator != 1:
        yield (
            f"audit.threshold: expected a multiple of 1/{audit.score_bins} (an edge of score-bins), "
            f"found {audit.threshold}"
        )
    if audit.target_range is not None and not -math.inf < audit.target_range[0] < audit.target_range[1] < math.inf:
        yield f"audit.target-range: expected two rising, finite numbers, found {list(audit.target_range)}"
    for attribute in audit.references:
        if attribute not in audit.sensitive:
            yield f"audit.references: {unknown(attribute, audit.sensitive, 'attribute')}"
    if audit.limits and not audit.sensitive:
        yield "audit.limits: there are limits, and no attribute in audit.sensitive that they could hold for"


def _choice_contradictions(audit: AuditSection) -> Iterator[str]:
    from fedcore.audit.verdict.limits import WATCHED

    if audit.checkpoint == "last" or any(_limit_problems(limit) for limit in audit.limits):
        return
    if not any(limit.metric in WATCHED for section in audit.limits for limit in _limits_of(section)):
        yield (
            "audit.checkpoint: within-limits chooses a round by its limits on rates and errors, and audit.limits "
            "has none; declare one, on a metric such as selection_rate, or leave it at last"
        )


def _audit_and_federation_contradictions(audit: AuditSection, federation: FederationSection) -> Iterator[str]:
    if federation.evaluate_clients is None:
        return
    if audit.checkpoint != "last":
        yield "federation.evaluate-clients: audit.checkpoint judges each round on all clients; leave one of them out"
    if federation.stop_when is not None and (audit.sensitive or audit.hooks):
        yield (
            "federation.evaluate-clients: an audit needs all clients in the last evaluation, and with stop-when any "
            "may be the last; leave one of the three out"
        )


def _limit_problems(limit: LimitSection) -> tuple[str, ...]:
    try:
        _limits_of(limit)
    except PlanError as error:
        return tuple(f"audit.limits: {problem}" for problem in error.problems)
    return ()


def _contradicting_limits(audit: AuditSection) -> Iterator[str]:
    from fedcore.audit.verdict.limits import contradicting

    for problem in contradicting(limit for section in audit.limits for limit in _limits_of(section)):
        yield f"audit.limits: {problem}"


def _limits_of(limit: LimitSection) -> tuple[Limit, ...]:
    from fedcore.audit.verdict.limits import limits_named

    return limits_named(
        limit.metric, attribute=limit.attribute, kind=limit.kind, at_most=limit.at_most, at_least=limit.at_least
    )
