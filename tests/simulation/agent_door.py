"""The wire between orchestrators and agents: the real client on one end, the real ASGI app on the other, no socket.

Unlike httpx's own ASGI transport it streams, lets callers hang up, keeps their time-outs (on virtual time), and knows
of addresses that lead nowhere.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any, Protocol

import httpx

from tests.simulation.faults import Kind
from tests.simulation.loop import Process, current
from tests.simulation.network import WORLD, Fate, Network, Reset, TimedOut


class Listening(Protocol):
    """An agent that listens."""

    process: Process
    app: Any
    open: "set[Exchange]"


class AgentDoor(httpx.AsyncBaseTransport):
    """To whom an address leads is asked anew for each request: each has a connection of its own."""

    def __init__(self, network: Network, route: Callable[[str], "Listening | bool | None"]) -> None:
        self._network = network
        self._route = route  # False: nowhere; None: to a VM on which nobody listens

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        path = request.url.raw_path.decode("ascii")
        fate = await self._network.depart(f"agent {request.method} {path.partition('?')[0]}")
        limits: dict[str, float] = request.extensions["timeout"]
        await self._connect(request.url.host, limits["connect"], fate)
        exchange = Exchange(request, self._network, limits["read"])
        hang_up = current().at_death
        hang_up.append(exchange.hang_up)
        try:
            head = await self._network.carry(fate, limits["read"], lambda heard: self._arrive(exchange, fate, heard))
        except TimedOut as silence:
            exchange.hang_up()
            raise httpx.ReadTimeout(str(silence)) from silence
        except Reset as broken:
            exchange.hang_up()
            raise httpx.ReadError(str(broken)) from broken
        except BaseException:
            exchange.hang_up()
            raise
        finally:
            if exchange.hang_up in hang_up:
                hang_up.remove(exchange.hang_up)
        return httpx.Response(head[0], headers=head[1], stream=exchange, request=request)

    async def _connect(self, host: str, patience_seconds: float, fate: Fate) -> None:
        there = self._route(host)
        if there is False:  # a SYN into nowhere is dropped, not refused
            await asyncio.sleep(patience_seconds)
            await self._network.heard_of(fate)
            raise httpx.ConnectTimeout("nobody there")
        if there is None:
            await asyncio.sleep(self._network.latency())
            await self._network.heard_of(fate)
            raise httpx.ConnectError("connection refused")

    def _arrive(self, exchange: "Exchange", fate: Fate, heard: "asyncio.Future[Any]") -> None:
        there = self._route(exchange.request.url.host)
        if fate.has(Kind.UNAVAILABLE):
            heard.set_result((503, []))
            exchange.end()
        elif isinstance(there, bool):
            return  # what arrives nowhere is answered by nobody
        elif there is None:
            heard.set_exception(Reset("connection reset by peer"))
        else:
            exchange.begin(there, heard)


class Exchange(httpx.AsyncByteStream):
    """One request and its answer; as the body of the answer, it is what the client reads from."""

    def __init__(self, request: httpx.Request, network: Network, patience_seconds: float) -> None:
        self.request = request
        self._network, self._loop = network, network.loop
        self._patience_seconds = patience_seconds
        self._told = False  # the app has our body
        self._gone = False
        self._goes: asyncio.Future[None] = network.loop.create_future()
        self._heard: asyncio.Future[Any] | None = None
        self._pieces: list[bytes | Exception | None] = []  # None: that was all
        self._more = asyncio.Event()

    def begin(self, agent: Listening, heard: "asyncio.Future[Any]") -> None:
        """The request is there: the app takes it, in the VM's own process."""
        self._heard = heard
        agent.open.add(self)
        task = agent.process.spawn(agent.app(self._scope(), self._receive, self._send))
        task.add_done_callback(lambda _: self._ended(agent), context=WORLD)

    def break_off(self) -> None:
        """Its server is gone, and the kernel says so."""
        if self._heard and not self._heard.done():
            self._heard.set_exception(Reset("connection reset by peer"))
        self._push(Reset("connection reset by peer"))

    def hang_up(self) -> None:
        """The caller is gone."""
        if not self._gone:
            self._gone = True
            self._loop.call_later(self._network.latency(), self._notice, context=WORLD)

    def end(self) -> None:
        """That was the whole body."""
        self._push(None)

    def _notice(self) -> None:
        if not self._goes.done():
            self._goes.set_result(None)

    def _ended(self, agent: Listening) -> None:
        agent.open.discard(self)
        if self._heard and not self._heard.done():
            self._heard.set_exception(Reset("closed without an answer"))

    def _scope(self) -> dict[str, Any]:
        url = self.request.url
        return {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": self.request.method,
            "scheme": "http",
            "path": url.path,
            "raw_path": url.raw_path.partition(b"?")[0],
            "query_string": url.query,
            "headers": [(name.lower(), value) for name, value in self.request.headers.raw],
            "client": ("10.0.0.1", 40000),
            "server": (url.host, url.port),
            "state": {},
        }

    async def _receive(self) -> dict[str, Any]:
        if not self._told:
            self._told = True
            return {"type": "http.request", "body": self.request.content, "more_body": False}
        await asyncio.shield(self._goes)
        return {"type": "http.disconnect"}

    async def _send(self, message: dict[str, Any]) -> None:
        if self._gone or self._heard is None:
            return
        if message["type"] == "http.response.start":
            if not self._heard.done():
                self._heard.set_result((message["status"], message["headers"]))
            return
        if body := message.get("body"):
            self._loop.call_later(self._network.latency(), self._push, body, context=WORLD)
        if not message.get("more_body"):
            self._loop.call_later(self._network.latency(), self.end, context=WORLD)

    def _push(self, piece: bytes | Exception | None) -> None:
        self._pieces.append(piece)
        self._more.set()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while True:
            while not self._pieces:
                self._more.clear()
                try:
                    async with asyncio.timeout(self._patience_seconds):
                        await self._more.wait()
                except TimeoutError as silence:
                    raise httpx.ReadTimeout("the answer stopped in the middle") from silence
            piece = self._pieces.pop(0)
            if isinstance(piece, Exception):
                raise httpx.ReadError(str(piece))
            if piece is None:
                return
            yield piece

    async def aclose(self) -> None:
        self.hang_up()
