"""The ``fedcore`` command, to which each package adds its subcommands.

Subcommands come from the entry-point group ``fedcore.commands``. Their modules import nothing slow at the
top, so that help and refusals are instant.
"""

from __future__ import annotations

import importlib.metadata
import os
import sys
from typing import Annotated

import typer

from fedcore import __version__
from fedcore.errors import FedcoreError
from fedcore.text.printable import printable_lines

_GROUP = "fedcore.commands"
_EPILOG = "Start with: fedcore simulate"


def build_app() -> typer.Typer:
    app = typer.Typer(
        name="fedcore",
        no_args_is_help=True,
        add_completion=False,
        rich_markup_mode="rich",
        pretty_exceptions_enable=False,
        epilog=_EPILOG,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_root)
    for entry in sorted(importlib.metadata.entry_points(group=_GROUP), key=lambda entry: entry.name):
        found = entry.load()
        if isinstance(found, typer.Typer):
            app.add_typer(found, name=entry.name)
        else:
            app.command(name=entry.name)(found)
    return app


def main() -> None:
    """Run the command line; print errors of fedcore as one message and exit with code 2."""
    _quiet_flower()
    try:
        build_app()()
    except FedcoreError as error:
        print(f"error: {printable_lines(str(error))}", file=sys.stderr)
        raise SystemExit(2) from None


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"fedcore {__version__}")
        raise typer.Exit


def _root(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """Train together on data that may not be shared, and show how private and how fair the result is."""


def _quiet_flower() -> None:
    """Turn off Flower's telemetry, update checks and package installation, before its import."""
    os.environ["FLWR_TELEMETRY_ENABLED"] = "0"
    os.environ["FLWR_DISABLE_UPDATE_CHECK"] = "1"
    os.environ["FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION"] = "1"
