"""What an agent finds on its VM: a metadata server, a clock, and no GPU."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qsl

from gcp_emulator.wire import Reply, Request
from tests.simulation.loop import VirtualLoop
from vm_agent.gpu import NoGpu
from vm_agent.identity import Metadata, _Answer

BEGINNING = datetime(2026, 3, 1, 12, tzinfo=UTC)


class MetadataWire(Metadata):
    """The agent's own reader, over the simulated metadata server."""

    def __init__(self, instance: str, ask: Callable[[str, Request], Awaitable[Reply]]) -> None:
        super().__init__("metadata")
        object.__setattr__(self, "_instance", instance)
        object.__setattr__(self, "_asked", ask)

    async def _exchange(self, method: str, path: str, body: bytes) -> _Answer:
        where, _, query = path.partition("?")
        asked = dict(parse_qsl(query))
        request = Request(method, f"/computeMetadata/v1/{where}", asked, {"metadata-flavor": "Google"}, body)
        reply = await self._asked(self._instance, request)  # type: ignore[attr-defined]
        tag = next((value for name, value in reply.headers.items() if name.lower() == "etag"), "")
        return _Answer(reply.status, reply.body.decode(), tag)


class NoGpuHere:
    """This VM has none."""

    async def look(self) -> list[dict[str, Any]]:
        """Raise NoGpu."""
        raise NoGpu("none")


class BootClock:
    """Time as this boot has it."""

    def __init__(self, loop: VirtualLoop, booted_at: float) -> None:
        self._loop, self._booted_at = loop, booted_at

    def uptime(self) -> float:
        """Seconds since the boot."""
        return self._loop.time() - self._booted_at

    def now(self) -> datetime:
        """The wall clock."""
        return BEGINNING + timedelta(seconds=self._loop.time())

    async def sleep(self, seconds: float) -> None:
        """Let virtual time pass."""
        await asyncio.sleep(seconds)
