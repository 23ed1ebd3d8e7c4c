"""One connection to the upstream, in HTTP/1.1: a request goes out while its answer may already come in."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import h11

from vm_agent.gateway import policy
from vm_agent.gateway.body import Body
from vm_agent.gateway.headers import Headers
from vm_agent.gateway.problems import UpstreamFailed, UpstreamSilent
from vm_agent.gateway.wire import Wire


@dataclass(frozen=True)
class Answer:
    """An answer that has begun. Names in lower case."""

    status: int
    headers: Headers
    pieces: AsyncIterator[bytes]  # as they come, still encoded as they were


class Line:
    """One exchange after the other."""

    def __init__(self, wire: Wire, answer_seconds: float, piece_seconds: float) -> None:
        self._wire = wire
        self._answer_seconds = answer_seconds
        self._piece_seconds = piece_seconds
        self._talk = h11.Connection(h11.CLIENT, max_incomplete_event_size=policy.ANSWER_HEAD_BYTES_MAX)
        self._sent = False

    @property
    def free(self) -> bool:
        """Whether a request can be sent."""
        return self._wire.quiet and self._talk.our_state is h11.IDLE

    async def send(self, method: str, target: bytes, headers: Headers, body: Body | None) -> None:
        """The whole request; answer() raises what goes wrong with it."""
        self._sent = False
        try:
            await self._say(h11.Request(method=method, target=target, headers=headers))
            if body:
                async for piece in body:
                    await self._say(h11.Data(data=piece))
            await self._say(h11.EndOfMessage())
        except ConnectionError:
            pass  # it may have answered before it closed
        except TimeoutError:
            if self._talk.their_state is h11.SEND_RESPONSE:
                self._wire.break_off(UpstreamSilent("the service takes no more of the body"))
            elif body:
                body.let_go()  # it answers, and wants no more
        except Exception as problem:  # noqa: BLE001 - it is raised again where somebody waits
            self._wire.break_off(problem)
        finally:
            self._sent = True

    async def answer(self) -> Answer:
        """The answer's head."""
        while not isinstance(event := await self._event(), h11.Response):
            if not isinstance(event, h11.InformationalResponse):
                raise UpstreamFailed("no answer")
        return Answer(event.status_code, list(event.headers), self._pieces())

    def renew(self) -> bool:
        """Ready for the next exchange, if this one is complete and the connection stays."""
        if self._talk.our_state is not h11.DONE or self._talk.their_state is not h11.DONE or not self._wire.quiet:
            return False
        self._talk.start_next_cycle()
        return True

    def close(self) -> None:
        """At once."""
        self._wire.break_off(UpstreamFailed("closed"))

    async def _pieces(self) -> AsyncIterator[bytes]:
        while isinstance(event := await self._event(), h11.Data):
            yield bytes(event.data)

    async def _say(self, event: h11.Event) -> None:
        if data := self._talk.send(event):
            async with asyncio.timeout(self._piece_seconds):
                await self._wire.write(data)

    async def _event(self) -> h11.Event:
        while True:
            with _understood():
                event = self._talk.next_event()
            if event is not h11.NEED_DATA:
                return event  # type: ignore[return-value] # PAUSED is after the end
            data = await self._read()
            with _understood():
                self._talk.receive_data(data)

    async def _read(self) -> bytes:
        """While the request is being sent, its own time-outs count."""
        while True:
            try:
                async with asyncio.timeout(self._answer_seconds):
                    return await self._wire.read()
            except TimeoutError as problem:
                if self._sent:
                    raise UpstreamSilent("no answer in time") from problem


@contextmanager
def _understood() -> Iterator[None]:
    try:
        yield
    except h11.RemoteProtocolError as problem:
        raise UpstreamFailed("the answer broke off, or is no HTTP") from problem
