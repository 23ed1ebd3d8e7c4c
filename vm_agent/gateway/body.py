"""A request's body on its way through: piece by piece, counted, never kept."""

import asyncio
from collections.abc import AsyncIterator

from starlette.types import Message, Receive

from vm_agent.gateway.problems import BodyStalled
from vm_agent.problems import CallerGone, TooLarge


class Body:
    """What the caller sends. Raises TooLarge, BodyStalled, CallerGone."""

    def __init__(self, receive: Receive, bytes_max: int, stall_seconds: float) -> None:
        self.seen = 0  # bytes
        self._receive = receive
        self._bytes_max = bytes_max
        self.stall_seconds = stall_seconds
        self._let_go = asyncio.Event()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        more = True
        while more:
            message = await self._next()
            more = message.get("more_body", False)
            piece = message.get("body", b"")
            self.seen += len(piece)
            if self.seen > self._bytes_max:
                raise too_large(self._bytes_max)
            if not more:
                self.let_go()  # from here on, the next word of the caller is that it is gone
            if piece:
                yield piece

    def let_go(self) -> None:
        """Nobody reads the body from here on: it was taken whole, or the answer has begun without it."""
        self._let_go.set()

    async def hung_up(self) -> None:
        """Return once the caller is gone. What still comes of the body meanwhile is thrown away."""
        await self._let_go.wait()
        while (await self._receive())["type"] != "http.disconnect":
            pass

    async def _next(self) -> Message:
        try:
            async with asyncio.timeout(self.stall_seconds):
                message = await self._receive()
        except TimeoutError as problem:
            raise BodyStalled(f"nothing came for {self.stall_seconds:g} s") from problem
        if message["type"] == "http.disconnect":
            raise CallerGone("in the middle of the body")
        return message


def too_large(bytes_max: int) -> TooLarge:
    """The limit is no secret."""
    return TooLarge(f"the gateway takes {bytes_max} bytes at most")
