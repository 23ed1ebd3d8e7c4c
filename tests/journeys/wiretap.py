"""Between an orchestrator and the agent: somebody who listens, and somebody who answers in the agent's place."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from tests.contract.wires import Answer, Asked, serving

TAP = 8001  # the port that a tapped orchestrator is told to call
THEIRS = 8002  # where an impostor listens


@dataclass
class Heard:
    """All bytes that went over the wire, connection by connection."""

    from_callers: list[bytearray] = field(default_factory=list)
    from_agent: list[bytearray] = field(default_factory=list)

    @property
    def everything(self) -> bytes:
        return b"\n".join([*self.from_callers, *self.from_agent])


@asynccontextmanager
async def tapped(ip: str, to: str = "", port: int = 8000) -> AsyncIterator[Heard]:
    """Whoever calls ip:TAP is led to another port there, or at another address, and overheard."""
    heard, open_now = Heard(), set[asyncio.Task[None]]()

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, said: bytearray) -> None:
        while piece := await reader.read(1 << 16):
            said += piece
            writer.write(piece)
            await writer.drain()
        writer.write_eof()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        open_now.add(task)
        heard.from_callers.append(bytearray())
        heard.from_agent.append(bytearray())
        asked, answered = heard.from_callers[-1], heard.from_agent[-1]
        with suppress(OSError, asyncio.CancelledError):
            theirs, agent = await asyncio.open_connection(to or ip, port)
            try:
                await asyncio.gather(carry(reader, agent, asked), carry(theirs, writer, answered))
            finally:
                agent.close()
        writer.close()
        open_now.discard(task)

    server = await asyncio.start_server(serve, ip, TAP)
    try:
        yield heard
    finally:
        server.close()
        for task in [*open_now]:
            task.cancel()


@asynccontextmanager
async def an_impostor(ip: str, keys: Path, answer: Answer = None, port: int = TAP) -> AsyncIterator[list[Asked]]:
    """A server that shows this certificate. What it gets to hear, if any trusts it."""
    asked: list[Asked] = []

    async def say(request: Asked) -> Answer:
        asked.append(request)
        return answer

    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(keys)
    async with serving(say, ip, port, context):
        yield asked


def records(stream: bytes) -> Iterator[tuple[int, bytes]]:
    """The TLS records of which a stream consists, to the last byte: (content type, payload)."""
    while stream:
        kind, major, length = stream[0], stream[1], int.from_bytes(stream[3:5])
        assert kind in {20, 21, 22, 23}, stream[:20]
        assert major == 3, stream[:20]
        assert len(stream) >= 5 + length, "broken off in the middle of a record"
        yield kind, stream[5 : 5 + length]
        stream = stream[5 + length :]


def version_chosen(server_hello: bytes) -> int:
    """The version of TLS that a server's first record settles on: 0x0303 is 1.2, 0x0304 is 1.3."""
    assert server_hello[0] == 2, "a ServerHello comes first"
    at = 4 + 2 + 32
    at += 1 + server_hello[at] + 2 + 1  # session id, cipher suite, compression
    extensions = server_hello[at + 2 : at + 2 + int.from_bytes(server_hello[at : at + 2])]
    while extensions:
        kind, length = int.from_bytes(extensions[:2]), int.from_bytes(extensions[2:4])
        if kind == 43:  # supported_versions
            return int.from_bytes(extensions[4:6])
        extensions = extensions[4 + length :]
    return int.from_bytes(server_hello[4:6])
