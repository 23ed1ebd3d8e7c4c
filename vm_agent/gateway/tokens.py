"""The gateway's Google ID token: one for all callers, renewed before it expires, by one refresh at a time."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from urllib.parse import quote

from vm_agent.gateway import policy
from vm_agent.gateway.problems import NoIdentity
from vm_agent.identity import Metadata, expiry

log = logging.getLogger(__name__)

Fetch = Callable[[], Awaitable[str]]  # a fresh token; OSError when none can be had


class Tokens:
    """Holds the token while it is good. `now` is the wall clock in seconds, as `exp` is."""

    def __init__(self, fetch: Fetch, now: Callable[[], float]) -> None:
        self._fetch = fetch
        self._now = now
        self._token = ""
        self._expires = 0.0
        self._asked = float("-inf")  # when the last refresh ended
        self._why = ""  # it failed
        self._refresh: asyncio.Task[None] | None = None

    async def current(self) -> str:
        """A token that is good now, at once if there is one. NoIdentity when there is none."""
        if self._now() > self._expires - policy.TOKEN_AHEAD_SECONDS:
            refresh = self._refreshing()
            if refresh and self._now() >= self._expires:
                await asyncio.shield(refresh)  # the others wait for it too, whatever becomes of this caller
        if self._now() >= self._expires:
            raise NoIdentity(self._why)
        return self._token

    async def close(self) -> None:
        """No refresh goes on after this."""
        if self._refresh:
            self._refresh.cancel()
            await asyncio.wait([self._refresh])

    def _refreshing(self) -> asyncio.Task[None] | None:
        """The refresh under way, begun now if it is time."""
        if self._refresh and not self._refresh.done():
            return self._refresh
        if self._now() < self._asked + policy.TOKEN_AGAIN_SECONDS:
            return None
        self._refresh = asyncio.create_task(self._renew())
        return self._refresh

    async def _renew(self) -> None:
        try:
            token = await self._fetch()
            self._token, self._expires = token, expiry(token)
        except (OSError, ValueError) as problem:
            self._why = str(problem)
            log.error("no ID token: %s", problem)  # noqa: TRY400 - a fact about the machine, not a bug of ours
        finally:
            self._asked = self._now()


def from_metadata(metadata: Metadata, audience: str) -> Fetch:
    """Ask the metadata server for a token, a few times."""
    path = f"instance/service-accounts/default/identity?audience={quote(audience, safe='')}"

    async def fetch() -> str:
        for _ in range(policy.TOKEN_TRIES - 1):
            try:
                return await once()
            except OSError as problem:
                log.warning("%s", problem)
                await asyncio.sleep(policy.TOKEN_PAUSE_SECONDS)
        return await once()

    async def once() -> str:
        token = await metadata.read(path)
        if not token:
            raise OSError("this machine has no service account")
        return token.strip()

    return fetch
