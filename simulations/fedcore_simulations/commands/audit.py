"""``fedcore audit``: claims of a model or a run, measured. Imports nothing heavy: help must be instant."""

from __future__ import annotations

import typer

from fedcore.commands.audit_bias import bias
from fedcore.commands.audit_data import data
from fedcore_simulations.commands.audit_privacy import privacy
from fedcore_simulations.commands.privacy_cost import privacy_cost

audit = typer.Typer(no_args_is_help=True, help="Measure a run's privacy, and how fair the decisions in a table are.")
audit.command()(bias)
audit.command()(data)
audit.command()(privacy)
audit.command("privacy-cost")(privacy_cost)
