"""The side of the SuperLink that only fedcore's own driver may use: Control and Runtime, on loopback.

Other users of the machine can reach loopback, so each request carries a token that is made at every start.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass

import httpx
from flwr.supercore.interceptors import RuntimeVersionHttpInterceptor
from flwr.supercore.protobuf.client import ProtobufCall, ProtobufClientInterceptor, ProtobufRequestContext

from fedcore_server.flower.superlink.asgi import Application, Receive, Scope, Send, header, refuse


class BearerGuard:
    """Pure ASGI middleware: no token, no service."""

    def __init__(self, app: Application, *, bearer: str) -> None:
        self._app, self._expected = app, f"Bearer {bearer}".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        elif hmac.compare_digest(header(scope, b"authorization") or b"", self._expected):
            await self._app(scope, receive, send)
        else:
            await refuse(send, 401)


@dataclass(frozen=True, slots=True)
class BearerInterceptor:
    """Puts the token on every request of a Flower client."""

    bearer: str

    def __repr__(self) -> str:
        return "BearerInterceptor(...)"

    def intercept(self, context: ProtobufRequestContext, call_next: ProtobufCall) -> httpx.Response:
        context.request.headers["authorization"] = f"Bearer {self.bearer}"
        return call_next(context)


def interceptors(bearer: str, component: str) -> list[ProtobufClientInterceptor]:
    return [RuntimeVersionHttpInterceptor(component_name=component), BearerInterceptor(bearer)]
