"""The SuperLink: one application of Flower's on two listeners, in a thread of its own."""

from __future__ import annotations

import asyncio
import datetime
import resource
import secrets
import socket
import ssl
import threading
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Self

from fedcore.errors import DeploymentError
from fedcore_server.flower.superlink.application import (
    SuperLinkSettings,
    close_database,
    flower_application,
    refuse_grpc,
)
from fedcore_server.flower.superlink.asgi import Application
from fedcore_server.flower.superlink.certificate import check_certificate
from fedcore_server.flower.superlink.gateway import Gateway
from fedcore_server.flower.superlink.member_key import header_of_key

_START_SECONDS = 30.0
_GRACE_SECONDS = 3.0
_LOOK_SECONDS = 0.1
_STOP_SECONDS = 10.0
_CONNECTIONS = 4096
_KEEP_ALIVE_SECONDS = 75


@dataclass(slots=True)
class SuperLink:
    """Flower's SuperLink behind fedcore's gateway.

    The public listener speaks TLS and lets through what a registered node needs. The other one, on a free port of
    loopback, serves the driver, who must know `bearer`, and to take up a run also `secret`. Both are made anew at
    every start, and are in no file and on no command line.

    Use it as a context manager, or call `start` and `stop`.
    """

    settings: SuperLinkSettings
    secret: bytes = field(default_factory=lambda: secrets.token_bytes(32), repr=False)
    bearer: str = field(default_factory=lambda: secrets.token_urlsafe(32), repr=False)
    runtime_address: str = field(default="", init=False)
    public_port: int = field(default=0, init=False)
    _servers: list[Any] = field(default_factory=list, init=False, repr=False)
    _sockets: list[socket.socket] = field(default_factory=list, init=False, repr=False)
    _thread: threading.Thread | None = field(default=None, init=False, repr=False)
    _failure: BaseException | None = field(default=None, init=False, repr=False)
    _app: Any = field(default=None, init=False, repr=False)
    _gateway: Gateway | None = field(default=None, init=False, repr=False)

    def start(self) -> None:
        """Listen; returns when both listeners serve.

        Raises:
            DeploymentError: The port is taken, the certificate cannot be used, or the database cannot be opened.
        """
        settings = self.settings
        refuse_grpc()
        _allow_connections()
        check_certificate(
            settings.certificate, settings.key, name=settings.name, now=datetime.datetime.now(datetime.UTC)
        )
        try:
            self.runtime_address = f"127.0.0.1:{self._listen('127.0.0.1', 0)}"
            self.public_port = self._listen(settings.host, settings.port)
            self._app = flower_application(settings, self.secret)
            self._servers = [self._loopback_server(self._app), self._public_server(self._app)]
            self._thread = threading.Thread(target=self._serve, name="superlink", daemon=True)
            self._thread.start()
            self._wait_until_serving()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Close both listeners; requests under way get three seconds. Does nothing when not started."""
        for server in self._servers:
            server.should_exit = True
        if self._thread is not None:
            self._thread.join(_STOP_SECONDS)
        for listener in self._sockets:
            listener.close()
        close_database(self._app)
        self._servers, self._sockets, self._thread, self._app = [], [], None, None

    def admit(self, flower_keys: Iterable[bytes]) -> None:
        """From now on the public port serves holders of these keys alone."""
        if self._gateway is not None:
            self._gateway.members = frozenset(map(header_of_key, flower_keys))

    @property
    def traffic(self) -> tuple[int, int]:
        gateway = self._gateway
        return (gateway.sent_bytes, gateway.received_bytes) if gateway is not None else (0, 0)

    @property
    def is_serving(self) -> bool:
        return self._thread is not None and self._thread.is_alive() and all(server.started for server in self._servers)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _listen(self, host: str, port: int) -> int:
        self._sockets.append(_listen(host, port))
        return int(self._sockets[-1].getsockname()[1])

    def _serve(self) -> None:
        try:
            asyncio.run(self._serve_both())
        except BaseException as error:  # reported to the thread that waits for this one
            self._failure = error

    async def _serve_both(self) -> None:
        """Both listeners in one loop: when one of them ends, so does the other."""
        tasks = [
            asyncio.create_task(server.serve(sockets=[listener]))
            for server, listener in zip(self._servers, self._sockets, strict=True)
        ]
        while not any(server.should_exit or task.done() for server, task in zip(self._servers, tasks, strict=True)):
            await asyncio.sleep(_LOOK_SECONDS)
        for server in self._servers:
            server.should_exit = True
        await asyncio.gather(*tasks, *(_hang_up(server) for server in self._servers))

    def _wait_until_serving(self) -> None:
        deadline = time.monotonic() + _START_SECONDS
        while not self.is_serving:
            if self._thread is None or not self._thread.is_alive():
                raise DeploymentError(f"the SuperLink could not start: {self._failure}") from self._failure
            if time.monotonic() > deadline:
                raise DeploymentError(f"the SuperLink did not start within {_START_SECONDS:.0f} seconds")
            time.sleep(0.01)

    def _loopback_server(self, app: Application) -> Any:
        from fedcore_server.flower.superlink.loopback import BearerGuard

        return _server(BearerGuard(app, bearer=self.bearer), lifespan="on")

    def _public_server(self, app: Application) -> Any:
        settings = self.settings
        self._gateway = Gateway(
            app,
            max_body_bytes=settings.max_body_bytes,
            refusals_per_second=settings.refusals_per_second,
            refusal_burst=settings.refusal_burst,
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(settings.certificate, settings.key)
        return _server(self._gateway, lifespan="off", ssl_context_factory=lambda config, default: context)


def _allow_connections() -> None:
    """As many open files as this process may have: each client keeps a connection or two, and 1024 is a usual limit."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


async def _hang_up(server: Any) -> None:
    """Let requests under way end, then cut the connections: idle ones over TLS would wait for their peers' goodbye."""
    give_up = time.monotonic() + _GRACE_SECONDS
    await asyncio.sleep(2 * _LOOK_SECONDS)
    while server.server_state.tasks and time.monotonic() < give_up:
        await asyncio.sleep(_LOOK_SECONDS)
    for connection in list(server.server_state.connections):
        connection.transport.abort()


def _server(app: Application, **options: Any) -> Any:
    import uvicorn

    config = uvicorn.Config(
        app,
        access_log=False,
        log_config=None,
        proxy_headers=False,  # a peer does not choose its own address
        server_header=False,
        ws="none",
        limit_concurrency=_CONNECTIONS,
        timeout_keep_alive=_KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=int(2 * _GRACE_SECONDS),
        **options,
    )
    return uvicorn.Server(config)


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # The protocol is named because asyncio turns Nagle's delay off only then: 40 ms a call otherwise.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(512)
    except OSError as error:
        listener.close()
        raise DeploymentError(
            f"{host}:{port} cannot be listened on: {error.strerror or error}. Is a server running already? "
            "Choose another port, or stop what uses it"
        ) from None
    return listener
