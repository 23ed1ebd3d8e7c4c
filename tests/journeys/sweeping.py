"""What the journeys of sweeps share: an orchestrator that dies, time that a lease takes to run out, and a sweep."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from gcp_emulator.exports import exports
from orchestrator.events import Event, PhaseStarted
from orchestrator.fleet import make_sweep, open_fleet
from orchestrator.lease import Lease, Phase
from orchestrator.policy import Policy, seconds
from orchestrator.sweep import sweep as sweep_up
from orchestrator.sweep_settings import SweepSettings
from orchestrator.swept import SweepReceipt
from tests.journeys.lab import IMPATIENT, Lab


def sweep_settings(lab: Lab, **changes: Any) -> SweepSettings:
    given = {
        "project_id": "demo",
        "compute_emulator_host": lab.emulator.host,
        "secret_manager_emulator_host": lab.emulator.host,
        "gce_metadata_host": lab.emulator.host,
        "mayfly_certs_url": exports(lab.emulator.port)["MAYFLY_CERTS_URL"],
    }
    return SweepSettings(**given | changes)


async def sweep(
    lab: Lab,
    *,
    policy: Policy = IMPATIENT,
    called_off: asyncio.Event | None = None,
    only: str | None = None,
    dry_run: bool = False,
    tell: Callable[[Event], None] | None = None,
    **settings: Any,
) -> SweepReceipt:
    """`mayfly sweep`, in this process, by somebody who has not even heard of the VM."""
    chosen = sweep_settings(lab, **settings)
    async with open_fleet(chosen, policy, tell or lab.told.append) as fleet:
        order = make_sweep(chosen, zone=only, dry_run=dry_run)
        return await sweep_up(order, fleet, called_off or asyncio.Event())


class Killed(BaseException):
    """Nobody catches it: whoever it meets never says another word, as after SIGKILL."""


async def abandoned_at(lab: Lab, phase: str, *, job: str = "main:run", **run: Any) -> Lease:
    """An orchestrator is killed as that phase begins, and then its lease runs out."""
    await killed_at(lab, phase, job=job, **run)
    return await run_out(lab)


async def killed_at(lab: Lab, phase: str, *, job: str = "main:run", **run: Any) -> None:
    """An orchestrator is killed as that phase begins."""

    def kill(event: Event) -> None:
        lab.told.append(event)
        if isinstance(event, PhaseStarted) and event.name == phase:
            raise Killed

    with pytest.raises(Killed):
        await lab.run(job, tell=kill, **run)


async def run_out(lab: Lab, vm: str = "gpu-vm", *, deadline_too: bool = False, **changes: Any) -> Lease:
    """Nobody has minutes to wait: the lease on the VM is made to say that it ran out L ago, and so did the deadline."""
    lease = await lab.lease(vm)
    assert lease is not None
    past = datetime.now(UTC) - IMPATIENT.request - seconds(2)
    gone = replace(lease, expires_at=past, **changes)
    if deadline_too:
        gone = replace(gone, run_deadline=past)
    await lab.write_lease(gone.to_json(), vm)
    return gone


async def left_lease(lab: Lab, vm: str, **changes: Any) -> Lease:
    """A run that died over this VM, as far as its lease tells; it never got to its agent."""
    lease = Lease(epoch=7, nonce="theirs", key="monday", holder="somebody", phase=Phase.CLAIMED)
    await lab.write_lease(replace(lease, **changes).to_json(), vm)
    return await run_out(lab, vm)


async def all_is_given_back(lab: Lab) -> bool:
    lease = await lab.lease()
    free = lease is not None and lease.phase is Phase.FREE
    return free and (await lab.vm())["status"] == "TERMINATED" and (await lab.address())["status"] == "RESERVED"
