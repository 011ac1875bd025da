"""A TCP proxy that a test controls: it loses connections, refuses them, delays or stalls them.

It keeps its port while it is stopped (who connects is cut off at once), so that no other process
can be given it meanwhile.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

HOST = "127.0.0.1"
CHUNK = 65_536
_TURNS_TO_CLOSE = 3
"""Of the loop: a link's end is told, its transport aborts, its socket is closed."""


class _Link:
    """The condition of one connection."""

    lost = False
    """True where everything sent over it, either way, is lost."""
    severed = False
    """True where it is to be cut when the next reply comes."""


class Proxy:
    """Forwards connections to a port of this machine; safe to control from any thread."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)
        self._links: dict[asyncio.Task[None], _Link] = {}
        self._open = True
        self._flowing = asyncio.Event()
        self._severing = False
        self._severed_words: bytes | None = None
        self._delay = 0.0
        self.port = 0

    def __enter__(self) -> Self:
        """Listen and forward."""
        self._thread.start()
        self._call(self._listen())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Cut everything and give the port back."""
        self._call(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def stop(self) -> None:
        """Cut all connections, and new ones at once, until `start`."""
        self._open = False
        self.cut()

    def start(self) -> None:
        """Forward new connections again."""
        self._open = True
        self._severing = False

    def point(self, target: int) -> None:
        """Forward new connections to another port; those that stand stay where they are."""
        self._target = target

    def cut(self) -> None:
        """Cut all connections, whatever is on its way in them."""
        self._call(self._cut())

    def delay(self, seconds: float) -> None:
        """Hold each chunk back for so many seconds, in both directions."""
        self._delay = seconds

    def stall(self) -> None:
        """Let connections stand, but let nothing through them, until `resume`."""
        self._call(self._set_flowing(flowing=False))

    def resume(self) -> None:
        """Let through what was held back."""
        self._call(self._set_flowing(flowing=True))

    def swallow(self) -> int:
        """Lose all that is sent from now on in the connections that stand, and return their number.

        None is closed, and new ones are whole: a path of the network is dead, and the server well.
        """
        for link in (links := list(self._links.values())):
            link.lost = True
        return len(links)

    def sever_replies(self) -> None:
        """Let requests through and cut the connection when the reply comes, until `start`."""
        self._severing = True

    def sever_reply_to(self, words: bytes) -> None:
        """Let the next request with these words through, and cut its connection at the reply."""
        self._severed_words = words

    def has_severed(self) -> bool:
        """Return whether no request is waited for any more to sever the reply to."""
        return self._severed_words is None

    def _call(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(30)

    async def _listen(self) -> None:
        self._flowing.set()
        self._server = await asyncio.start_server(self._accept, HOST, 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _close(self) -> None:
        self._server.close()
        await self._cut()
        for _ in range(_TURNS_TO_CLOSE):
            await asyncio.sleep(0)

    async def _set_flowing(self, *, flowing: bool) -> None:
        if flowing:
            self._flowing.set()
        else:
            self._flowing.clear()

    async def _cut(self) -> None:
        links = list(self._links)
        for link in links:
            link.cancel()
        await asyncio.gather(*links, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # A task of our own: one that the server makes reports its cancellation as an error.
        condition = _Link()
        link = self._loop.create_task(self._link(reader, writer, condition))
        self._links[link] = condition
        link.add_done_callback(self._links.pop)
        # One that is cancelled before it began never comes to its own `finally`.
        link.add_done_callback(lambda _: writer.transport.abort())

    async def _link(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, link: _Link
    ) -> None:
        ends = [writer]
        try:
            if self._open:
                there, back = await asyncio.open_connection(HOST, self._target)
                ends.append(back)
                await self._both(
                    self._pump(reader, back, link), self._pump(there, writer, link, reply=True)
                )
                if link.lost:  # so is the news that it was closed
                    await asyncio.Event().wait()
        except OSError:
            pass  # the server is away: so are we
        finally:
            for end in ends:
                end.transport.abort()

    async def _both(self, *pumps: Coroutine[Any, Any, None]) -> None:
        """Run both directions until either ends."""
        tasks = [asyncio.ensure_future(pump) for pump in pumps]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            with suppress(asyncio.CancelledError):
                await asyncio.gather(*tasks, return_exceptions=True)

    async def _pump(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        link: _Link,
        *,
        reply: bool = False,
    ) -> None:
        while chunk := await reader.read(CHUNK):
            await self._flowing.wait()
            if link.lost:
                continue
            if reply and (self._severing or link.severed):
                return
            if not reply and self._severed_words and self._severed_words in chunk:
                self._severed_words, link.severed = None, True
            if self._delay:
                await asyncio.sleep(self._delay)
            writer.write(chunk)
            await writer.drain()
