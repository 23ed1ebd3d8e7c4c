"""Keeps the lease: one writer at a time, each write from a fresh look, renewed until it is given back."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

from orchestrator.errors import Conflict, LeaseLost, MayflyError
from orchestrator.events import Note
from orchestrator.lease import Lease
from orchestrator.ports import World
from orchestrator.run import Run
from orchestrator.seen import Machine

Change = Callable[[Lease, datetime], Lease]


class LeaseKeeper:
    """Our hold on one VM's lease."""

    def __init__(self, run: Run, world: World) -> None:
        self.lost = asyncio.Event()  # somebody else has it now
        self._run = run
        self._world = world
        self._turn = asyncio.Lock()
        self._held = False

    async def claim(self, machine: Machine, lease: Lease) -> None:
        """Write the first lease over what `machine` showed, or raise Conflict. A re-read then tells whose it is."""
        await self._world.leases.write(machine, lease)
        self._held = True

    async def amend(self, change: Change) -> None:
        """Write what `change` makes of the lease and of Google's time; raises LeaseLost if it is not ours any more."""
        async with self._turn:
            for _ in range(self._world.policy.lease_conflicts):
                machine = await self._world.machines.look(self._run.instance)
                if machine.lease is None or machine.lease.nonce != self._run.nonce:
                    raise LeaseLost(f"Somebody else took the lease on {self._run.instance}; it was left to them.")
                try:
                    return await self._world.leases.write(machine, change(machine.lease, machine.seen_at))
                except Conflict:
                    continue  # somebody else's metadata, not our lease: merge with it and try again
            raise Conflict(f"Others keep writing the metadata of {self._run.instance}: the lease could not be written.")

    async def release(self) -> None:
        """Give it back; the epoch and the outcomes stay."""
        self._held = False
        await self.amend(lambda lease, _now: lease.released())

    async def renew_for_ever(self) -> None:
        """Renew while we hold it, until cancelled. A renewal that fails is tried again; one that finds another's nonce
        sets `lost` and ends."""
        policy, world = self._world.policy, self._world
        while True:
            await world.clock.sleep(policy.lease_renewal)
            if not self._held:
                continue
            try:
                await self.amend(lambda lease, now: replace(lease, expires_at=now + policy.lease_ttl))
            except LeaseLost:
                if self._held:
                    self.lost.set()
                return
            except MayflyError as error:
                world.tell(Note("WARNING", f"The lease on {self._run.instance} was not renewed: {error}"))
