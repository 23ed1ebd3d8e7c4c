"""The connections to one agent: one request, one answer, and to whom it may be said."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from ssl import SSLContext
from typing import Any, TypeVar

import httpx

from orchestrator.agent_errors import refusal
from orchestrator.agent_proof import Proof
from orchestrator.agent_tls import from_a_stranger, from_no_tls, trusting
from orchestrator.errors import AgentFault, AgentUnproven, Transient
from orchestrator.policy import Policy
from vm_agent.protocol import Greeting

T = TypeVar("T")

_BODY_BYTES_MAX = 16 << 20  # a few runs with the largest result each; more is not our agent


@dataclass(frozen=True)
class Answer:
    """One answer, whole."""

    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)


class _Stranger(Exception):
    """Has not the key of the certificate that we trust: the handshake broke off, and nothing was said."""


class AgentLine:
    """Without a proof: plain HTTP with whoever answers. With one, a greeting may be said to who has the certificate
    that the VM published, and everything else to those alone for whom Google's word was heard, too.
    """

    def __init__(
        self,
        base_url: str,
        auth: httpx.Auth,
        policy: Policy,
        proof: Proof | None,
        transport: httpx.AsyncBaseTransport | None,
    ) -> None:
        self.url = base_url
        self._auth, self._policy, self._proof, self._transport = auth, policy, proof, transport
        self._nobody = trusting(None)
        self._by_trust: dict[SSLContext, httpx.AsyncClient] = {}

    async def aclose(self) -> None:
        """Close the connections."""
        for http in self._by_trust.values():
            await http.aclose()

    async def greet(self, headers: Mapping[str, str]) -> Answer:
        """GET /, in one short try; but if a stranger answers, it is first looked up whom the VM has there."""
        whole = self._policy.agent_connect + self._policy.agent_answer
        while True:
            trusted = self._proof.context if self._proof else self._nobody
            try:
                async with asyncio.timeout(whole.total_seconds()):
                    return await self._exchange(trusted, "GET", "/", timedelta(), headers=headers)
            except _Stranger:
                assert self._proof is not None  # noqa: S101 - without one there are no strangers
                await self._proof.look_up(trusted)
            except TimeoutError as silence:
                raise self._lost(silence) from silence

    async def check(self, greeting: Greeting) -> None:
        """Whether that was the agent's word: WrongMachine, AgentUnproven."""
        if self._proof is not None:
            await self._proof.check(greeting)

    async def to_the_proven(self, once: Callable[[], Awaitable[T]], greet: Callable[[], Awaitable[object]]) -> T:
        """What `once` asks, after a greeting if nobody is proven (any more)."""
        if self._proof is not None and self._proof.proven is None:
            await greet()
        try:
            return await once()
        except _Stranger as stranger:
            if self._proof is not None:
                self._proof.proven = None  # another boot, or somebody in between
            raise self._lost(stranger) from stranger

    async def send(self, method: str, path: str, *, wait: timedelta = timedelta(), **request: Any) -> Answer:
        """One request, one answer, bounded in size; whatever happens to the connection is Transient."""
        return await self._exchange(self._proven(), method, path, wait, **request)

    async def open(self, url: str, offset: int) -> httpx.Response:
        """The answer to a download, with its body still to come."""
        headers = {"Range": f"bytes={offset}-"} if offset else {}
        http = self._http(self._proven())
        request = http.build_request("GET", url, headers=headers, timeout=self._timeout(timedelta()))
        try:
            response = await http.send(request, stream=True)
            if response.status_code == (httpx.codes.PARTIAL_CONTENT if offset else httpx.codes.OK):
                return response
            body = await response.aread()
        except httpx.TransportError as error:
            raise self._broken(error) from error
        raise refusal(response.status_code, body, "send the file")

    async def _exchange(self, trusted: SSLContext, method: str, path: str, wait: timedelta, **request: Any) -> Answer:
        body = bytearray()
        try:
            async with self._http(trusted).stream(method, path, timeout=self._timeout(wait), **request) as response:
                async for piece in response.aiter_raw():
                    body += piece
                    if len(body) > _BODY_BYTES_MAX:
                        raise AgentFault(f"{self.url} answered {method} {path} with more than {_BODY_BYTES_MAX} bytes.")
        except httpx.TransportError as error:
            raise self._broken(error) from error
        return Answer(response.status_code, response.headers, bytes(body))

    def _proven(self) -> SSLContext:
        if self._proof is None:
            return self._nobody
        if self._proof.proven is None:
            raise _Stranger
        return self._proof.proven

    def _http(self, trusted: SSLContext) -> httpx.AsyncClient:
        """Connections under that trust; those under another one are not used again."""
        if trusted not in self._by_trust:
            self._by_trust[trusted] = httpx.AsyncClient(
                base_url=self.url,
                headers={"Accept-Encoding": "identity"},
                auth=self._auth,
                trust_env=False,  # straight to that address: no proxy gets to see what we show
                verify=trusted,
                transport=self._transport,
            )
        return self._by_trust[trusted]

    def _timeout(self, wait: timedelta) -> httpx.Timeout:
        answer = (self._policy.agent_answer + wait).total_seconds()
        return httpx.Timeout(answer, connect=self._policy.agent_connect.total_seconds())

    def _broken(self, error: httpx.TransportError) -> Exception:
        """What it means that a connection did not come about, or broke off."""
        if self._proof is not None and isinstance(error, httpx.ConnectError):
            if from_a_stranger(error):
                return _Stranger()
            if from_no_tls(error):
                return AgentUnproven(
                    f"Somebody answers at {self.url}, but not in TLS: {error}. Nothing was asked of it."
                )
        return self._lost(error)

    def _lost(self, error: Exception) -> Transient:
        return Transient(f"The agent at {self.url} does not answer: {type(error).__name__} {error}.")
