"""Flower's Control API, as far as fedcore uses it: which keys are registered, and runs."""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Protocol, Self

import httpx

from fedcore.errors import DeploymentError

_KEY_IN_USE = 23
_PYPROJECT = """\
[project]
name = "fedcore"
version = "1.0.0"
description = "No code: server and clients run what is installed on them"
license = "Apache-2.0"
dependencies = []

[tool.flwr.app]
publisher = "fedcore"

[tool.flwr.app.components]
serverapp = "fedcore_server.none:app"
clientapp = "fedcore_clients.none:app"

[tool.flwr.app.config]
"""


class Member(Protocol):
    """The part of a roster's member that Flower needs."""

    @property
    def name(self) -> str: ...

    @property
    def flower_key(self) -> bytes: ...


class MemberList(Protocol):
    """The part of a roster that Flower needs."""

    @property
    def members(self) -> Iterable[Member]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A registered node; `status` is Flower's: registered, online, or offline."""

    node_id: int
    name: str
    public_key: bytes
    status: str


class Control:
    """The driver's side of the Control API.

    Args:
        runtime_address: ``SuperLink.runtime_address``.
        bearer: ``SuperLink.bearer``.
    """

    def __init__(self, runtime_address: str, bearer: str) -> None:
        from flwr.supercore.control import ControlHttpClient

        from fedcore.wire.objects.retrying import bounded_retry
        from fedcore_server.flower.superlink.loopback import interceptors

        self._client = ControlHttpClient(
            f"http://{runtime_address}",
            interceptors=interceptors(bearer, "flwr CLI"),
            retry_invoker=bounded_retry(),
        )

    def register(self, flower_public_key: bytes, name: str) -> int:
        """Admit a node; returns its id.

        Raises:
            DeploymentError: Flower refuses the key, for instance because it was registered before: a removed client
                comes back with new keys only.
        """
        from flwr.proto.control_pb2 import RegisterNodeRequest

        request = RegisterNodeRequest(public_key=flower_public_key, name=name)
        return int(self._call("register a client's key", self._client.RegisterNode, request).node_id)

    def unregister(self, node_id: int) -> None:
        from flwr.proto.control_pb2 import UnregisterNodeRequest

        self._call("unregister a client's key", self._client.UnregisterNode, UnregisterNodeRequest(node_id=node_id))

    def registered(self) -> Mapping[bytes, Node]:
        from flwr.proto.control_pb2 import ListNodesRequest

        found = self._call("list the clients", self._client.ListNodes, ListNodesRequest()).nodes_info
        nodes = (
            Node(node_id=info.node_id, name=info.name, public_key=info.public_key, status=info.status)
            for info in found
            if info.status != "unregistered"
        )
        return {node.public_key: node for node in nodes}

    def sync_nodes(self, roster: MemberList) -> Mapping[str, int]:
        """Register who is on the roster and unregister who is not; idempotent. Returns the node id of each name.

        Raises:
            DeploymentError: A key on the roster was unregistered before.
        """
        wanted = {member.flower_key: member.name for member in roster.members}
        present = self.registered()
        for key in present.keys() - wanted.keys():
            self.unregister(present[key].node_id)
        ids, failed = {}, []
        for key, name in wanted.items():
            try:
                ids[name] = present[key].node_id if key in present else self.register(key, name)
            except DeploymentError as error:
                failed.append(f"{name}: {error}")
        if failed:  # after all others were admitted
            raise DeploymentError("; ".join(failed))
        return ids

    def start_run(self) -> int:
        """Begin a run of Flower's; returns its id for ``open_grid``."""
        from flwr.proto.control_pb2 import StartRunRequest
        from flwr.proto.fab_pb2 import Fab

        response = self._call("start a run", self._client.StartRun, StartRunRequest(fab=Fab(content=thin_fab())))
        if not response.HasField("run_id"):
            raise DeploymentError("the SuperLink refused to start a run without a reason")
        return int(response.run_id)

    def stop_run(self, run_id: int) -> None:
        """End a run and delete its remaining messages; a run that has ended is only cleared up."""
        from flwr.proto.control_pb2 import ListRunsRequest, StopRunRequest

        listed = self._call(
            "look up a run", self._client.ListRuns, ListRunsRequest(run_id=run_id)
        )  # clears up, if ended
        if listed.run_dict[run_id].status.status != "finished":
            self._call("stop a run", self._client.StopRun, StopRunRequest(run_id=run_id))

    def close(self) -> None:
        self._client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _call(self, what: str, method: Any, request: Any) -> Any:
        try:
            return method(request)
        except httpx.HTTPError as error:
            raise DeploymentError(f"could not {what}: {_reason(error)}") from error


@cache
def thin_fab() -> bytes:
    """The bundle that Flower requires for each run: a ``pyproject.toml`` and no code. No client ever fetches it."""
    content = _PYPROJECT.encode()
    listing = f"pyproject.toml,{hashlib.sha256(content).hexdigest()},{8 * len(content)}"
    bundle = io.BytesIO()
    with zipfile.ZipFile(bundle, "w") as archive:
        for name, text in (("pyproject.toml", content), (".info/CONTENT", listing.encode())):
            archive.writestr(zipfile.ZipInfo(name), text)
    return bundle.getvalue()


def _reason(error: httpx.HTTPError) -> str:
    if not isinstance(error, httpx.HTTPStatusError):
        return f"the SuperLink does not answer on loopback ({type(error).__name__}); is the server running?"
    from flwr.supercore.error import FlowerError

    flower = FlowerError.from_json(error.response.text)
    if flower and flower.code == _KEY_IN_USE:
        return "Flower has seen this key before, and never admits a removed key again: let the client join anew"
    return f"Flower's error {flower.code}, {flower.message}" if flower else f"HTTP {error.response.status_code}"
