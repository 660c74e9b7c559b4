"""A run's method: its algorithm, its rule, its encodings and its server optimizer, checked against its plan."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fedcore.aggregation.contract import Array, Rule
from fedcore.aggregation.registry import RULES
from fedcore.algorithms.asynchronous.contract import contradictions
from fedcore.algorithms.contract import Algorithm
from fedcore.errors import PlanError
from fedcore.method.exchange import Exchange
from fedcore.method.names import rule_of
from fedcore.method.per_plan import once_per_plan
from fedcore.method.returned import check_encoding, check_names, check_returns
from fedcore.plugins import name_of
from fedcore.server_optimizers.contract import ServerOptimizer
from fedcore.server_optimizers.registry import SERVER_OPTIMIZERS

if TYPE_CHECKING:
    from fedcore.audit.tables.values import AuditTable
    from fedcore.plan import RunPlan


_LARGE = 10**6
"""Elements of a vector beside which an encoding's constant part is nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    """Algorithm, rule, encodings and server optimizer of a run."""

    exchange: Exchange
    rule: Rule
    optimizer: ServerOptimizer

    @classmethod
    def of(cls, plan: RunPlan) -> Method:
        """The method that a plan names, checked against it.

        Raises:
            PlanError: A name is unknown, options are wrong, or parts contradict the plan or each other.
            TaskError: The user's own part cannot be imported, or contradicts its own declaration.
        """
        return _method_of(plan)

    @property
    def algorithm(self) -> Algorithm:
        return self.exchange.algorithm

    @property
    def notes(self) -> tuple[str, ...]:
        """What to know of the method before a run."""
        return (self.rule.note,) if self.rule.note else ()

    def _problems(self, plan: RunPlan) -> Iterator[str]:
        algorithm, rule = f"algorithm {plan.algorithm.name!r}", f"aggregation.rule {_rule_name(plan)!r}"
        yield from (f"{algorithm}: {why}" for why in self.algorithm.check(plan))
        yield from (f"{rule}: {why}" for why in self.rule.check(plan))
        for where, encoding in zip(_encodings(plan), self.exchange.encodings, strict=True):
            yield from (f"{where}: {why}" for why in encoding.check(plan))
        if self.algorithm.learns and plan.federation.evaluate_clients is not None:
            yield f"{algorithm}: it follows evaluations of all clients; leave federation.evaluate-clients out"
        if self.algorithm.buffer is not None:
            yield from (f"{algorithm}: {why}" for why in contradictions(self.algorithm.buffer, plan))
            if self.exchange.remembers or self.algorithm.shares or self.algorithm.weighs_rows:
                yield (
                    f"{algorithm}: what clients keep, or are sent beside the model, belongs to the round before, and "
                    "it has none; use algorithms and encodings that keep nothing, such as int8"
                )
        if self.algorithm.weighs_clients and not self.rule.weighs:
            yield f"{rule}: it has no weights, and {algorithm} weighs clients"

    def _privacy_problems(self, plan: RunPlan) -> Iterator[str]:
        unit = plan.privacy.unit
        if unit == "none":
            return
        yield from self.exchange.refusals(plan)
        rule = f"aggregation.rule {_rule_name(plan)!r}"
        if unit == "client" and self.rule.sensitivity(1.0) != 1.0:
            yield (
                f"{rule} under privacy unit client: it is not a sum in which each client counts once, so that no noise "
                "can be scaled to it; use 'uniform'"
            )
        if unit == "record" and plan.privacy.relation == "add-remove" and self.rule.by_examples:
            yield f"{rule}: it weighs by the number of examples, secret with relation add-remove; use 'uniform'"


@once_per_plan
def _method_of(plan: RunPlan) -> Method:
    method = Method(
        exchange=Exchange.of(plan),
        rule=RULES.make(rule_of(plan)),
        optimizer=SERVER_OPTIMIZERS.make(plan.federation.server_optimizer),
    )
    check_names(method.algorithm, plan)
    for each, encoding in zip(plan.aggregation.encode, method.exchange.encodings, strict=True):
        check_encoding(encoding, f"encoding {name_of(each)!r}", plan.training.precision)
    large = Array(dtype=plan.training.precision, size=_LARGE)
    method.exchange.codec(large)  # what it refuses, each client would refuse by itself
    if problems := [*method._problems(plan), *method._privacy_problems(plan)]:
        raise PlanError(problems)
    check_returns(method.algorithm, method.rule, plan)
    return method


def check_learnable(plan: RunPlan, tables: Mapping[str, AuditTable]) -> None:
    """Refuse an algorithm that cannot use the tables that clients will fill.

    Raises:
        PlanError: Lists every problem.
    """
    problems = Exchange.of(plan).algorithm.check_tables(tables, plan)
    if found := [f"algorithm {plan.algorithm.name!r}: {why}" for why in problems]:
        raise PlanError(found)


def _rule_name(plan: RunPlan) -> str:
    return name_of(rule_of(plan))


def _encodings(plan: RunPlan) -> list[str]:
    return [f"aggregation.encode {name_of(each)!r}" for each in plan.aggregation.encode]
