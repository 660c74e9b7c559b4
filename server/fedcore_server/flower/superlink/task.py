"""Taking up a run, as a ServerApp process of Flower's would, but without its bundle: no code is installed or loaded."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import httpx
from flwr.common.constant import SubStatus
from flwr.common.serde import run_from_proto
from flwr.proto.runtime_pb2 import (
    AcquireTaskRequest,
    PullTaskInputRequest,
    PushTaskOutputRequest,
    SendTaskHeartbeatRequest,
)
from flwr.supercore.heartbeat import HeartbeatSender
from flwr.supercore.interceptors import RuntimeTokenHttpInterceptor, SuperExecAuthHttpInterceptor
from flwr.supercore.protobuf.client import ProtobufClientInterceptor
from flwr.supercore.runtime import RuntimeHttpClient
from flwr.supercore.task_identity import TaskIdentity

from fedcore.errors import DeploymentError
from fedcore.wire.objects.retrying import bounded_retry
from fedcore_server.flower.superlink.grid import StreamingGrid
from fedcore_server.flower.superlink.loopback import interceptors

_log = logging.getLogger(__name__)
_ACQUIRE = "/flwr.proto.Runtime/AcquireTask"
_TASK_TYPE = "flwr-serverapp"
_ACQUIRE_SECONDS = 45.0  # a task that another driver took by mistake is free again after 30
_CALL_SECONDS = 10.0
_PULSE_SECONDS = 3.0
_PAUSE_SECONDS = 0.1


@contextmanager
def open_grid(runtime_address: str, secret: bytes, bearer: str, run_id: int) -> Iterator[StreamingGrid]:
    """Take up a run that `Control.start_run` began; the grid's clients are those of the SuperLink.

    On leaving, the run is reported as completed, or as failed when an exception leaves it. One run at a time in a
    process: Flower keeps the identity of a run in a global.

    Raises:
        DeploymentError: The run cannot be taken up, or the SuperLink does not answer.
    """
    token = _acquire(runtime_address, secret, bearer, run_id)
    client = _client(runtime_address, bearer, "flwr-serverapp", RuntimeTokenHttpInterceptor(token))
    pulse = _client(runtime_address, bearer, "flwr-serverapp", RuntimeTokenHttpInterceptor(token), retry=False)
    heartbeat = HeartbeatSender(_beat(pulse))
    grid = StreamingGrid(runtime_address, token=token, bearer=bearer)
    outcome, details = SubStatus.FAILED, "the driver failed"
    try:
        task = client.PullTaskInput(PullTaskInputRequest())
        TaskIdentity.task_id, TaskIdentity.run_id = task.task_id, task.run.run_id
        TaskIdentity.node_id = task.context.node_id
        grid.set_run(run_from_proto(task.run))
        heartbeat.start()
        yield grid
        outcome, details = SubStatus.COMPLETED, ""
    finally:
        if heartbeat.is_running:
            heartbeat.stop()
        with contextlib.suppress(httpx.HTTPError):  # the run may have been stopped, or the SuperLink be gone
            pulse.PushTaskOutput(PushTaskOutputRequest(sub_status=outcome, details=details))
        for connection in (grid, pulse, client):
            connection.close()


def _acquire(runtime_address: str, secret: bytes, bearer: str, run_id: int) -> str:
    """The token of a run's task.

    Flower assigns whatever waits, oldest first. A task of another run is left alone: it returns to its own driver
    within half a minute, or belongs to a run without a driver.
    """
    signed = SuperExecAuthHttpInterceptor(master_secret=secret, protected_methods={_ACQUIRE})
    client = _client(runtime_address, bearer, "SuperExec", signed)
    deadline = time.monotonic() + _ACQUIRE_SECONDS
    try:
        while time.monotonic() < deadline:
            response = client.AcquireTask(AcquireTaskRequest(supported_task_types=[_TASK_TYPE]))
            if response.token and response.task.run_id == run_id:
                return str(response.token)
            if not response.token:
                time.sleep(_PAUSE_SECONDS)
    except httpx.HTTPError as error:
        raise DeploymentError(f"the SuperLink refuses the driver ({error}): is the server up?") from error
    finally:
        client.close()
    raise DeploymentError(f"Flower's run {run_id} is not waiting for a driver: start a new one")


def _client(
    runtime_address: str, bearer: str, component: str, interceptor: ProtobufClientInterceptor, *, retry: bool = True
) -> RuntimeHttpClient:
    return RuntimeHttpClient(
        f"http://{runtime_address}",
        interceptors=[*interceptors(bearer, component), interceptor],
        timeout=_CALL_SECONDS if retry else _PULSE_SECONDS,
        retry_invoker=bounded_retry(_CALL_SECONDS) if retry else None,
    )


def _beat(client: RuntimeHttpClient) -> Callable[[], bool]:
    """A heartbeat that only reports. Flower's own interrupts the whole process when the run is over."""

    def beat() -> bool:
        try:
            alive = client.SendTaskHeartbeat(SendTaskHeartbeatRequest()).success
        except httpx.HTTPStatusError:
            alive = False
        except httpx.HTTPError:
            return False  # tried again, with longer and longer pauses
        if not alive:
            _log.warning("the SuperLink no longer counts this run as alive; its next call will fail")
        return True

    return beat
