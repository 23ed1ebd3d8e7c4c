"""Puts the parts together: from settings to the run as ordered, and to the world it happens in."""

import asyncio
import getpass
import os
import secrets
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from orchestrator.agents import Agents
from orchestrator.clock import SystemClock
from orchestrator.credentials import open_credentials
from orchestrator.events import Event
from orchestrator.google_compute import Created, GoogleCompute, open_google
from orchestrator.keys import meaning_of, window_key
from orchestrator.policy import Policy
from orchestrator.ports import Addresses, Agent, Clock, Creation, Leases, Machines, Output
from orchestrator.run import OnInterrupt, Run
from orchestrator.seen import Machine
from orchestrator.settings import Settings
from vm_agent.protocol import Job, Mode

if TYPE_CHECKING:
    from orchestrator.agent_client import AgentClient


class GoogleWorld:
    """The port `World` on Google Cloud, or on an emulator of it."""

    def __init__(
        self,
        policy: Policy,
        clock: Clock,
        google: GoogleCompute,
        client: "Callable[[Machines, Machine, str], AgentClient]",
        tell: Callable[[Event], None],
    ):
        self.policy: Policy = policy
        self.clock: Clock = clock
        self.machines: Machines = google.machines
        self.leases: Leases = google.leases
        self.addresses: Addresses = google.addresses
        self.creation: Creation | None = google.creation
        self.agent: Callable[[Machine, str], Agent] = partial(client, google.machines)
        self.output: Callable[[Machine, str], Output] = partial(client, google.machines)
        self.tell: Callable[[Event], None] = tell


def policy_of(settings: Settings) -> Policy:
    """The numbers of `policy`, with those that the user set. Only Cloud Run kills us soon after its SIGTERM."""
    policy = replace(
        Policy(),
        boot=settings.boot_timeout,
        boot_margin=settings.boot_margin,
        lease_ttl=settings.lease_ttl,
        lease_renewal=settings.lease_ttl / 3,  # two renewals may fail
    )
    return policy if settings.on_cloud_run else replace(policy, after_sigterm=policy.down)


def make_run(
    settings: Settings,
    policy: Policy,
    *,
    mode: Mode,
    job: Job | None,
    params: dict[str, Any],
    key: str | None,
    now: datetime,
) -> Run:
    """The run as ordered. Without a `key` it is its window's, else this Cloud Run task's own."""
    meaning = meaning_of(job, params)
    window = window_key(settings.once_per, settings.tz, now, meaning) if settings.once_per and not key else None
    return Run(
        key=key or window or _key_of_task(settings) or f"{now:%Y%m%d-%H%M%S}-{secrets.token_hex(4)}",
        meaning=meaning,
        windowed=window is not None,
        attempts_most=policy.attempts if settings.on_interrupt is OnInterrupt.RERUN else 1,
        wait_for_lease=settings.wait_for_lease,
        task_attempt=settings.cloud_run_task_attempt,
        mode=mode,
        job=job,
        params=params,
        timeout=settings.timeout,
        max_run=policy.boot + settings.timeout + policy.boot_margin,
        holder=holder(settings),
        nonce=secrets.token_hex(8),
        project=settings.project_id,
        region=settings.region,
        zone=settings.zone,
        instance=settings.instance,
        ephemeral=settings.template is not None,
        address=settings.static_name,
        execution=settings.cloud_run_execution or "",
        task=settings.cloud_run_task_index,
        address_policy=settings.address_policy,
        on_running=settings.on_running,
        reach=settings.agent_reach,
        agent_port=settings.agent_port,
        out=settings.out,
        price_per_hour=settings.price_per_hour,
        currency=settings.currency,
    )


@asynccontextmanager
async def open_world(settings: Settings, policy: Policy, tell: Callable[[Event], None]) -> AsyncIterator[GoogleWorld]:
    """The world of one run; the clients are closed afterwards, and nobody waits for a request still in flight."""
    clock = SystemClock()
    google, credentials = await asyncio.gather(
        asyncio.to_thread(open_compute, settings, policy, clock), open_credentials(settings, policy, clock)
    )
    credential = credentials(settings.zone, settings.instance)  # it is there by the time the VM is
    agents = Agents(settings, policy, clock)
    try:
        yield GoogleWorld(policy, clock, google, partial(agents.client, credential, settings.zone), tell)
    finally:
        await agents.aclose()
        google.close()


def open_compute(settings: Settings, policy: Policy, clock: Clock) -> GoogleCompute:
    """Compute Engine, for the VM that the settings name. Blocks: it imports Google's library."""
    created = None
    if settings.template is not None and settings.state_url is not None:
        created = Created(settings.template, settings.state_url, settings.instance, storage_endpoint(settings))
    endpoint = compute_endpoint(settings)
    place = (settings.project_id, settings.region, settings.zone)
    return open_google(*place, policy, clock, endpoint, created, settings.gce_metadata_host)


def compute_endpoint(settings: Settings) -> str | None:
    """Where Compute Engine answers; None: at Google's."""
    return _url(settings.compute_emulator_host)


def storage_endpoint(settings: Settings) -> str | None:
    """Where Cloud Storage answers; None: at Google's."""
    return _url(settings.storage_emulator_host)


def _url(host: str | None) -> str | None:
    return host if host is None or "://" in host else f"http://{host}"


def _key_of_task(settings: Settings) -> str | None:
    if settings.cloud_run_execution is None:
        return None
    return f"{settings.cloud_run_execution}-{settings.cloud_run_task_index}"


def holder(settings: Settings) -> str:
    """Who we are, for the person who finds our lease."""
    if settings.cloud_run_execution is not None:
        task = f"task {settings.cloud_run_task_index}, attempt {settings.cloud_run_task_attempt}"
        return f"Cloud Run execution {settings.cloud_run_execution} ({task})"
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container may run as a user that has no name
        user = f"user {os.getuid()}"
    return f"{user} on {socket.gethostname()} (process {os.getpid()})"
