"""The gateway as a process of its own, between a service that a test plays and a metadata server that signs."""

import asyncio
import hashlib
import os
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx
import psutil
import uvicorn
from starlette.types import Message, Receive, Scope, Send

from gcp_emulator.identity import Signer
from vm_agent import serving

LAPTOP, LAPTOP_NEW, PHONE = "laptop-0123456789abcdef", "laptop-fedcba9876543210", "phone-0123456789abcdef"
KEYS = f"# who may pass\nlaptop={LAPTOP}\nlaptop={LAPTOP_NEW}\nphone={PHONE}\n"
CREDENTIALS = {"X-API-Key": LAPTOP}


class MetadataServer:
    """Signs identity tokens with the emulator's signer, and takes guest attributes.

    `refuse`: it answers 503; `gate` holds its answers back.
    """

    def __init__(self) -> None:
        self.signer = Signer.new()
        self.lifetime_seconds = 3600.0
        self.refuse = False
        self.gate = threading.Event()
        self.gate.set()
        self.asked: list[str] = []  # audiences
        self.guest_attributes: list[tuple[str, str]] = []  # as they were written
        owner = self

        class Door(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                url = urlsplit(self.path)
                right = url.path == "/computeMetadata/v1/instance/service-accounts/default/identity"
                if not right or self.headers["Metadata-Flavor"] != "Google":
                    self.send_error(404)
                    return
                owner.asked.append(parse_qs(url.query)["audience"][0])
                owner.gate.wait(30)
                if owner.refuse:
                    self.send_error(503)
                    return
                token = owner.token(owner.asked[-1])
                self.send_response(200)
                self.end_headers()
                self.wfile.write(token.encode())

            def do_PUT(self) -> None:
                value = self.rfile.read(int(self.headers["Content-Length"])).decode()
                owner.guest_attributes.append((self.path.partition("guest-attributes/")[2], value))
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: object) -> None: ...

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Door)
        self.host = f"127.0.0.1:{self._server.server_port}"

    def token(self, audience: str) -> str:
        now = time.time()
        claims = {"aud": audience, "iat": int(now), "exp": now + self.lifetime_seconds, "email": "gateway@demo"}
        return self.signer.sign({**claims, "n": len(self.asked)})

    @contextmanager
    def serving(self) -> Iterator["MetadataServer"]:
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        try:
            yield self
        finally:
            self.gate.set()
            self._server.shutdown()
            self._server.server_close()


@dataclass
class Asked:
    """One request as the service saw it."""

    scope: Scope
    receive: Receive
    send: Send
    more: bool = True  # of the body

    @property
    def headers(self) -> dict[str, str]:
        return {name.decode(): value.decode() for name, value in self.scope["headers"]}

    @property
    def target(self) -> str:
        query = self.scope["query_string"]
        return (self.scope["raw_path"] + (b"?" + query if query else b"")).decode()

    async def piece(self) -> bytes:
        """The next piece of the body; b"" at its end."""
        if not self.more:
            return b""
        message = await self.receive()
        self.more = message.get("more_body", False)
        return message.get("body", b"") if message["type"] == "http.request" else b""

    async def hung_up(self) -> None:
        while (await self.receive())["type"] != "http.disconnect":
            pass

    async def begin(self, status: int = 200, headers: Mapping[str, str] | None = None) -> None:
        raw = [(name.lower().encode(), value.encode()) for name, value in (headers or {}).items()]
        await self.send({"type": "http.response.start", "status": status, "headers": raw})

    async def say(self, body: bytes, *, more: bool = True) -> None:
        message: Message = {"type": "http.response.body", "body": body, "more_body": more}
        await self.send(message)

    async def answer(self, status: int = 200, body: bytes = b"", headers: Mapping[str, str] | None = None) -> None:
        await self.begin(status, {"content-length": str(len(body)), **(headers or {})})
        await self.say(body, more=False)


class Service:
    """A service behind the gateway: echoes what it was asked, or lets the test play it (`/played...`)."""

    def __init__(self) -> None:
        self.requests: list[Asked] = []
        self.played: asyncio.Queue[tuple[Asked, asyncio.Event]] = asyncio.Queue()
        self.url = ""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        asked = Asked(scope, receive, send)
        self.requests.append(asked)
        if scope["path"].startswith("/played"):
            over = asyncio.Event()
            self.played.put_nowait((asked, over))
            await over.wait()
            return
        if scope["path"] == "/echo":
            await asked.begin()
            while piece := await asked.piece():
                await asked.say(piece)
            await asked.say(b"", more=False)
            return
        if scope["path"].startswith("/give/"):
            await _give(asked, int(scope["path"].removeprefix("/give/")))
            return
        digest = hashlib.sha256()
        while piece := await asked.piece():
            digest.update(piece)
        await asked.answer(body=digest.hexdigest().encode() if scope["path"] == "/take" else b"well")

    @asynccontextmanager
    async def play(self) -> AsyncIterator[Asked]:
        """The next request to /played; when the block ends, so does it."""
        async with asyncio.timeout(60):
            asked, over = await self.played.get()
        try:
            yield asked
        finally:
            over.set()

    @asynccontextmanager
    async def serving(self, pem: Path | None = None) -> AsyncIterator["Service"]:
        """With a certificate and its key in `pem`: by https, as localhost."""
        listening = await serving.listen("127.0.0.1", 0)
        port = listening.getsockname()[1]
        self.url = f"https://localhost:{port}" if pem else f"http://127.0.0.1:{port}"
        config = uvicorn.Config(
            self, loop="asyncio", http="h11", ws="none", lifespan="off", log_config=None, ssl_certfile=pem
        )
        server = uvicorn.Server(config)
        server.config.timeout_graceful_shutdown = 1
        server.config.load()
        server.lifespan = config.lifespan_class(config)
        await server.startup(sockets=[listening])
        try:
            yield self
        finally:
            await server.shutdown(sockets=[listening])


async def _give(asked: Asked, size: int) -> None:
    await asked.begin(headers={"content-length": str(size)})
    piece = bytes(range(256)) * 256
    for start in range(0, size, len(piece)):
        await asked.say(piece[: size - start])
    await asked.say(b"", more=False)


@dataclass
class Gateway:
    """A running gateway."""

    url: str
    process: asyncio.subprocess.Process
    client: httpx.AsyncClient
    lines: list[str] = field(default_factory=list)  # its log

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    @property
    def rss(self) -> int:
        """Bytes."""
        return int(psutil.Process(self.process.pid).memory_info().rss)

    async def raw(self, request: bytes) -> bytes:
        """All that comes back for these bytes, until the gateway closes the connection."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(request)
        try:
            async with asyncio.timeout(60):
                return await reader.read()
        except ConnectionResetError:
            return b""
        finally:
            writer.close()

    async def logged(self, *parts: str) -> str:
        """The first line of the log with all these parts in it."""
        async with asyncio.timeout(60):
            while True:
                for line in self.lines:
                    if all(part in line for part in parts):
                        return line
                await asyncio.sleep(0.01)


def check_problem(answer: httpx.Response, status: int, code: str) -> None:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert (answer.json()["status"], answer.json()["code"]) == (status, code)


def environment(upstream: str, metadata_host: str, **more: str) -> dict[str, str]:
    settings = {
        "MAYFLY_GATEWAY_UPSTREAM": upstream,
        "MAYFLY_GATEWAY_KEYS": KEYS,
        "GCE_METADATA_HOST": metadata_host,
        **more,
    }
    return {**os.environ, **settings}


@asynccontextmanager
async def gateway_process(upstream: str, metadata_host: str, **more: str) -> AsyncIterator[Gateway]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "vm_agent", "gateway", "--host", "127.0.0.1", "--port", "0"),
        env=environment(upstream, metadata_host, **more),
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stderr
    try:
        url = ""
        while "listening on" not in url:
            url = (await process.stderr.readline()).decode()
            assert url, "the gateway did not start"
        url = url.partition("listening on ")[2].split()[0]
        async with httpx.AsyncClient(
            base_url=url, headers=CREDENTIALS, timeout=60, trust_env=False, limits=httpx.Limits(max_connections=None)
        ) as client:
            gateway = Gateway(url, process, client)
            reading = asyncio.create_task(_read(process.stderr, gateway.lines))
            yield gateway
            reading.cancel()
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def _read(stream: asyncio.StreamReader, lines: list[str]) -> None:
    while line := await stream.readline():
        lines.append(line.decode())
