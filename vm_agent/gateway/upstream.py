"""The one service behind the gateway. Nothing that a caller says changes where a request goes."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import httpx

from vm_agent.gateway import policy
from vm_agent.gateway.body import Body
from vm_agent.gateway.headers import Headers
from vm_agent.gateway.problems import UpstreamFailed, UpstreamSilent


class Upstream:
    """A transport, not a client: no cookies, no redirects, no proxies of the environment, no headers of its own."""

    def __init__(self, origin: str, answer_seconds: float) -> None:
        self.origin = origin  # https://name
        self._host = origin.partition("://")[2].encode("ascii")
        self._transport = httpx.AsyncHTTPTransport(
            trust_env=False,
            retries=policy.CONNECT_RETRIES,  # of connecting: nothing has been sent by then
            limits=httpx.Limits(
                max_connections=policy.LIVE_REQUESTS_MAX, max_keepalive_connections=policy.SPARE_CONNECTIONS
            ),
        )
        self._timeouts = httpx.Timeout(
            connect=policy.CONNECT_SECONDS,
            write=policy.UPLOAD_SECONDS,
            read=answer_seconds,
            pool=policy.CONNECT_SECONDS,
        ).as_dict()

    @asynccontextmanager
    async def ask(
        self, method: str, target: bytes, headers: Headers, body: Body | None
    ) -> AsyncIterator[httpx.Response]:
        """The answer, its body still to come; leaving early closes the connection, which cancels the request.

        `target` goes on the wire byte for byte. UpstreamFailed, UpstreamSilent, and what Body raises.
        """
        extensions = {"timeout": self._timeouts, "target": target}
        named = [(b"host", self._host), *headers]
        request = httpx.Request(method, self.origin, headers=named, stream=body, extensions=extensions)
        with translated():
            answer = await self._transport.handle_async_request(request)
        try:
            yield answer
        finally:
            await answer.aclose()

    async def close(self) -> None:
        """Close all connections."""
        await self._transport.aclose()


@contextmanager
def translated() -> Iterator[None]:
    """httpx's errors as ours. What they say may name addresses: that is for the log, not for the caller."""
    try:
        yield
    except httpx.TimeoutException as problem:
        raise UpstreamSilent(f"no answer in time ({type(problem).__name__})") from problem
    except httpx.TransportError as problem:
        raise UpstreamFailed(f"no usable answer ({type(problem).__name__})") from problem
