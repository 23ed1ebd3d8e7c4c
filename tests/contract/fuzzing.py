"""Thousands of malformed requests over raw sockets. All follow from a seed, so each can be sent again.

python -m tests.contract.fuzzing SEED NUMBER       shows what request NUMBER of SEED sends
"""

import asyncio
import re
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random

AT_ONCE = 64
LISTEN_SECONDS = 0.2  # for an answer, before the next request: one that waits for more gives none
CONNECT_TRIES = 20

METHODS = (
    b"GET",
    b"POST",
    b"HEAD",
    b"PUT",
    b"DELETE",
    b"OPTIONS",
    b"PATCH",
    b"TRACE",
    b"CONNECT",
    b"get",
    b"G\0T",
    b"",
)
TARGETS = (
    b"/",
    b"*",
    b"",
    b"//",
    b"/%",
    b"/%00",
    b"/../../etc/passwd",
    b"http://169.254.169.254/",
    b"/?" + b"q" * 3000,
)
VERSIONS = (b"HTTP/1.1", b"HTTP/1.0", b"HTTP/2.0", b"HTTP/1.1 ", b"HTTP/11", b"http/1.1", b"")
HEADERS = (
    b"Content-Length: 5", b"Content-Length: -1", b"Content-Length: 5, 6", b"Content-Length: " + b"9" * 400,
    b"Content-Length: 1000000", b"Transfer-Encoding: chunked", b"Transfer-Encoding: gzip, chunked",
    b"Transfer-Encoding:\tchunked", b"Transfer-Encoding : chunked", b"Expect: 100-continue", b"Expect: 200-ok",
    b"Connection: close", b"Connection: keep-alive, X-API-Key", b"Connection: upgrade", b"Upgrade: websocket",
    b"Content-Type: application/json", b"Content-Type: application/vnd.mayfly.start+json", b"Range: bytes=9-1,,-",
    b"Accept: text/event-stream", b"Last-Event-ID: -1", b"Prefer: wait=99999999999", b"Idempotency-Key: \xff",
    b"Mayfly-Epoch: -1", b"Mayfly-Epoch: 99999999999999999999", b"Authorization: Bearer a.b.c", b"X-API-Key: wrong",
    b"Cookie: " + b"c" * 5000, b": no name", b"no colon", b" folded", b"\tfolded", b"X: \0", b"X: \xff\xfe", b"X:",
    b"Host: other.example", b"Trailer: X", b"TE: trailers", b"Metadata-Flavor: Google",
)  # fmt: skip
BODIES = (
    b"", b"hello", b"{}", b'{"params": {}}', b"[" * 500, b'{"a": 1e999}', b"5\r\nhello\r\n0\r\n\r\n",
    b"5;ext=1\r\nhello\r\n0\r\nX: y\r\n\r\n", b"fffffffffffffffff\r\n", b"-5\r\nhello\r\n", b"5\nhello\n0\n\n",
    b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 20, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"x" * 70_000,
)  # fmt: skip
SPLINTERS = (
    b"\r",
    b"\n",
    b"\r\n",
    b"\r\n\r\n",
    b"\0",
    b" ",
    b"\t",
    b":",
    b"%",
    b"\xff",
    b"HTTP/1.1",
    b"0",
    b"x" * 9000,
)


@dataclass(frozen=True)
class Aim:
    """Whom to send to, and what it knows."""

    port: int
    credentials: bytes  # a header that opens; one request in two has it
    paths: Sequence[bytes]


@dataclass(frozen=True)
class Shot:
    """One connection."""

    pieces: Sequence[bytes]  # sent one after the other
    ending: str  # "close" half, "abort", or "listen" first


@dataclass
class Told:
    """What was answered: how often which status, and which requests got a 5xx."""

    statuses: Counter[str] = field(default_factory=Counter)
    failed: list[int] = field(default_factory=list)


def shot(seed: int, number: int, credentials: bytes, paths: Sequence[bytes]) -> Shot:
    """Request `number` of that seed."""
    dice = Random(f"{seed}/{number}")  # noqa: S311 - seeded on purpose
    method = dice.choice(METHODS if dice.random() < 0.3 else METHODS[:2])
    target = dice.choice(TARGETS if dice.random() < 0.3 else paths)
    version = dice.choice(VERSIONS if dice.random() < 0.2 else VERSIONS[:1])
    headers = [b"Host: localhost", *([credentials] if dice.random() < 0.5 else [])]
    headers += dice.sample(HEADERS, dice.randrange(4))
    dice.shuffle(headers)
    head = b"\r\n".join([b" ".join([method, target, version]), *headers])
    whole = head + b"\r\n\r\n" + dice.choice(BODIES)
    for _ in range(dice.choice((0, 1, 1, 2, 5))):
        whole = _damaged(whole, dice)
    cuts = sorted(dice.randrange(len(whole) + 1) for _ in range(dice.choice((0, 0, 1, 3))))
    pieces = [whole[start:end] for start, end in zip([0, *cuts], [*cuts, len(whole)], strict=True)]
    return Shot(pieces, dice.choice(("close", "abort", "listen", "listen")))


async def bombard(aim: Aim, *, seed: int, count: int) -> Told:
    """Send all of them, some at once."""
    told = Told()
    numbers = iter(range(count))

    async def send_on() -> None:
        for number in numbers:
            answer = await _sent(aim.port, shot(seed, number, aim.credentials, aim.paths))
            status = re.match(rb"HTTP/1\.1 (\d{3}) ", answer)
            told.statuses[status[1].decode() if status else "garbled" if answer else "none"] += 1
            if (status and status[1] >= b"500") or (answer and not status):
                told.failed.append(number)

    await asyncio.gather(*(send_on() for _ in range(AT_ONCE)))
    return told


def _damaged(whole: bytes, dice: Random) -> bytes:
    at = dice.randrange(len(whole) + 1)
    match dice.randrange(5):
        case 0:
            return whole[:at] + dice.choice(SPLINTERS) + whole[at:]
        case 1:
            return whole[:at] + whole[at + dice.randrange(1, 30) :]
        case 2:
            return whole[:at] + bytes([dice.randrange(256)]) + whole[at + 1 :]
        case 3:
            return whole[:at]
        case _:
            return whole[:at] + whole[max(0, at - dice.randrange(200)) :]


async def _sent(port: int, shot: Shot) -> bytes:
    reader, writer = await _connected(port)
    try:
        for piece in shot.pieces:
            writer.write(piece)
            await writer.drain()
        if shot.ending == "close":
            writer.write_eof()
        elif shot.ending == "abort":
            return b""
        async with asyncio.timeout(LISTEN_SECONDS):
            return await reader.read(1 << 16)
    except (TimeoutError, OSError):
        return b""
    finally:
        writer.transport.abort()


async def _connected(port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    for _ in range(CONNECT_TRIES):
        try:
            return await asyncio.open_connection("127.0.0.1", port)
        except OSError:  # its backlog is full
            await asyncio.sleep(LISTEN_SECONDS)
    return await asyncio.open_connection("127.0.0.1", port)


if __name__ == "__main__":
    print(shot(int(sys.argv[1]), int(sys.argv[2]), b"X-API-Key: KEY", [b"/PATH"]))  # noqa: T201
