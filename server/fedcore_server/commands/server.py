"""``fedcore server``. Imports nothing heavy: help must be instant."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

server = typer.Typer(
    name="server",
    no_args_is_help=True,
    rich_markup_mode="rich",
    help="Run the federation server of a consortium.",
)

Home = Annotated[Path, typer.Option(help="The server's directory, from fedcore consortium init.", show_default=True)]


@server.command()
def start(
    home: Home = Path("federation"),
    bind: Annotated[
        str, typer.Option(metavar="HOST:PORT", help="Where to listen; default all addresses, at the consortium's port.")
    ] = "",
    health: Annotated[
        str | None, typer.Option(metavar="HOST:PORT", help="gRPC health (grpc.health.v1) for orchestrators.")
    ] = None,
    metrics_port: Annotated[
        int | None, typer.Option(metavar="PORT", help="Prometheus page on loopback at this port, such as 9464.")
    ] = None,
) -> None:
    """Serve until Ctrl-C or SIGTERM; runs that were in progress are resumed.

    Example:
        fedcore server start --home federation --metrics-port 9464
    """
    import signal
    from datetime import UTC, datetime

    from fedcore.checkup.machine import check_flower
    from fedcore.text.timed_line import print_timed
    from fedcore_server.service.damage import refuse_damaged_home
    from fedcore_server.service.home import ServerHome

    check_flower()  # before anything of Flower's is imported
    at = ServerHome(home)
    refuse_damaged_home(at.consortium, datetime.now(UTC))
    from fedcore_server.service.federation_server import FederationServer  # torch and Flower: once the home is right
    from fedcore_server.service.monitoring import MonitoringSettings

    with at.only_server():
        serving = FederationServer(
            at,
            bind=bind,
            monitoring=MonitoringSettings(health=health, metrics_port=metrics_port),
            show=print_timed,
        )
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: serving.stop())
        serving.run()


@server.callback()
def _group() -> None:
    """Keep ``start`` a subcommand though it is the only one."""
