"""The way to a guest's agent: an ASGI transport of our own, with streams, time-outs, disconnects and resets.

httpx's own ASGI transport buffers whole answers and knows no time-outs.
"""

import asyncio
from collections.abc import AsyncIterator, MutableMapping
from contextvars import Context
from typing import Any

import httpx

from tests.simulation.faults import LATE_SECONDS, NEVER, Sender
from tests.simulation.guest import Guest
from tests.simulation.schedule import Kind

Message = MutableMapping[str, Any]


class Exchange:
    """One request and its answer, between a client and the process that serves it."""

    def __init__(self, request: httpx.Request, body: bytes) -> None:
        self.scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": request.method,
            "scheme": "http",
            "path": request.url.path,
            "raw_path": request.url.raw_path.partition(b"?")[0],
            "query_string": request.url.query,
            "headers": [(name.lower(), value) for name, value in request.headers.raw],
            "client": ("client", 1),
            "server": (request.url.host, request.url.port),
            "root_path": "",
            "state": {},
        }
        self._body: bytes | None = body
        self._gone = asyncio.Event()
        self._answer: asyncio.Queue[Message] = asyncio.Queue()
        self.cut = False  # the network between them is no more: neither hears of the other

    async def receive(self) -> Message:
        """The server's side: the request, then the caller's going."""
        if self._body is not None:
            body, self._body = self._body, None
            return {"type": "http.request", "body": body, "more_body": False}
        await self._gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        """The server's side: a part of the answer."""
        if not self.cut:
            self._answer.put_nowait(message)
        await asyncio.sleep(0)

    def hang_up(self) -> None:
        """The client's side: it is gone."""
        if not self.cut:
            self._gone.set()

    def reset(self) -> None:
        """The server's kernel: its process died, and what it had open is closed."""
        if not self.cut:
            self._answer.put_nowait({"type": "reset"})

    async def hear(self, seconds: float | None) -> Message:
        """The client's side: the next part of the answer."""
        try:
            async with asyncio.timeout(seconds):
                message = await self._answer.get()
        except TimeoutError as silence:
            raise httpx.ReadTimeout("") from silence
        if message["type"] == "reset":
            raise httpx.ReadError("reset by peer")
        return message


class Stream(httpx.AsyncByteStream):
    """The rest of an answer."""

    def __init__(self, exchange: Exchange, read: float | None, *, reset: bool) -> None:
        self._exchange, self._read, self._reset = exchange, read, reset

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Its pieces."""
        more = True
        while more:
            message = await self._exchange.hear(self._read)
            if self._reset:
                raise httpx.ReadError("reset by peer")
            more = message.get("more_body", False)
            yield message.get("body", b"")

    async def aclose(self) -> None:
        """Hang up."""
        self._exchange.hang_up()


class AgentDoor(httpx.AsyncBaseTransport):
    """The network between one orchestrator and all guests."""

    def __init__(self, sender: Sender) -> None:
        self._sender, self._universe = sender, sender.universe
        self._open: dict[Exchange, str] = {}
        self._universe.on_cut.append(self._cut)

    def orchestrator_died(self) -> None:
        """Its kernel closes what it had open."""
        for exchange in self._open:
            exchange.hang_up()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """One request over the simulated network."""
        timeouts, universe = request.extensions["timeout"], self._universe
        body = await request.aread()
        met = await self._sender.border(f"agent {request.method} {request.url.path}")
        if met is Kind.UNAVAILABLE:
            await asyncio.sleep(2 * universe.one_way())
            return httpx.Response(502, content=b"bad gateway")
        guest = universe.reachable(request.url.host) if met is not Kind.LOST else None
        if guest is None:
            self._sender.die_once_sent(met)
            await asyncio.sleep(timeouts["connect"])  # a SYN is dropped
            raise httpx.ConnectTimeout("")
        exchange = Exchange(request, body)
        self._open[exchange] = request.url.host
        delay = LATE_SECONDS if met is Kind.LATE else universe.one_way()
        universe.loop.outside(universe.loop.time() + delay, self._arrive, exchange, guest)
        self._sender.die_once_sent(met)
        return await self._answer(exchange, timeouts["read"], met)

    def _arrive(self, exchange: Exchange, guest: Guest) -> None:
        if guest.app is None or guest.process is None:
            exchange._answer.put_nowait({"type": "refused"})
        else:
            guest.connected.append(exchange.reset)
            guest.process.spawn(_served(guest.app, exchange), "request")

    async def _answer(self, exchange: Exchange, read: float | None, met: Kind | None) -> httpx.Response:
        try:
            if met in {Kind.REPLY_LOST, Kind.LATE}:
                async with asyncio.timeout(read):
                    await NEVER().wait()
            head = await exchange.hear(read)
        except TimeoutError as silence:
            exchange.hang_up()
            raise httpx.ReadTimeout("") from silence
        except BaseException:
            exchange.hang_up()
            raise
        if head["type"] == "refused":
            raise httpx.ConnectError("connection refused")
        stream = Stream(exchange, read, reset=met is Kind.OPERATION_ERROR)  # an agent has no operations
        return httpx.Response(head["status"], headers=head["headers"], stream=stream)

    def _cut(self, ip: str) -> None:
        for exchange in [one for one, to in self._open.items() if to == ip]:
            exchange.cut = True


async def _served(app: Any, exchange: Exchange) -> None:
    """The app answers, or makes a mistake: uvicorn would log that one and go on."""
    try:
        await app(exchange.scope, exchange.receive, exchange.send)
    except Exception as mistake:  # noqa: BLE001 - as uvicorn
        exchange.hang_up()
        asyncio.get_running_loop().call_soon(_complain, mistake, context=Context())


def _complain(mistake: Exception) -> None:
    raise AssertionError("the agent made a mistake") from mistake
