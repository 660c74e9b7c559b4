"""Flower's simulation engine, running beside the round loop."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Iterator
from queue import Empty, Queue
from types import TracebackType
from typing import Self

from flwr.app import Context
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp

from fedcore.errors import EngineError
from fedcore_simulations.engines.ray.cluster import kill_actors

_LOOK_SECONDS = 0.05
_STOPPING_SECONDS = 10.0
_ACTOR = {"num_cpus": 1, "num_gpus": 0, "max_restarts": -1, "max_task_retries": 1}
"""Options of an actor, as Ray names them. Ray restarts one that died, and does its client anew, once."""


class FlowerSimulation:
    """Flower's ``run_simulation`` in a thread, with a ServerApp that lends its grid to the engine.

    The round loop stays where it is for every engine, and with it checkpoints, records and reports.

    Attributes:
        grid: Sends messages to the nodes.
        nodes: Their ids.

    Args:
        app: What the nodes run.
        num_nodes: Virtual nodes.
    """

    grid: Grid
    nodes: list[int]

    def __init__(self, app: ClientApp, *, num_nodes: int) -> None:
        self._app, self._num_nodes = app, num_nodes
        self._lent: Queue[Grid] = Queue()
        self._finished = threading.Event()
        self._failure: Exception | None = None
        self._thread = threading.Thread(target=self._run, name="fedcore-flower", daemon=True)

    def __enter__(self) -> Self:
        """Start the simulation in this process, which is connected to Ray, and wait for the grid.

        Raises:
            EngineError: Flower's simulation does not start.
        """
        self._thread.start()
        try:
            self.grid = self._borrowed()
            while len(nodes := list(self.grid.get_node_ids())) < self._num_nodes:
                self.check()
                time.sleep(_LOOK_SECONDS)
        except BaseException:
            self._end()
            raise
        self.nodes = nodes
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the simulation; clients that are being trained are not waited for."""
        self._end()

    def _end(self) -> None:
        self._finished.set()
        kill_actors()
        self._thread.join(timeout=_STOPPING_SECONDS)

    def check(self) -> None:
        """Raise an `EngineError` if the simulation has ended."""
        if not self._thread.is_alive():
            raise EngineError(f"Flower's simulation ended: {self._failure or 'no reason given'}") from self._failure

    def _borrowed(self) -> Grid:
        while True:
            with contextlib.suppress(Empty):
                return self._lent.get(timeout=_LOOK_SECONDS)
            self.check()

    def _run(self) -> None:
        from flwr.simulation import run_simulation
        from flwr.supercore import telemetry

        telemetry.FLWR_TELEMETRY_ENABLED = "0"  # whatever imported it before the environment said so
        try:
            with _silenced():
                run_simulation(
                    server_app=self._server_app(),
                    client_app=self._app,
                    num_supernodes=self._num_nodes,
                    backend_config={"client_resources": _ACTOR},  # type: ignore[dict-item]
                )
        except Exception as error:
            self._failure = _root_of(error)

    def _server_app(self) -> ServerApp:
        app = ServerApp()

        @app.main()
        def main(grid: Grid, context: Context) -> None:
            self._lent.put(grid)
            self._finished.wait()

        return app


@contextlib.contextmanager
def _silenced() -> Iterator[None]:
    """Without Flower's log: what fails is raised by the engine."""
    logger = logging.getLogger("flwr")
    before = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        logger.setLevel(before)


def _root_of(error: BaseException) -> Exception:
    while error.__cause__ is not None:
        error = error.__cause__
    return error if isinstance(error, Exception) else EngineError(str(error))
