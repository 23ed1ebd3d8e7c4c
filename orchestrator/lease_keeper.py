"""Keeps the lease: one writer at a time, each write from a fresh look, renewed until it is given back."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

from orchestrator.errors import Conflict, LeaseLost
from orchestrator.events import Event, Note
from orchestrator.lease import Lease
from orchestrator.ports import World
from orchestrator.run import Run
from orchestrator.seen import Machine

Change = Callable[[Lease, datetime], Lease]


class LeaseKeeper:
    """Our hold on one VM's lease."""

    def __init__(self, run: Run, world: World, tell: Callable[[Event], None]) -> None:
        self.lost = asyncio.Event()  # somebody else has it now
        self._run = run
        self._world = world
        self._tell = tell
        self._turn = asyncio.Lock()
        self._held: Lease | None = None  # as we wrote it last; None before the claim and once we give it back

    async def claim(self, machine: Machine, lease: Lease) -> None:
        """Write the first lease over what `machine` showed, or raise Conflict. A re-read then tells whose it is."""
        await self._world.leases.write(machine, lease)
        self._held = lease

    async def look(self) -> Machine:
        """The VM. A lease that was wiped off it is still ours: to take it, somebody has to write one of his own."""
        machine = await self._world.machines.look(self._run.instance)
        return replace(machine, lease=self._held) if machine.lease is None else machine

    async def amend(self, change: Change) -> None:
        """Write what `change` makes of the lease and of Google's time; raises LeaseLost if it is not ours any more."""
        async with self._turn:
            for _ in range(self._world.policy.lease_conflicts):
                machine = await self.look()
                if machine.lease is None or machine.lease.nonce != self._run.nonce:
                    raise LeaseLost(f"Somebody else took the lease on {self._run.instance}; it was left to them.")
                lease = change(machine.lease, machine.seen_at)
                try:
                    await self._world.leases.write(machine, lease)
                except Conflict:
                    continue  # somebody else's metadata, not our lease: merge with it and try again
                self._held = self._held and lease
                return
            raise Conflict(f"Others keep writing the metadata of {self._run.instance}: the lease could not be written.")

    async def release(self, last_words: Change) -> None:
        """Give it back; the epoch and the outcomes stay, and what `last_words` adds to them."""
        self._held = None
        await self.amend(lambda lease, now: last_words(lease, now).released())

    async def renew_for_ever(self) -> None:
        """Renew while we hold it, until cancelled. A renewal that fails is tried again; one that finds another's nonce
        sets `lost` and ends."""
        policy, world = self._world.policy, self._world
        while True:
            await world.clock.sleep(policy.lease_renewal)
            if self._held is None:
                continue
            try:
                await self.amend(lambda lease, now: replace(lease, expires_at=now + policy.lease_ttl))
            except LeaseLost:
                if self._held is not None:
                    self.lost.set()
                return
            except Exception as error:  # noqa: BLE001 - a bug must not let the lease run out under a run
                self._tell(Note("WARNING", f"The lease on {self._run.instance} was not renewed: {error!r}"))
