"""One request of Flower's at a time: its database has one writer, and whoever finds it busy sleeps."""

from __future__ import annotations

import asyncio

from fedcore_server.superlink.asgi import Application, Event, Receive, Scope, Send


class Turnstile:
    """Pure ASGI middleware that lets requests into Flower's application one after the other.

    SQLite takes one writer, and nearly every call of Flower's writes. Those who come meanwhile sleep and try again,
    up to 100 ms each time; in line they wait for as long as it takes and no longer. Bodies are expected to be read
    before, and answers are sent after, so that a slow peer keeps nobody waiting.
    """

    def __init__(self, app: Application, *, at_once: int = 1) -> None:
        self._app, self._slots = app, asyncio.Semaphore(at_once)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        answer: list[Event] = []

        async def keep(event: Event) -> None:
            answer.append(event)

        async with self._slots:
            await self._app(scope, receive, keep)
        for event in answer:
            await send(event)
