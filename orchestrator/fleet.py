"""Puts a sweep together: from settings to its orders, and to the VMs of all zones."""

import asyncio
import re
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial

from orchestrator.agent_credentials import NoCredential
from orchestrator.agents import Agents
from orchestrator.clock import SystemClock
from orchestrator.credentials import Credentials, open_credentials
from orchestrator.errors import BadUsage, MayflyError
from orchestrator.events import Event, Note
from orchestrator.google_compute import GoogleCompute
from orchestrator.google_project import GoogleProject, open_project
from orchestrator.policy import Policy
from orchestrator.ports import Addresses, Clock, Inventory
from orchestrator.seen import STATE_ATTRIBUTE, Machine
from orchestrator.sweep_settings import SweepSettings
from orchestrator.swept import SweepOrder
from orchestrator.wiring import GoogleWorld, compute_endpoint, holder, storage_endpoint

_THREADS_PER_VM = 4  # a look, the stop's wait, the mark's wait, a renewal
_A_ZONE = r"[a-z]+(-[a-z]+)+\d+-[a-z][a-z0-9]*"


class GoogleFleet:
    """The port `Fleet` on Google Cloud, or on an emulator of it. Who we are to its agents is found out once a VM
    may be abandoned.
    """

    def __init__(
        self,
        settings: SweepSettings,
        policy: Policy,
        clock: Clock,
        google: GoogleProject,
        tell: Callable[[Event], None],
    ) -> None:
        self.policy = policy
        self.inventory: Inventory = google.inventory
        self.clock = clock
        self.tell = tell
        self._settings = settings
        self._google = google
        self._zones: dict[str, GoogleCompute] = {}
        self._agents = Agents(settings, policy, clock)
        self._credentials: Credentials | None = None
        self._reading = asyncio.Lock()

    async def world(self, zone: str, machine: Machine, tell: Callable[[Event], None]) -> GoogleWorld:
        """The world of the VMs of one zone; one that was made for its run has its own, for its lease is elsewhere."""
        async with self._reading:
            if self._credentials is None:
                self._credentials = await self._open_credentials()
        client = partial(self._agents.client, self._credentials(zone, machine.name), zone)
        if (lease_url := machine.metadata.get(STATE_ATTRIBUTE)) is not None:
            google = self._google.created(zone, machine.name, lease_url, storage_endpoint(self._settings))
            return GoogleWorld(self.policy, self.clock, google, client, tell)
        if zone not in self._zones:
            self._zones[zone] = self._google.zone(zone)
        return GoogleWorld(self.policy, self.clock, self._zones[zone], client, tell)

    def addresses(self, region: str) -> Addresses:
        """The reserved addresses of one region."""
        return self._google.region(region)

    async def aclose(self) -> None:
        """Close the connections; nobody waits for a request still in flight."""
        await self._agents.aclose()
        self._google.close()

    async def _open_credentials(self) -> Credentials:
        """Without any, agents count as silent; that must not keep a sweep from what needs no word of theirs."""
        try:
            return await open_credentials(self._settings, self.policy, self.clock)
        except MayflyError as error:
            self.tell(Note("WARNING", f"We have nothing to show the agents, so they count as silent: {error}"))
            nothing = NoCredential(error)
            return lambda _zone, _instance: nothing


def make_sweep(settings: SweepSettings, *, zone: str | None, dry_run: bool) -> SweepOrder:
    """The sweep as ordered. BadUsage if `zone` is none: nothing found there would look like all being well."""
    if zone is not None and not re.fullmatch(_A_ZONE, zone):
        raise BadUsage(f"--zone {zone} is not a zone: they look like us-central1-a")
    return SweepOrder(
        project=settings.project_id,
        zone=zone,
        holder=f"sweep by {holder(settings)}",
        nonce=secrets.token_hex(8),
        reach=settings.agent_reach,
        agent_port=settings.agent_port,
        dry_run=dry_run,
    )


@asynccontextmanager
async def open_fleet(
    settings: SweepSettings, policy: Policy, tell: Callable[[Event], None]
) -> AsyncIterator[GoogleFleet]:
    """The fleet of one sweep."""
    clock = SystemClock()
    google = await asyncio.to_thread(
        open_project,
        settings.project_id,
        policy,
        clock,
        compute_endpoint(settings),
        metadata_host=settings.gce_metadata_host,
        threads=policy.sweep_at_once * _THREADS_PER_VM,
    )
    fleet = GoogleFleet(settings, policy, clock, google, tell)
    try:
        yield fleet
    finally:
        await fleet.aclose()
