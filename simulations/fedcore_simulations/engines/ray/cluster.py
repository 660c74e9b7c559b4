"""The connection to Ray: a cluster on this machine for one run, or one that is already there."""

from __future__ import annotations

import os
import secrets
import signal
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

import torch

from fedcore.errors import EngineError

_SECONDS = 5.0
_FREE_SECONDS, _LOOK_SECONDS = 15.0, 0.2
AUTO = "auto"
_QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # or it warns of a change to come
    "RAY_ENABLE_AUTO_CONNECT": "0",  # or a call after the end starts a cluster of its own
    "FLWR_TELEMETRY_ENABLED": "0",
    "FLWR_DISABLE_UPDATE_CHECK": "1",
}


def read_address(text: str) -> str:
    """Check an address; ``""`` is a cluster for this run, ``auto`` the one on this machine.

    Raises:
        ValueError: It is none.
    """
    host, _, port = text.rpartition(":")
    if text not in ("", AUTO) and not (host and "/" not in host and port.isdecimal() and int(port) < 65536):
        raise ValueError(f"expected an address as host:port, or auto, found {text!r}")
    return text


def why_not(address: str) -> str | None:
    """Why Ray cannot be used; ``None`` where it is installed and a cluster answers at the address."""
    if find_spec("ray") is None:
        return 'Ray is not installed; pip install "fedcore[ray]"'
    if not address:
        return None
    quieten(address)
    from ray._private.services import canonicalize_bootstrap_address

    try:
        found = canonicalize_bootstrap_address(address)
    except Exception:
        return "no Ray cluster runs on this machine; start one with: ray start --head --disable-usage-stats"
    problem = _unanswered(str(found))
    if problem is None:
        return None
    port = address.rpartition(":")[2]
    return (
        f"no Ray cluster answers at {address} ({problem}); start one with: ray start --head --port {port} "
        "--disable-usage-stats, and let this machine reach the port"
    )


def _unanswered(address: str) -> str | None:
    """What came of a question to a cluster's head; ``ray.init`` would ask for minutes."""
    import grpc
    from ray._private.grpc_utils import init_grpc_channel
    from ray.core.generated.gcs_service_pb2 import CheckAliveRequest
    from ray.core.generated.gcs_service_pb2_grpc import NodeInfoGcsServiceStub

    channel = init_grpc_channel(address)
    try:
        NodeInfoGcsServiceStub(channel).CheckAlive(CheckAliveRequest(), timeout=_SECONDS)
    except grpc.RpcError as error:
        return f"{error.code().name}: {error.details()}"
    finally:
        channel.close()
    return None


def quieten(address: str = "") -> None:
    """Turn reports of usage off, and close a cluster of this process's own to others.

    To be called before Flower and Ray are imported, which look once. Ray's ports are open to the network, and run what
    they are sent: a cluster that is started here asks for a token that only its own processes have.
    """
    os.environ |= _QUIET
    if not address and "ray" not in sys.modules and "RAY_AUTH_MODE" not in os.environ:
        os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}


@contextmanager
def connected(address: str, *, workers: int) -> Iterator[int]:
    """Connect to a cluster, or start one; yields the number of CPUs in it.

    Args:
        workers: CPUs of a cluster for this run.

    Raises:
        EngineError: There is no cluster, or it has no free CPU.
    """
    import ray

    if ray.is_initialized():
        raise EngineError("this process is connected to Ray already; call ray.shutdown() before the run")
    place: dict[str, Any] = (
        {"address": address} if address else {"address": "local", "num_cpus": workers, "num_gpus": 0}
    )
    try:
        _start(**place, include_dashboard=None if address else False)
        with _silenced():
            yield _num_cpus()
    finally:
        ray.shutdown()


def kill_actors() -> None:
    """End the actors of this process at once, also ones at work; threads that wait for them get an error.

    ``ray.shutdown()`` alone would let them wait for ever.
    """
    import ray
    from ray._private.state import actors
    from ray._private.worker import global_worker

    job = ray.get_runtime_context().get_job_id()
    for identifier, actor in actors(job_id=ray.JobID.from_hex(job)).items():
        if actor["State"] != "DEAD":
            global_worker.core_worker.kill_actor(ray.ActorID.from_hex(identifier), True)


def alive_machines() -> int:
    import ray

    return sum(bool(node["Alive"]) for node in ray.nodes())


def share(value: Any) -> Any:
    """Put a value into the cluster's object store, where each machine holds it once; returns its reference.

    Tensors become arrays, which processes of one machine read from the memory that they share.
    """
    import ray

    ray.util.register_serializer(torch.Tensor, serializer=_to_array, deserializer=_to_tensor)
    try:
        return ray.put(value)
    finally:
        ray.util.deregister_serializer(torch.Tensor)


def fetched(reference: Any) -> Any:
    import ray

    return ray.get(reference)


def _start(**place: Any) -> None:
    """Connect; Ray leaves the caller's handler of SIGTERM alone, and its processes find the caller's modules."""
    import ray

    environment = {**_QUIET, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    handler = signal.getsignal(signal.SIGTERM)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ray.init(**place, log_to_driver=False, logging_level="ERROR", runtime_env={"env_vars": environment})
    except Exception as error:
        raise EngineError(f"Ray cannot be started or reached: {error}") from error
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, handler)


@contextmanager
def _silenced() -> Iterator[None]:
    """Without what Ray's processes write: it goes to standard output, where the summary belongs."""
    from ray._private import worker

    worker._worker_logs_enabled = False
    try:
        yield
    finally:
        worker._worker_logs_enabled = True


def _num_cpus() -> int:
    """CPUs of the cluster; Flower starts an actor for each, and one without a free CPU would keep clients waiting."""
    import ray

    deadline = time.monotonic() + _FREE_SECONDS  # those of an earlier run are free a moment after its end
    while True:
        total = int(ray.cluster_resources().get("CPU", 0))
        free = int(ray.available_resources().get("CPU", 0))
        if total and free == total:
            return total
        if time.monotonic() > deadline:
            raise EngineError(
                f"expected a Ray cluster whose CPUs are all free, found {free} of {total} free; wait for "
                "other work on it to end (see: ray status), or start a cluster for this run"
            )
        time.sleep(_LOOK_SECONDS)


def _to_array(tensor: torch.Tensor) -> tuple[Any, torch.dtype, torch.Size]:
    return tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy(), tensor.dtype, tensor.shape


def _to_tensor(parts: tuple[Any, torch.dtype, torch.Size]) -> torch.Tensor:
    array, dtype, shape = parts
    if not len(array):
        return torch.empty(shape, dtype=dtype)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*not writable", category=UserWarning)  # rows are only read
        return torch.from_numpy(array).view(dtype).reshape(shape)
