"""HTTP requests into the model's form and its replies back out, over plain ASGI."""

import asyncio
import json
import re
import zlib
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import parse_qsl, unquote

from gcp_emulator.wire import Lost, Reply, Request

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
Handler = Callable[[Request], Awaitable[Reply | Lost]]

BODY_BYTES_MAX = 16 << 20  # Compute Engine takes 512 KB of metadata; this is for batches of such requests
UPLOAD_BYTES_MAX = 1 << 30  # an object; what is in buckets is in memory
ORIGIN = re.compile(r"\Ahttp://[^/]*")  # before the path of a request to a proxy: gcloud takes us for one (exports.py)
LISTS = frozenset({"permissions"})  # of testIamPermissions
GUNZIP = zlib.MAX_WBITS | 16


class BadRequest(Exception):
    """A request whose body cannot be read."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status

    def reply(self) -> Reply:
        """The error for the caller."""
        return json_reply(self.status, {"error": {"code": self.status, "message": str(self)}})


def app_of(handler: Handler) -> App:
    """An ASGI app in which the handler answers every request; one whose caller has gone is dropped."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        try:
            request = await read_request(scope, receive)
        except BadRequest as error:
            await send_reply(error.reply(), send, with_body=True)
            return
        reply = await _unless_gone(handler(request), receive)
        if isinstance(reply, Lost):
            await _hang_up(send, receive)
        elif reply:
            await send_reply(reply, send, with_body=request.method != "HEAD")

    return app


def json_reply(status: int, body: Any) -> Reply:
    """A reply with a JSON body."""
    return Reply(status, json.dumps(body).encode(), {"content-type": "application/json; charset=UTF-8"})


def parse_query(query: str) -> dict[str, str]:
    """The parameters of a query; of a repeated one, the last, or all with commas between if it is one of LISTS."""
    pairs = parse_qsl(query, keep_blank_values=True)
    lists = {name: ",".join(value for other, value in pairs if other == name) for name, _ in pairs if name in LISTS}
    return dict(pairs) | lists


def decoded(path: str) -> str:
    """Decode a path by its segments: a slash *in* a name, as objects of Cloud Storage have, remains %2F (and % %25)."""
    return "/".join(unquote(segment).replace("%", "%25").replace("/", "%2F") for segment in path.split("/"))


async def read_request(scope: Scope, receive: Receive) -> Request:
    """The whole request, its body unpacked when it came compressed."""
    headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
    path = decoded(ORIGIN.sub("", scope["raw_path"].decode("ascii")) or "/")
    most = UPLOAD_BYTES_MAX if path.startswith("/upload/") else BODY_BYTES_MAX
    body = bytearray()
    while True:
        message = await receive()
        body += message.get("body", b"")
        if len(body) > most:
            raise BadRequest(413, "The request is too large.")
        if not message.get("more_body"):
            break
    content = _gunzip(bytes(body)) if headers.get("content-encoding") == "gzip" else bytes(body)
    query = parse_query(scope["query_string"].decode("latin-1"))
    return Request(scope["method"], path, query, headers, content)


async def send_reply(reply: Reply, send: Send, *, with_body: bool) -> None:
    """Answer, always with a length."""
    headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in reply.headers.items()]
    headers.append((b"content-length", str(len(reply.body)).encode()))
    await send({"type": "http.response.start", "status": reply.status, "headers": headers})
    await send({"type": "http.response.body", "body": reply.body if with_body else b""})


def _gunzip(body: bytes) -> bytes:
    unpacker = zlib.decompressobj(GUNZIP)
    try:
        content = unpacker.decompress(body, BODY_BYTES_MAX)
    except zlib.error as error:
        raise BadRequest(400, f"The body is not gzip: {error}") from error
    if unpacker.unconsumed_tail:
        raise BadRequest(413, "The request is too large.")
    return content


async def _hang_up(send: Send, receive: Receive) -> None:
    """End the connection without a word. ASGI has no way to say that; uvicorn's `send` belongs to the connection."""
    transport: asyncio.Transport = send.__self__.transport  # type: ignore[attr-defined]
    transport.close()
    await _disconnected(receive)


async def _unless_gone(answering: Awaitable[Reply | Lost], receive: Receive) -> Reply | Lost | None:
    """The reply, or None when the caller hangs up first: a long poll must not outlive the one who asked."""
    answer = asyncio.ensure_future(answering)
    gone = asyncio.ensure_future(_disconnected(receive))
    try:
        await asyncio.wait({answer, gone}, return_when=asyncio.FIRST_COMPLETED)
        return answer.result() if answer.done() else None
    finally:
        for task in (answer, gone):
            task.cancel()


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
