"""The gRPC health service for Kubernetes and other supervisors: ``grpc.health.v1``."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any, Self

from fedcore.errors import DeploymentError

_THREADS = 2
_STOP_SECONDS = 1.0


class HealthServer:
    """Answers ``grpc.health.v1.Health/Check`` and ``Watch``, without TLS; NOT_SERVING at first.

    Args:
        address: ``HOST:PORT``, with port 0 for a free one.

    Raises:
        DeploymentError: The address cannot be listened on.
    """

    def __init__(self, address: str) -> None:
        import grpc
        from grpc_health.v1 import health, health_pb2, health_pb2_grpc

        self._states: Any = health_pb2.HealthCheckResponse
        self._servicer: Any = health.HealthServicer()
        self._server = grpc.server(
            ThreadPoolExecutor(_THREADS, thread_name_prefix="health"), options=[("grpc.so_reuseport", 0)]
        )
        health_pb2_grpc.add_HealthServicer_to_server(self._servicer, self._server)
        self.set_serving(False)
        try:
            port = self._server.add_insecure_port(address)
        except RuntimeError:
            port = 0
        if port == 0:
            raise DeploymentError(f"the health service cannot listen on {address}: is the port taken?")
        self.address = f"{address.rpartition(':')[0]}:{port}"

    def start(self) -> None:
        self._server.start()

    def set_serving(self, serving: bool) -> None:
        self._servicer.set("", self._states.SERVING if serving else self._states.NOT_SERVING)

    def stop(self) -> None:
        """Watchers get a last status first."""
        self._servicer.enter_graceful_shutdown()
        self._server.stop(_STOP_SECONDS).wait(2 * _STOP_SECONDS)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
