"""Which member a request is from, by the signature that Flower's nodes put beside each request."""

from __future__ import annotations

import base64
import binascii
import datetime
from functools import cache
from typing import Any

from flwr.common.constant import SYSTEM_TIME_TOLERANCE, TIMESTAMP_HEADER, TIMESTAMP_TOLERANCE
from flwr.supercore.constant import FLEET_HTTP_PUBLIC_KEY_HEADER, FLEET_HTTP_SIGNATURE_HEADER
from flwr.supercore.primitives.asymmetric import bytes_to_public_key, verify_signature

from fedcore_server.flower.superlink.asgi import Scope, header


def header_of_key(flower_key: bytes) -> bytes:
    return base64.b64encode(flower_key)


def member_key(scope: Scope, members: frozenset[bytes]) -> bytes | None:
    """The member's key that a request proves to come from; None without proof.

    Flower checks the same again, after the whole body was read.

    Args:
        members: Keys of all members, as `header_of_key` gives them.
    """
    key = header(scope, FLEET_HTTP_PUBLIC_KEY_HEADER.encode())
    if key is None or key not in members:
        return None
    signed_at = header(scope, TIMESTAMP_HEADER.encode()) or b""
    signature = header(scope, FLEET_HTTP_SIGNATURE_HEADER.encode()) or b""
    try:
        moment = datetime.datetime.fromisoformat(signed_at.decode("ascii"))
        age = (datetime.datetime.now(datetime.UTC) - moment).total_seconds()
        proved = verify_signature(_loaded(key), signed_at, base64.b64decode(signature, validate=True))
    except (ValueError, TypeError, binascii.Error):
        return None
    return key if proved and -SYSTEM_TIME_TOLERANCE < age < TIMESTAMP_TOLERANCE + SYSTEM_TIME_TOLERANCE else None


@cache
def _loaded(key: bytes) -> Any:
    """The cache is bounded: only members' keys are passed."""
    return bytes_to_public_key(base64.b64decode(key))
