"""A TCP proxy between a client and its server that can be slow, deaf, or gone."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Coroutine, Iterator
from typing import Any

_CHUNK = 16_384


class Proxy:
    """Passes bytes between whoever connects and `target`.

    Attributes:
        delay_seconds: How long each piece is held back.
        bytes_per_second: How fast it passes; no limit when None.
    """

    def __init__(self, target: int) -> None:
        self.target, self.port = target, 0
        self.delay_seconds, self.bytes_per_second = 0.0, None
        self._open = asyncio.Event()
        self._refusing = False
        self._writers: set[asyncio.StreamWriter] = set()
        self._loop = asyncio.new_event_loop()
        self._server: Any = None

    def cut(self) -> None:
        """Reset all connections and refuse new ones."""
        self._refusing = True
        self._do(self._hang_up())

    def swallow(self) -> None:
        """Keep connections open, and pass nothing on: what a dead network looks like."""
        self._loop.call_soon_threadsafe(self._open.clear)

    def mend(self) -> None:
        """Pass again; what was swallowed is late."""
        self._refusing = False
        self._loop.call_soon_threadsafe(self._open.set)

    @property
    def connections(self) -> int:
        return len(self._writers)

    def start(self) -> None:
        self._do(self._listen())

    def stop(self) -> None:
        self._do(self._close())

    def serve(self) -> None:
        self._loop.run_forever()
        self._loop.close()

    def end(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)

    def _do(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    async def _listen(self) -> None:
        self._open.set()
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _close(self) -> None:
        self._server.close()
        self._open.set()
        await self._hang_up()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _hang_up(self) -> None:
        for writer in list(self._writers):
            writer.transport.abort()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._refusing:
            writer.transport.abort()
            return
        try:
            onward, out = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            writer.transport.abort()
            return
        self._writers |= {writer, out}
        try:
            await asyncio.gather(self._pass(reader, out), self._pass(onward, writer))
        finally:
            for each in (writer, out):
                self._writers.discard(each)
                each.transport.abort()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while content := await reader.read(_CHUNK):
                await self._open.wait()
                await asyncio.sleep(self.delay_seconds + len(content) / (self.bytes_per_second or float("inf")))
                writer.write(content)
                await writer.drain()
            if writer.can_write_eof():
                writer.write_eof()


@contextlib.contextmanager
def proxied(target: int) -> Iterator[Proxy]:
    """A proxy in a thread of its own."""
    proxy = Proxy(target)
    thread = threading.Thread(target=proxy.serve, name="proxy", daemon=True)
    thread.start()
    try:
        proxy.start()
        yield proxy
    finally:
        proxy.stop()
        proxy.end()
        thread.join(10)
