"""What is measured of the released model in addition to every evaluation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from fedcore.audit.metrics.classes import with_classes
from fedcore.audit.metrics.clients import ClientSpread, client_spread
from fedcore.audit.metrics.measures import Measures, measures_of_table
from fedcore.audit.metrics.rates import group_rates, overall_rates
from fedcore.audit.sites.site_splits import Splits, splits_of
from fedcore.audit.tables.groups import GroupTable
from fedcore.audit.verdict.attribute_audit import AttributeAudit
from fedcore_server.evaluation.evaluation import Evaluation


@dataclass(frozen=True, slots=True, kw_only=True)
class Detail:
    """What needs a bootstrap, or each client's own tables.

    Attributes:
        evaluation: The evaluation, with the gaps of ``measures`` in its audits.
        measures: Metrics other than rates, by attribute.
        sites: Each attribute's gaps split over clients; empty where counts are noisy, since the parts would not sum up.
        clients: How evenly clients are served; None without an audited attribute, and where counts are noisy.
    """

    evaluation: Evaluation
    measures: Mapping[str, Measures]
    sites: Mapping[str, Splits]
    clients: ClientSpread | None


def detailed(evaluation: Evaluation) -> Detail:
    """Takes about a second, so it is done for the released model only."""
    measures = {name: measures_of_table(audit, evaluation.tables[name]) for name, audit in evaluation.audits.items()}
    audits = {
        name: with_classes(measures[name].added(audit), evaluation.tables[name])
        for name, audit in evaluation.audits.items()
    }
    exact = all(table.variance == 0 for table in evaluation.tables.values())
    return Detail(
        evaluation=replace(evaluation, audits=audits),
        measures=measures,
        sites={name: _splits(audit, evaluation) for name, audit in evaluation.audits.items()} if exact else {},
        clients=_clients(evaluation) if exact else None,
    )


def _splits(audit: AttributeAudit, evaluation: Evaluation) -> Splits:
    tables = _labelled(evaluation, audit.attribute)
    by_client = {client: group_rates(table, **audit.settings.reading) for client, table in tables.items()}
    return splits_of(audit, by_client, tuple(audit.groups))


def _clients(evaluation: Evaluation) -> ClientSpread | None:
    """By accuracy; None without labels."""
    for attribute, audit in evaluation.audits.items():
        if tables := _labelled(evaluation, attribute):
            rates = {
                client: overall_rates(table, **audit.settings.reading)["accuracy"] for client, table in tables.items()
            }
            return client_spread(rates, min_cell=audit.settings.min_cell, confidence=audit.settings.confidence)
    return None


def _labelled(evaluation: Evaluation, attribute: str) -> dict[str, GroupTable]:
    """Each client's table of an attribute; empty where targets are numbers."""
    tables = {client: tables[attribute] for client, tables in evaluation.client_tables.items()}
    return {client: table for client, table in tables.items() if isinstance(table, GroupTable)}
