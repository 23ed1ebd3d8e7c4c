"""One request from a caller to the service and the answer back, both in pieces, as an ASGI app."""

import asyncio
import logging
import time
from dataclasses import dataclass, field
from email.utils import formatdate

from starlette.responses import JSONResponse, Response
from starlette.types import Message, Receive, Scope, Send

from vm_agent.buckets import Bucket, ByCaller
from vm_agent.gateway import policy
from vm_agent.gateway.body import Body, too_large
from vm_agent.gateway.headers import API_KEY, Headers, Hop, body_length, to_caller, to_upstream, values
from vm_agent.gateway.keys import Keys
from vm_agent.gateway.problems import MethodRefused, Overloaded, TooManyGuesses, WrongKey
from vm_agent.gateway.tokens import Tokens
from vm_agent.gateway.upstream import Upstream
from vm_agent.problems import BadRequest, CallerGone, Refused
from vm_agent.replies import problem

HEALTH = "/gateway-health"  # of the gateway itself; never forwarded. (Cloud Run keeps /healthz for itself.)

access = logging.getLogger("vm_agent.gateway.access")
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Limits:
    """What one caller, and all of them, may ask for."""

    body_bytes: int
    requests: int  # at once
    stall_seconds: float  # for a piece of a body to come, or to be taken


@dataclass
class Exchange:
    """One request and what became of it, for the access log."""

    scope: Scope
    body: Body
    send: Send
    began: float = field(default_factory=time.monotonic)
    key: str = "-"  # its name, never the key
    status: int = 0
    sent: int = 0  # bytes of the answer's body
    ending: str = "unfinished"

    @property
    def client(self) -> str:
        """The caller's address, as the socket says."""
        return self.scope["client"][0] if self.scope.get("client") else "unknown"

    @property
    def headers(self) -> Headers:
        """As received, names in lower case."""
        return list(self.scope["headers"])

    async def say(self, message: Message) -> None:
        """To the caller, who must take it in time."""
        try:
            async with asyncio.timeout(self.body.stall_seconds):
                await self.send(message)
        except TimeoutError as slow:
            raise CallerGone("the caller takes no more of the answer") from slow
        self.status = message.get("status", self.status)
        self.sent += len(message.get("body", b""))
        if message["type"] == "http.response.body" and not message.get("more_body"):
            self.ending = "complete"

    def log(self) -> None:
        """One line. The path without its query, which may hold secrets; it is printable ASCII, h11 has seen to that.

        Guesses above an address's share leave no line: the log would be theirs.
        """
        if self.ending == TooManyGuesses.code:
            return
        access.info(
            'key=%s client=%s "%s %s" status=%d in=%d out=%d seconds=%.3f %s',
            self.key,
            self.client,
            self.scope["method"],
            self.scope["raw_path"].decode("ascii"),
            self.status,
            self.body.seen,
            self.sent,
            time.monotonic() - self.began,
            self.ending,
        )


class Relay:
    """The app."""

    def __init__(
        self,
        *,
        keys: Keys,
        tokens: Tokens,
        upstream: Upstream,
        limits: Limits,
    ) -> None:
        self._keys = keys
        self._tokens = tokens
        self._upstream = upstream
        self._limits = limits
        self._live = 0
        # Right keys always pass, however many wrong ones came from the same address: behind one network or one balancer
        # many callers have one address, and nobody shall lock the others out.
        self._guesses = ByCaller(
            lambda: Bucket.full(policy.GUESSES_AT_ONCE, 1 / policy.GUESS_SECONDS), policy.GUESSERS_MAX
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The ASGI entry."""
        if scope["type"] != "http":
            raise NotImplementedError("HTTP only")
        if scope["path"] == HEALTH and scope["method"] in {"GET", "HEAD"}:
            await (await self._health())(scope, receive, send)
            return
        exchange = Exchange(scope, Body(receive, self._limits.body_bytes, self._limits.stall_seconds), send)
        self._live += 1
        try:
            await self._until_hung_up(exchange)
        finally:
            self._live -= 1
            exchange.log()

    async def _health(self) -> Response:
        """Well is a gateway that could pass a request on: it has a token. Whether the service is up is not asked.

        Anybody may ask, so nobody is told why not: that is in the log.
        """
        try:
            await self._tokens.current()
        except Refused:
            return JSONResponse({"status": "failed"}, 503)
        return JSONResponse({"status": "ok"})

    async def _until_hung_up(self, exchange: Exchange) -> None:
        """Answer; a caller who hangs up cancels that, and so the request at the upstream."""
        answering = asyncio.create_task(self._answer(exchange))
        leaving = asyncio.create_task(exchange.body.hung_up())
        try:
            await asyncio.wait({answering, leaving}, return_when=asyncio.FIRST_COMPLETED)
            if not answering.done() and exchange.ending != "complete":
                exchange.ending = "caller-gone"
                answering.cancel()
        finally:
            leaving.cancel()
            if asyncio.current_task().cancelling():  # type: ignore[union-attr] # we are a task
                answering.cancel()
            await asyncio.wait({answering, leaving})
        if not answering.cancelled():
            answering.result()

    async def _answer(self, exchange: Exchange) -> None:
        try:
            await self._admit(exchange)
            await self._pass_on(exchange)
        except Refused as refused:
            exchange.ending = refused.code
            if exchange.status or isinstance(refused, CallerGone):
                log.info("broken off: %s", refused)
                return  # uvicorn ends the connection: a cut answer must not look whole
            exchange.body.let_go()
            await problem(refused)(exchange.scope, _nothing, exchange.say)
            exchange.ending = refused.code

    async def _admit(self, exchange: Exchange) -> None:
        headers = exchange.headers
        presented = values(headers, API_KEY)
        name = self._keys.name_of(presented[0]) if presented else None
        if name is None:
            if self._guesses.of(exchange.client).take(time.monotonic()) > 0:
                raise TooManyGuesses("wait, or show a right key")
            raise WrongKey("wrong X-API-Key" if presented else "no X-API-Key")
        exchange.key = name
        method, path = exchange.scope["method"], exchange.scope["path"]
        if method in {"CONNECT", "TRACE"} or path == HEALTH:
            raise MethodRefused(f"{method} is not passed on" if path != HEALTH else "it can be read, and no more")
        if not exchange.scope["raw_path"].startswith(b"/") or b"#" in _target(exchange.scope):
            raise BadRequest("the request target must be a path")
        if (body_length(headers) or 0) > self._limits.body_bytes:
            raise too_large(self._limits.body_bytes)
        if self._live > self._limits.requests:
            raise Overloaded(f"more than {self._limits.requests} requests at once")

    async def _pass_on(self, exchange: Exchange) -> None:
        headers, scope, body = exchange.headers, exchange.scope, exchange.body
        hop = Hop(await self._tokens.current(), exchange.client, scope["scheme"])
        content = None if body_length(headers) == 0 else body
        if content is None:
            body.let_go()
        async with self._upstream.ask(scope["method"], _target(scope), to_upstream(headers, hop), content) as answer:
            said = to_caller(answer.headers, self._upstream.origin)
            if not values(said, b"date"):
                said.append((b"date", formatdate(usegmt=True).encode("ascii")))
            await exchange.say({"type": "http.response.start", "status": answer.status, "headers": said})
            async for piece in answer.pieces:
                await exchange.say({"type": "http.response.body", "body": piece, "more_body": True})
        await exchange.say({"type": "http.response.body", "body": b""})


def _target(scope: Scope) -> bytes:
    query = scope["query_string"]
    return bytes(scope["raw_path"] + (b"?" + query if query else b""))


async def _nothing() -> Message:
    raise AssertionError("a problem document reads no body")
