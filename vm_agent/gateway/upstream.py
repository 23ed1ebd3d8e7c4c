"""The one service behind the gateway. Nothing that a caller says changes where a request goes."""

import asyncio
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

from vm_agent.gateway import policy
from vm_agent.gateway.body import Body
from vm_agent.gateway.headers import Headers
from vm_agent.gateway.line import Answer, Line
from vm_agent.gateway.problems import UpstreamFailed, UpstreamSilent
from vm_agent.gateway.wire import Wire


@dataclass(frozen=True)
class Patience:
    """How long the upstream may take, in seconds."""

    answer: float  # until its answer begins, and between two pieces of it
    piece: float  # to take one piece of the request's body


class Upstream:
    """Connections to one origin: no cookies, no redirects, no proxies, no headers of its own but Host."""

    def __init__(self, origin: str, patience: Patience) -> None:
        self.origin = origin  # https://name
        url = urlsplit(origin)
        self._host, self._port = url.hostname or "", url.port or (443 if url.scheme == "https" else 80)
        self._named = url.netloc.encode("ascii")
        self._context = ssl.create_default_context() if url.scheme == "https" else None
        self._patience = patience
        self._spare: list[tuple[float, Line]] = []  # since when

    @asynccontextmanager
    async def ask(self, method: str, target: bytes, headers: Headers, body: Body | None) -> AsyncIterator[Answer]:
        """The answer as soon as it begins, be the body sent or not; leaving early closes the connection, which cancels
        the request.

        `target` goes on the wire byte for byte. UpstreamFailed, UpstreamSilent, and what Body raises.
        """
        line = await self._line()
        sending = asyncio.create_task(line.send(method, target, [(b"host", self._named), *headers], body))
        try:
            yield await line.answer()
        finally:
            sending.cancel()
            await asyncio.wait({sending})
            self._give_back(line)

    async def close(self) -> None:
        """Close all connections."""
        while self._spare:
            self._spare.pop()[1].close()

    async def _line(self) -> Line:
        while self._spare:
            since, line = self._spare.pop()
            if line.free and time.monotonic() < since + policy.SPARE_SECONDS:
                return line
            line.close()
        return Line(await self._connected(), self._patience.answer, self._patience.piece)

    def _give_back(self, line: Line) -> None:
        if line.renew() and len(self._spare) < policy.SPARE_CONNECTIONS:
            self._spare.append((time.monotonic(), line))
        else:
            line.close()

    async def _connected(self) -> Wire:
        try:
            async with asyncio.timeout(policy.CONNECT_SECONDS):
                for _ in range(policy.CONNECT_TRIES - 1):
                    try:
                        return await self._connect()
                    except OSError:  # nothing has been sent by then
                        await asyncio.sleep(policy.CONNECT_PAUSE_SECONDS)
                return await self._connect()
        except TimeoutError as problem:
            raise UpstreamSilent("no connection in time") from problem
        except OSError as problem:  # what it says names addresses: that is for the log
            raise UpstreamFailed(f"no connection ({type(problem).__name__})") from problem

    async def _connect(self) -> Wire:
        loop = asyncio.get_running_loop()
        _, wire = await loop.create_connection(Wire, self._host, self._port, ssl=self._context)
        return wire
