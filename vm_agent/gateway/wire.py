"""One connection to the upstream, in bytes: what comes waits until it is read, what goes waits until it is taken."""

import asyncio
import select
from collections import deque
from typing import cast

from vm_agent.gateway import policy
from vm_agent.gateway.problems import UpstreamFailed

# Of the event loop, before a write, to read what has arrived: a write that fails is the end of reading for asyncio, and
# an upstream that refuses an upload and closes has said why just before. It takes two to be read.
_TURNS = 3


class Wire(asyncio.Protocol):
    """Reads and writes at the same time. What came before the connection broke can still be read: an upstream that
    does not want an upload says why, then closes, and asyncio's own streams would forget what it said."""

    def __init__(self) -> None:
        self._pieces: deque[bytes] = deque()
        self._held = 0  # bytes in them
        self._over = False  # the upstream sends no more
        self._lost: Exception | None = None  # the connection is
        self._broken: Exception | None = None  # off, by us
        self._news, self._writable = asyncio.Event(), asyncio.Event()
        self._writable.set()

    @property
    def quiet(self) -> bool:
        """Open, and nothing came that nobody has asked for."""
        return not (self._pieces or self._over or self._lost or self._broken)

    async def read(self) -> bytes:
        """The next bytes, b"" after the last. UpstreamFailed, or what break_off() was given."""
        while self.quiet:
            self._news.clear()
            await self._news.wait()
        if self._broken:
            raise self._broken
        if self._pieces:
            piece = self._pieces.popleft()
            self._held -= len(piece)
            if self._held < policy.READ_AHEAD_BYTES:
                self._transport.resume_reading()
            return piece
        if self._lost:
            raise UpstreamFailed(f"the connection broke ({type(self._lost).__name__})") from self._lost
        return b""

    async def write(self, data: bytes) -> None:
        """Return when there is room for more. ConnectionError: nobody takes it."""
        for _ in range(_TURNS):
            if self._transport.is_closing() or not self._transport.is_reading() or not self._arrived.poll(0):
                break
            await asyncio.sleep(0)
        if self._transport.is_closing():
            raise ConnectionResetError("the upstream takes no more")
        self._transport.write(data)
        await self._writable.wait()

    def break_off(self, why: Exception) -> None:
        """Close at once; whoever reads gets `why`."""
        self._broken = self._broken or why
        self._news.set()
        self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by asyncio."""
        self._transport = cast("asyncio.Transport", transport)
        self._arrived = select.poll()
        self._arrived.register(transport.get_extra_info("socket"), select.POLLIN)

    def data_received(self, data: bytes) -> None:
        """Called by asyncio."""
        self._pieces.append(data)
        self._held += len(data)
        if self._held >= policy.READ_AHEAD_BYTES:
            self._transport.pause_reading()
        self._news.set()

    def eof_received(self) -> None:
        """Called by asyncio; the transport closes itself."""
        self._over = True
        self._news.set()

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by asyncio."""
        self._over, self._lost = True, exc
        self._news.set()
        self._writable.set()

    def pause_writing(self) -> None:
        """Called by asyncio."""
        self._writable.clear()

    def resume_writing(self) -> None:
        """Called by asyncio."""
        self._writable.set()
