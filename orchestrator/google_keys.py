"""Google's word, in tokens: checked with the keys that it publishes, which are fetched ahead of their first use."""

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import httpx

from orchestrator.policy import Policy
from orchestrator.ports import Clock
from orchestrator.threads import IMPORTING
from vm_agent.protocol import CERTS_URL

if TYPE_CHECKING:
    from vm_agent.signed import GoogleKeys


class KeysOfGoogle:
    """The keys of one Google, or of an emulator of it (`url`)."""

    def __init__(self, url: str | None, policy: Policy, clock: Clock) -> None:
        self._url, self._policy, self._clock = url or CERTS_URL, policy, clock
        self._ahead: asyncio.Task[bytes] | None = None
        self._importing: asyncio.Task[GoogleKeys] | None = None

    def prepare(self) -> None:
        """Begin what takes a while, so that nobody has to wait for it once a VM is up."""
        if self._importing is None:
            self._importing = asyncio.create_task(asyncio.to_thread(self._import))
            self._ahead = asyncio.create_task(self._get())

    async def claims(self, token: str, audience: str) -> Mapping[str, Any]:
        """What Google says in it. `vm_agent.signed.BadToken` if it does not, `NoKeys` if that cannot be told."""
        self.prepare()
        assert self._importing is not None  # noqa: S101 - just begun
        return await (await asyncio.shield(self._importing)).claims(token, audience)

    async def aclose(self) -> None:
        """Leave what is under way."""
        tasks = [task for task in (self._ahead, self._importing) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _import(self) -> "GoogleKeys":
        with IMPORTING:
            from vm_agent.signed import GoogleKeys  # noqa: PLC0415 - it brings a large library of cryptography with it
        return GoogleKeys(self._fetch, lambda: self._clock.now().timestamp())

    async def _fetch(self) -> bytes:
        ahead, self._ahead = self._ahead, None
        return await (ahead or self._get())

    async def _get(self) -> bytes:
        async with httpx.AsyncClient(timeout=self._policy.agent_answer.total_seconds()) as http:
            return (await http.get(self._url)).raise_for_status().content
