"""What fedcore uses of Flower's inside. A failure here means: read Flower's changes before the pin is moved."""

from __future__ import annotations

import importlib
import inspect
from dataclasses import fields
from typing import Any

import pytest

_SIGNATURES = {
    "flwr.superlink.main:create_app": ("config", "superlink_lifespan_class"),
    "flwr.superlink.cli.flower_superlink:SuperLinkLifespan": ("config", "state_factory"),
    "flwr.supercore.control:ControlHttpClient": ("base_url", "interceptors", "verify", "timeout", "retry_invoker"),
    "flwr.supercore.runtime:RuntimeHttpClient": ("base_url", "interceptors", "verify", "timeout", "retry_invoker"),
    "flwr.superlink.grid:HttpGrid": ("runtime_api_address", "insecure", "root_certificates", "token"),
    "flwr.supercore.heartbeat:HeartbeatSender": ("heartbeat_fn",),
    "flwr.supercore.interceptors:RuntimeTokenHttpInterceptor": ("token",),
    "flwr.supercore.interceptors:RuntimeVersionHttpInterceptor": ("component_name",),
    "flwr.supercore.interceptors:SuperExecAuthHttpInterceptor": ("master_secret", "protected_methods"),
    "flwr.supercore.inflatable.inflatable_object:get_all_nested_objects": ("obj",),
    "flwr.supercore.inflatable.inflatable_object:get_object_tree": ("obj",),
    "flwr.supercore.inflatable.inflatable_object:no_object_id_recompute": (),
    "flwr.supercore.inflatable.inflatable_protobuf_utils:make_pull_object_fn_protobuf": (
        "pull_object_protobuf",
        "node",
        "run_id",
    ),
    "flwr.supercore.inflatable.inflatable_protobuf_utils:make_push_object_fn_protobuf": (
        "push_object_protobuf",
        "node",
        "run_id",
        "session_id",
    ),
    "flwr.supernode.fleet_http_connection:http_request_response": (
        "server_address",
        "insecure",
        "root_certificates",
        "authentication_keys",
        "max_retries",
        "max_wait_time",
    ),
    "flwr.supercore.state.alembic.utils:run_migrations": ("engine",),
    "flwr.app.message:remove_content_from_message": ("message",),
    "flwr.app.message:make_message": ("metadata", "content", "error"),
    "flwr.common.serde:message_to_proto": ("message",),
    "flwr.common.serde:run_from_proto": ("run_proto",),
}

_PROTOBUF_FIELDS = {
    "flwr.proto.fleet_pb2:PushMessagesRequest": {
        "node",
        "messages_list",
        "message_object_trees",
        "clientapp_runtime_list",
    },
    "flwr.proto.message_pb2:ObjectTree": {"object_id", "children"},
    "flwr.proto.message_pb2:ConfirmMessageReceivedRequest": {"node", "run_id", "message_object_id"},
    "flwr.proto.runtime_pb2:AcquireTaskRequest": {"supported_task_types", "agentapp_fab_hashes"},
    "flwr.proto.runtime_pb2:AcquireTaskResponse": {"task", "token"},
    "flwr.proto.runtime_pb2:PushTaskOutputRequest": {"context", "sub_status", "details", "clientapp_runtime"},
    "flwr.proto.fleet_pb2:PullMessagesRequest": {"node", "message_ids"},
    "flwr.proto.fleet_pb2:ActivateNodeRequest": {"public_key", "heartbeat_interval"},
    "flwr.proto.heartbeat_pb2:SendNodeHeartbeatRequest": {"node", "heartbeat_interval"},
    "flwr.proto.runtime_pb2:GetNodesResponse": {"nodes"},
    # Flower 1.43 renames it to reply_to_message_ids: `StreamingGrid._headers` fills it in.
    "flwr.proto.runtime_pb2:PullAppMessagesRequest": {"message_ids"},
    "flwr.proto.runtime_pb2:PushAppMessagesRequest": {"messages_list", "message_object_trees"},
    "flwr.proto.runtime_pb2:PushAppMessagesResponse": {"message_ids", "objects_to_push", "session_id"},
    "flwr.proto.runtime_pb2:PullAppMessagesResponse": {"messages_list", "message_object_trees"},
}

_CONFIG = (
    "control_address health_server_address host port insecure certificates superexec_auth_secret authn_plugin "
    "event_log_plugin fleet_event_log_plugin enable_event_log artifact_provider enable_supernode_auth fleet_api_type "
    "fleet_api_address simulation ssl_ca_certfile ssl_certfile ssl_keyfile database isolation "
    "runtime_dependency_install"
)


def _found(path: str) -> Any:
    module, _, name = path.partition(":")
    return getattr(importlib.import_module(module), name)


def test_flower_is_the_version_that_was_read() -> None:
    from flwr.supercore.version import package_version

    assert package_version.startswith("1.42."), "read the changes of Flower, then this file, then move the pin"


@pytest.mark.parametrize("path", _SIGNATURES)
def test_calls_take_what_they_took(path: str) -> None:
    assert tuple(inspect.signature(_found(path)).parameters) == _SIGNATURES[path]


@pytest.mark.parametrize("path", _PROTOBUF_FIELDS)
def test_messages_have_the_fields_they_had(path: str) -> None:
    assert {field.name for field in _found(path).DESCRIPTOR.fields} == _PROTOBUF_FIELDS[path]


def test_the_superlink_is_configured_by_what_it_was() -> None:
    from flwr.superlink.config_loader import SuperLinkLifespanConfig

    assert tuple(field.name for field in fields(SuperLinkLifespanConfig)) == tuple(_CONFIG.split())


def test_the_fleet_api_has_no_call_that_the_gateway_has_not_heard_of() -> None:
    from flwr.supercore.protobuf.translation import PROTOBUF_REQUEST_TYPES

    from fedcore_server.flower.superlink.gateway import OPEN_PATHS

    fleet = {path for _, path in PROTOBUF_REQUEST_TYPES if path.startswith("/v1/fleet/")}
    shut = {f"/v1/fleet/{name}" for name in ("register-node", "unregister-node", "get-fab")}
    assert fleet - OPEN_PATHS == shut
    assert fleet >= OPEN_PATHS


def test_the_grid_has_the_members_that_ours_builds_on() -> None:
    from flwr.superlink.grid import HttpGrid

    grid = HttpGrid("127.0.0.1:1", insecure=True, token="x")  # noqa: S106
    assert {"_addr", "_token", "_client", "_retry_invoker", "node", "_run"} <= vars(grid).keys()
    assert callable(HttpGrid._connect)
    assert isinstance(HttpGrid._runtime_client, property)
    assert grid.node.node_id == 1


def test_the_identity_of_a_run_is_a_global() -> None:
    from flwr.supercore.task_identity import TaskIdentity

    assert {"_task_id", "_run_id", "_node_id"} <= vars(TaskIdentity).keys()


def test_objects_have_the_form_that_is_read() -> None:
    from flwr.app import Array, ConfigRecord
    from flwr.common.constant import FLWR_PRIVATE_MAX_ARRAY_CHUNK_SIZE

    array = Array("uint8", (3,), "raw", b"abc")
    (chunk,) = array.children
    body = b'{"dtype": "uint8", "shape": [3], "stype": "raw", "arraychunk_ids": [0]}'
    assert array.deflate() == f"Array {chunk} {len(body)}\0".encode() + body
    assert array.children[chunk].deflate() == b"ArrayChunk  3\0abc"
    assert ConfigRecord({}).deflate() == b"ConfigRecord  0\0"
    assert FLWR_PRIVATE_MAX_ARRAY_CHUNK_SIZE == 5 << 20


def test_keys_are_registered_as_pem_of_the_public_key() -> None:
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
    from flwr.supercore.primitives.asymmetric import public_key_to_bytes

    key = ec.generate_private_key(ec.SECP384R1()).public_key()
    assert public_key_to_bytes(key) == key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def test_nothing_of_flowers_reports_home() -> None:
    from flwr.supercore import telemetry

    assert telemetry.FLWR_TELEMETRY_ENABLED == "0"


def test_public_keys_that_are_in_use_have_the_number_that_is_explained() -> None:
    from flwr.supercore.error import ApiErrorCode

    assert int(ApiErrorCode.PUBLIC_KEY_ALREADY_IN_USE) == 23
