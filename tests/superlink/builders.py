"""A real SuperLink on loopback, its certificates, and nodes that answer in threads."""

from __future__ import annotations

import datetime
import ipaddress
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from flwr.app import ConfigRecord, Message, MessageType, Metadata, RecordDict
from flwr.app.message import make_message
from flwr.common.serde import message_from_proto, message_to_proto
from flwr.proto.fleet_pb2 import ActivateNodeRequest, DeactivateNodeRequest, PullMessagesRequest, PushMessagesRequest
from flwr.proto.message_pb2 import ConfirmMessageReceivedRequest
from flwr.proto.node_pb2 import Node
from flwr.supercore.inflatable.inflatable_protobuf_utils import (
    make_pull_object_fn_protobuf,
    make_push_object_fn_protobuf,
)
from flwr.supercore.interceptors import RuntimeVersionHttpInterceptor
from flwr.supercore.primitives.asymmetric import public_key_to_bytes
from flwr.supernode.fleet_http_client import FleetHttpClient
from flwr.supernode.node_auth_http_interceptor import NodeAuthHttpInterceptor

from fedcore.wire.objects import Outgoing, array_over, patiently, read_chunks, read_records, record_of
from fedcore_server.flower.superlink.application import SuperLinkSettings
from fedcore_server.flower.superlink.control import Control
from fedcore_server.flower.superlink.grid import StreamingGrid
from fedcore_server.flower.superlink.process import SuperLink
from fedcore_server.flower.superlink.task import open_grid

DEADLINE_SECONDS = 30.0
Answer = Callable[[ConfigRecord, memoryview], RecordDict]


@dataclass(frozen=True)
class Certificates:
    ca: Path
    certificate: Path
    key: Path


def make_certificates(folder: Path, *, names: tuple[str, ...] = ("127.0.0.1",), days: int = 30) -> Certificates:
    folder.mkdir(parents=True, exist_ok=True)
    ca_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test CA")])
    ca = _certificate(issuer, issuer, ca_key.public_key(), ca_key, days=3650, extension=x509.BasicConstraints(True, 0))
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "server")])
    alternatives = x509.SubjectAlternativeName([_general_name(name) for name in names])
    leaf = _certificate(subject, issuer, key.public_key(), ca_key, days=days, extension=alternatives)
    made = Certificates(folder / "ca.crt", folder / "server.crt", folder / "server.key")
    made.ca.write_bytes(ca.public_bytes(Encoding.PEM))
    made.certificate.write_bytes(leaf.public_bytes(Encoding.PEM))
    made.key.touch(0o600)
    made.key.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return made


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _certificate(
    subject: x509.Name, issuer: x509.Name, public: Any, signer: Any, *, days: int, extension: Any
) -> x509.Certificate:
    now = datetime.datetime.now(datetime.UTC)
    start = now - datetime.timedelta(days=40)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(now + datetime.timedelta(days=days))
        .add_extension(extension, critical=isinstance(extension, x509.BasicConstraints))
    )
    return builder.sign(signer, hashes.SHA256())


def settings_in(folder: Path, **changes: Any) -> SuperLinkSettings:
    made = make_certificates(folder / "tls")
    defaults: dict[str, Any] = {
        "host": "127.0.0.1",
        "port": 0,
        "name": "127.0.0.1",
        "certificate": made.certificate,
        "key": made.key,
        "database": folder / "flower.db",
        "flower_home": folder / "flower",
    }
    return SuperLinkSettings(**(defaults | changes))


@dataclass
class NodeKey:
    private: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP384R1()))

    @property
    def public_bytes(self) -> bytes:
        return public_key_to_bytes(self.private.public_key())


class FleetNode:
    """A node of our own on the Fleet API: what a client does, without what it thinks."""

    def __init__(self, address: str, ca: Path, key: NodeKey) -> None:
        self.client = FleetHttpClient.from_server_address(
            address,
            False,
            ca.read_bytes(),
            interceptors=[
                RuntimeVersionHttpInterceptor(component_name="SuperNode"),
                NodeAuthHttpInterceptor(key.private, key.private.public_key()),
            ],
        )
        request = ActivateNodeRequest(public_key=key.public_bytes, heartbeat_interval=30)
        self.node = Node(node_id=self.client.ActivateNode(request).node_id)

    def receive(self) -> Message | None:
        response = self.client.PullMessages(PullMessagesRequest(node=self.node))
        return message_from_proto(response.messages_list[0]) if response.messages_list else None

    def read(self, header: Message) -> tuple[ConfigRecord, memoryview]:
        run_id, message_id = header.metadata.run_id, header.metadata.message_id
        pull = patiently(make_pull_object_fn_protobuf(self.client.PullObject, self.node, run_id), stall_seconds=20)
        records = read_records(message_id, pull)
        arrays = records.arrays.get("arrays", {})
        buffer = bytearray()
        for array in arrays.values():
            for chunk in read_chunks(array, pull):
                buffer += chunk
        self.client.ConfirmMessageReceived(
            ConfirmMessageReceivedRequest(node=self.node, run_id=run_id, message_object_id=message_id)
        )
        config = records.small["config"]
        assert isinstance(config, ConfigRecord)
        return config, memoryview(buffer)

    def send(self, reply: Message, *, objects: bool = True) -> Any:
        outgoing = Outgoing([reply])
        response = self.client.PushMessages(
            PushMessagesRequest(
                node=self.node,
                messages_list=[message_to_proto(outgoing.headers[0])],
                message_object_trees=outgoing.trees,
                clientapp_runtime_list=[0.0],
            )
        )
        if objects:
            run_id = reply.metadata.run_id
            push = make_push_object_fn_protobuf(self.client.PushObject, self.node, run_id, response.session_id)
            outgoing.push(response.objects_to_push, push)
        return response

    def close(self) -> None:
        with suppress(httpx.HTTPError):
            self.client.DeactivateNode(DeactivateNodeRequest(node_id=self.node.node_id))
        self.client.close()


def echo(config: ConfigRecord, data: memoryview) -> RecordDict:
    content = RecordDict({"config": ConfigRecord(dict(config))})
    if len(data):
        array = array_over(data, dtype="uint8", shape=(len(data),), stype="fedcore.raw")
        content["arrays"] = record_of({"parameters": array})
    return content


@dataclass
class AnsweringNode:
    """Answers in a thread, polling every 50 ms."""

    fleet: FleetNode
    answer: Answer = echo
    poll_seconds: float = 0.05
    failure: BaseException | None = None

    def __post_init__(self) -> None:
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                header = self.fleet.receive()
                if header is None:
                    self._stop.wait(self.poll_seconds)
                    continue
                config, data = self.fleet.read(header)
                self.fleet.send(Message(self.answer(config, data), reply_to=header))
        except BaseException as error:
            self.failure = error

    def close(self) -> None:
        self._stop.set()
        self._thread.join(DEADLINE_SECONDS)
        self.fleet.close()
        if self.failure is not None:
            raise self.failure


@dataclass
class Site:
    """A SuperLink that runs, with its control."""

    superlink: SuperLink
    ca: Path
    control: Control

    @property
    def public(self) -> str:
        return f"127.0.0.1:{self.superlink.public_port}"

    @property
    def url(self) -> str:
        return f"https://{self.public}"

    def http(self) -> httpx.Client:
        return httpx.Client(verify=ssl.create_default_context(cafile=str(self.ca)), timeout=DEADLINE_SECONDS)

    def node(self, name: str = "alfa", key: NodeKey | None = None) -> FleetNode:
        key = key or NodeKey()
        if key.public_bytes not in self.control.registered():
            self.control.register(key.public_bytes, name)
        return FleetNode(self.public, self.ca, key)

    @contextmanager
    def grid(self, run_id: int | None = None) -> Iterator[StreamingGrid]:
        link = self.superlink
        run_id = self.control.start_run() if run_id is None else run_id
        with open_grid(link.runtime_address, link.secret, link.bearer, run_id) as grid:
            yield grid


@contextmanager
def site_in(folder: Path, **changes: Any) -> Iterator[Site]:
    settings = settings_in(folder, **changes)
    with SuperLink(settings) as superlink, Control(superlink.runtime_address, superlink.bearer) as control:
        yield Site(superlink, settings.certificate.with_name("ca.crt"), control)


@contextmanager
def answering(site: Site, count: int, answer: Answer = echo) -> Iterator[list[AnsweringNode]]:
    with ExitStack() as stack:
        nodes = [AnsweringNode(site.node(f"node-{index}"), answer) for index in range(count)]
        for node in nodes:
            stack.callback(node.close)
        yield nodes


def request_to(node_id: int, data: memoryview | None = None, *, text: str = "", ttl: float = 60.0) -> Message:
    content = echo(ConfigRecord({"text": text, "nonce": str(time.monotonic_ns())}), data or memoryview(b""))
    return Message(content, node_id, MessageType.TRAIN, ttl=ttl)


def metadata_for(grid: StreamingGrid, **changes: Any) -> Metadata:
    defaults: dict[str, Any] = {
        "run_id": grid.run.run_id,
        "message_id": "",
        "src_node_id": 1,
        "dst_node_id": 1,
        "reply_to_message_id": "",
        "group_id": "",
        "created_at": time.time(),
        "ttl": 60.0,
        "message_type": MessageType.TRAIN,
    }
    return Metadata(**(defaults | changes))


def message_with(metadata: Metadata, content: RecordDict) -> Message:
    return make_message(metadata=metadata, content=content)


def random_bytes(size: int, seed: int = 0) -> memoryview:
    return memoryview(np.random.default_rng(seed).bytes(size))
