"""Flower's own application, set up to run no code, to serve only registered nodes and to connect to nothing outside."""

from __future__ import annotations

import logging
import os
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fedcore.errors import DeploymentError
from fedcore_server.flower.superlink.asgi import Application
from fedcore_server.flower.superlink.database import database_fault, not_opened, prepare_database, without_zeroing

_GRPC_SWITCHES = ("FLWR_INTERNAL_GRPC_CONTROL_API", "FLWR_INTERNAL_GRPC_FLEET_API")
_NOISY_LOGGERS = ("flwr", "httpx", "httpcore", "alembic", "uvicorn")


@dataclass(frozen=True, slots=True, kw_only=True)
class SuperLinkSettings:
    """Where the SuperLink listens, and its files.

    Attributes:
        host: The public address to bind, such as ``0.0.0.0``.
        port: The public port; 0 for a free one.
        name: What clients connect to; the certificate must name it. None: not checked.
        certificate: Server certificate in PEM format, and `key` its private key, readable by nobody else.
        database: The SQLite file; made if it is absent.
        flower_home: A directory for what Flower itself writes.
    """

    host: str
    port: int
    name: str | None = None
    certificate: Path
    key: Path
    database: Path
    flower_home: Path
    max_body_bytes: int = 8 << 20
    refusals_per_second: float = 20.0
    refusal_burst: int = 1000


def flower_application(settings: SuperLinkSettings, secret: bytes) -> Application:
    """Node authentication on, process isolation, no connection to the outside."""
    os.environ["FLWR_HOME"] = str(settings.flower_home)
    from flwr.superlink.auth_plugin import NoOpControlAuthnPlugin
    from flwr.superlink.cli.flower_superlink import SuperLinkLifespan
    from flwr.superlink.config_loader import SuperLinkLifespanConfig
    from flwr.superlink.main import create_app

    for name in _NOISY_LOGGERS:
        logging.getLogger(name).setLevel(logging.WARNING)
    # Flower prints a traceback for every early or late client; fedcore prints its own line.
    logging.getLogger("flwr").setLevel(logging.CRITICAL)
    prepare_database(settings.database)
    config = SuperLinkLifespanConfig(
        control_address="",
        health_server_address=None,
        host=settings.host,
        port=settings.port,
        insecure=False,
        certificates=None,
        superexec_auth_secret=secret,
        authn_plugin=NoOpControlAuthnPlugin(),
        event_log_plugin=None,
        fleet_event_log_plugin=None,
        enable_event_log=False,
        artifact_provider=None,
        enable_supernode_auth=True,
        fleet_api_type="grpc-rere",
        fleet_api_address=None,
        simulation=False,
        ssl_ca_certfile=None,
        ssl_certfile=None,
        ssl_keyfile=None,
        database=str(settings.database),
        isolation="process",
        runtime_dependency_install=False,
    )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # Flower's migrations raise it
            app: Any = create_app(config, SuperLinkLifespan)
        for engine in _engines(app):
            without_zeroing(engine)
    except Exception as error:
        raise not_opened(settings.database, database_fault(error)) from error
    return app  # type: ignore[no-any-return]


def refuse_grpc() -> None:
    """Flower's old gRPC servers, which an environment variable starts, would bypass the gateway."""
    for switch in _GRPC_SWITCHES:
        if os.environ.get(switch) == "1":
            raise DeploymentError(f"{switch}=1 would open a second, unguarded way into the SuperLink: unset it")


def close_database(app: Any) -> None:
    """Close the database's connections, so that its write-ahead log is merged."""
    if app is not None:
        for engine in _engines(app):
            engine.dispose()


def _engines(app: Any) -> list[Any]:
    state = app.state.linkstate_factory.state()
    return [store._engine for store in (state, state.object_store)]
