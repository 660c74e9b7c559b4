"""The bias audit: from additive counts to rates, gaps and a verdict.

``from fedcore.audit import audit`` audits arrays and frames. Read the rest in this order::

    tables      what a client counts: group x label x score bin, closed under ``+``
    statistics  confidence intervals of rates, differences and ratios
    metrics     rates by group, gaps and other metrics; ``catalogue`` has a row for each
    sites       a gap split over the clients
    verdict     limits, the gate, small cells, and the content of ``bias.json``
    table       the audit of any table of decisions, without a federation
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fedcore.report.array_audit import audit

__all__ = ["audit"]


def __getattr__(name: str) -> Any:
    """Import the audit of arrays on first use: it shows itself as a report, which is a layer above this package."""
    if name != "audit":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return import_module("fedcore.report.array_audit").audit
