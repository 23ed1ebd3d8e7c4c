"""Wires with special behaviour: servers that say exactly what a test wants to be said, or that lose an answer."""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urlsplit


@dataclass(frozen=True)
class Asked:
    """One request as it came over the wire."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes
    raw: bytes = field(repr=False)


Answer = bytes | None  # None: hang up without a word
Say = Callable[[Asked], Awaitable[Answer]]


def http(status: int, body: Any = None, **headers: str) -> bytes:
    """An HTTP answer; a body that is not bytes is sent as JSON. Underscores in header names are hyphens."""
    payload = body if isinstance(body, bytes) else json.dumps(body).encode()
    fields = {"Content-Length": str(len(payload)), "Connection": "close", "Content-Type": "application/json"}
    fields |= {name.replace("_", "-"): value for name, value in headers.items()}
    head = f"HTTP/1.1 {status} So\r\n" + "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return head.encode() + b"\r\n" + payload


@asynccontextmanager
async def serving(
    say: Say, host: str = "127.0.0.1", port: int = 0, tls: ssl.SSLContext | None = None
) -> AsyncIterator[str]:
    """A server that answers each request with what `say` returns. Gives its URL."""
    open_now: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        open_now.add(task)
        try:
            answer = await say(await _request(reader))
            if answer is not None:
                writer.write(answer)
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # the client left, or the test is over
        finally:
            open_now.discard(task)
            writer.close()

    server = await asyncio.start_server(serve, host, port, ssl=tls)
    host, port = server.sockets[0].getsockname()
    try:
        yield f"{'https' if tls else 'http'}://{host}:{port}"
    finally:
        server.close()
        for task in open_now:
            task.cancel()


async def passed_on(asked: Asked, port: int) -> bytes:
    """What the server on that port answers to this request."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(asked.raw.replace(b"\r\n", b"\r\nConnection: close\r\n", 1))
    answer = await reader.read()
    writer.close()
    return answer


async def _request(reader: asyncio.StreamReader) -> Asked:
    head = await reader.readuntil(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    method, target, _ = first.split(" ")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines if line)}
    kept = "\r\n".join([first, *(line for line in lines if not line.lower().startswith("connection:"))])
    body = await reader.readexactly(int(headers.get("content-length", 0)))
    url = urlsplit(target)
    return Asked(method, url.path, dict(parse_qsl(url.query)), headers, body, kept.encode() + body)
