"""The orchestrator's ports on Google, opened against a test's emulator or wire."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from orchestrator.clock import SystemClock
from orchestrator.google_compute import Created, GoogleCompute, open_google
from orchestrator.policy import Policy
from orchestrator.ports import Clock
from tests.contract.world import BUCKET, PROJECT, REGION, TEMPLATE, ZONE

STATE = f"gs://{BUCKET}/leases"


@asynccontextmanager
async def google_at(
    url: str, clock: Clock | None = None, policy: Policy | None = None, created: Created | None = None
) -> AsyncIterator[GoogleCompute]:
    """The ports, at that URL."""
    google = await asyncio.to_thread(
        open_google, PROJECT, REGION, ZONE, policy or Policy(), clock or SystemClock(), url, created
    )
    try:
        yield google
    finally:
        google.close()


def creating_at(
    url: str,
    *,
    instance: str = "worker-1",
    template: str = TEMPLATE,
    state_url: str = STATE,
    clock: Clock | None = None,
) -> AbstractAsyncContextManager[GoogleCompute]:
    """The same for a VM that is made for one run."""
    return google_at(url, clock, created=Created(template, state_url, instance, storage_endpoint=url))
