"""``fedcore audit``: what a model or a run claims, measured. Imports nothing heavy: help must be instant."""

from __future__ import annotations

import typer

from fedcore_simulations.bias_audit.bias_command import bias
from fedcore_simulations.data_audit.data_command import data
from fedcore_simulations.privacy_audit.audit_commands import privacy
from fedcore_simulations.privacy_cost.cost_command import privacy_cost

audit = typer.Typer(no_args_is_help=True, help="Measure a run's privacy, and how fair the decisions in a table are.")
audit.command()(bias)
audit.command()(data)
audit.command()(privacy)
audit.command("privacy-cost")(privacy_cost)
