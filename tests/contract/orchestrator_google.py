"""The orchestrator's ports on Google, opened against a test's emulator or wire."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from orchestrator.clock import SystemClock
from orchestrator.google_compute import GoogleCompute, open_google
from orchestrator.policy import Policy
from orchestrator.ports import Clock
from tests.contract.world import PROJECT, REGION, ZONE


@asynccontextmanager
async def google_at(url: str, clock: Clock | None = None, policy: Policy | None = None) -> AsyncIterator[GoogleCompute]:
    """The three ports, at that URL."""
    google = await asyncio.to_thread(
        open_google, PROJECT, REGION, ZONE, policy or Policy(), clock or SystemClock(), url
    )
    try:
        yield google
    finally:
        google.close()
