"""Sweep: finish what others left. It lists the cloud first, and touches only what carries our label and is abandoned.

For each VM: look, judge, ask its agent, claim its lease, look and ask once more, then come down as any run does.
Whose run it was, and whether that owner still exists, is all one: what counts is what the cloud and the agent show.
"""

import asyncio
import re
from collections.abc import Coroutine, Iterable, Sequence
from dataclasses import replace
from typing import TypeVar

from orchestrator.abandoned import (
    Judgement,
    at_first_sight,
    claimed,
    errand,
    judge,
    live_run,
    planned,
    unused,
    yielded,
)
from orchestrator.drive import come_down
from orchestrator.errors import BadUsage, Busy, Conflict, MayflyError, NotFound, Transient
from orchestrator.events import Event, Note, PhaseEnded, PhaseStarted
from orchestrator.goal import verdict_of
from orchestrator.ladder import lease_is_ours
from orchestrator.lease import Lease
from orchestrator.moves import give_back
from orchestrator.ports import Fleet, World
from orchestrator.run import Outcome, Reach, Verdict
from orchestrator.seen import STATE_ATTRIBUTE, Address, Listed, Listing, Machine, Seen
from orchestrator.swept import Finding, Standing, SweepOrder, SweepReceipt
from orchestrator.trip import Trip
from vm_agent.protocol import Greeting

_SWEPT = Verdict(Outcome.TERMINATED, "Swept.")  # of the job it says nothing: the agent's ledger remembers that

_PUT_RIGHT = "It was put right, and seen so."
_NOT_LISTED = "the VMs: called off before they were listed"
_A_PLACE = re.compile(r"[a-z0-9-]+")

T = TypeVar("T")


async def sweep(order: SweepOrder, fleet: Fleet, called_off: asyncio.Event) -> SweepReceipt:
    """One sweep of the project. Raises BadUsage; every other ending is a receipt.

    Setting `called_off` begins nothing new; what is in flight has `policy.after_sigterm` to get its stop out.
    """
    started_at = fleet.clock.now()
    listing = await _unless_called_off(_listed(fleet), called_off) or Listing((), (_NOT_LISTED,))
    wanted = [vm for vm in listing.found if order.zone in {None, vm.place}]
    errands = [_Errand(vm, order, fleet, called_off) for vm in wanted]
    await _all_in_time(errands, fleet, called_off)
    addresses = await _unless_called_off(_unused_addresses(order, fleet), called_off) or []
    return SweepReceipt(
        project=order.project,
        zone=order.zone,
        started_at=started_at,
        findings=(*(one.finding for one in errands), *addresses),
        unseen=listing.unseen if order.zone is None else tuple(_about(order.zone, listing.unseen)),
        dry_run=order.dry_run,
        called_off=called_off.is_set(),
    )


async def _unless_called_off(asking: Coroutine[None, None, T], called_off: asyncio.Event) -> T | None:
    """What is asked for, or None once we are called off: whoever only asks is left behind."""
    asked, signal = asyncio.create_task(asking), asyncio.create_task(called_off.wait())
    await asyncio.wait({asked, signal}, return_when=asyncio.FIRST_COMPLETED)
    signal.cancel()
    if asked.done():
        return asked.result()
    asked.cancel()
    return None


async def _listed(fleet: Fleet) -> Listing[Machine]:
    try:
        return await fleet.inventory.machines()
    except BadUsage:
        raise
    except MayflyError as error:
        return Listing((), (str(error),))


def _about(zone: str, unseen: Iterable[str]) -> Iterable[str]:
    """What of the unseen may hide something in this zone: itself, or all of the project."""
    return (what for what in unseen if what == zone or not _A_PLACE.fullmatch(what))


async def _unused_addresses(order: SweepOrder, fleet: Fleet) -> list[Finding]:
    """What they cost is worth a word, and not a failure: what a run left attached, its VM's own sweep takes off."""
    try:
        listing = await fleet.inventory.addresses()
    except MayflyError as error:
        fleet.tell(Note("WARNING", f"The reserved addresses could not be listed: {error}"))
        return []
    here = [one for one in listing.found if order.zone is None or order.zone.startswith(f"{one.place}-")]
    findings = [(one, unused(one, fleet.clock.now(), fleet.policy)) for one in here]
    return [await _given_back(one, finding, order, fleet) for one, finding in findings if finding is not None]


async def _given_back(listed: Listed[Address], finding: Finding, order: SweepOrder, fleet: Fleet) -> Finding:
    if finding.standing is not Standing.ABANDONED or order.dry_run:
        return finding
    try:
        await give_back(listed.thing, fleet.addresses(listed.place))
    except MayflyError as error:
        return replace(finding, why=f"{finding.why} {error}", acted=True)
    return replace(finding, why=f"{finding.why} It was given back.", acted=True, owed=False)


async def _all_in_time(errands: "Sequence[_Errand]", fleet: Fleet, called_off: asyncio.Event) -> None:
    """All of them; once called off, for as long as a signal leaves. One that is cut off stays owed."""
    turn = asyncio.Semaphore(fleet.policy.sweep_at_once)

    async def in_turn(one: _Errand) -> None:
        async with turn:
            await one.carry_out()

    tasks = {asyncio.create_task(in_turn(one)) for one in errands}
    signal = asyncio.create_task(called_off.wait())
    pending = tasks
    while pending and not signal.done():
        await asyncio.wait({*pending, signal}, return_when=asyncio.FIRST_COMPLETED)
        pending = {task for task in tasks if not task.done()}
    signal.cancel()
    if pending:
        _, pending = await asyncio.wait(pending, timeout=fleet.policy.after_sigterm.total_seconds())
    for task in pending:
        task.cancel()
    for task in tasks - pending:
        task.result()  # it catches every Exception: what comes here ends the whole process


class _Errand:
    """One VM: from the look to its lease given back. `finding` says at any time how it stands."""

    def __init__(self, vm: Listed[Machine], order: SweepOrder, fleet: Fleet, called_off: asyncio.Event) -> None:
        self.finding = Finding("vm", vm.thing.name, vm.place, Standing.AT_REST, "")
        self._vm = vm
        self._order = order
        self._fleet = fleet
        self._called_off = called_off
        self._before: Lease | None = None  # the lease that we claimed, as it was
        self._found(vm.thing, at_first_sight(vm.thing, fleet.policy))  # most are at rest, and need no look of their own

    async def carry_out(self) -> None:
        """Whatever goes wrong with one VM keeps nobody from the others."""
        try:
            if self.finding.standing is Standing.ABANDONED or STATE_ATTRIBUTE in self._vm.thing.metadata:
                await self._look_and_act()
        except NotFound:
            self._conclude(Standing.GONE, "It was deleted meanwhile.", owed=False)
        except MayflyError as error:
            self._conclude(self.finding.standing, f"{self.finding.why} {error}", owed=True)
        except Exception as bug:  # noqa: BLE001 - a bug of ours met one VM: the others are still to be swept
            self._conclude(self.finding.standing, f"{self.finding.why} A bug in Mayfly: {bug!r}.", owed=True)

    async def _look_and_act(self) -> None:
        """Until a look shows our claim, or that there is nothing for us to do here."""
        world = await self._fleet.world(self._vm.place, self._vm.thing, self._tell)
        error: MayflyError | None = None
        trip: Trip | None = None
        for _ in range(world.policy.lease_conflicts):
            machine = await world.machines.look(self._vm.thing.name)
            if machine.gone:
                raise NotFound(f"{machine.name} is gone.")
            if trip is not None and lease_is_ours(Seen(machine), trip.run):
                await self._put_right(trip, machine)
                return
            self._found(machine, await self._judged(machine, world))
            if self.finding.standing is not Standing.ABANDONED or self._order.dry_run or self._called_off.is_set():
                return
            trip = Trip(errand(self._order, self._vm.place, machine), world, self._called_off)
            error = await self._claim(trip, machine)
        raise error or Conflict(f"The claim on {self._vm.thing.name} does not show.")

    async def _judged(self, machine: Machine, world: World) -> Judgement:
        judged = judge(machine, world.policy)
        if judged.standing is not Standing.ABANDONED or not machine.running:
            return judged
        # Without an epoch: a higher one would cut off an orchestrator that is still at work.
        return live_run(machine, await self._ask(machine, world, epoch=None), world.policy) or judged

    async def _claim(self, trip: Trip, machine: Machine) -> MayflyError | None:
        """What went wrong, if anything did: the next look tells whether the claim is there all the same."""
        self._before = machine.lease or Lease(epoch=0)
        trip.takes_over(self._before)
        lease = claimed(self._before, self._order, machine.seen_at, trip.world.policy)
        try:
            with trip.phase("claim", f"Claiming the lease that was left on {machine.name}"):
                await trip.keeper.claim(machine, lease)
        except (Conflict, Transient) as error:
            return error
        return None

    async def _put_right(self, trip: Trip, machine: Machine) -> None:
        """The claim shows. Told of it, the agent lets nobody else begin: what it says now, stays."""
        self.finding = replace(self.finding, acted=True)
        self._account(trip)
        live = None
        if machine.running:
            greeting = await self._ask(machine, trip.world, epoch=Seen(machine).epoch)
            live = live_run(machine, greeting, trip.world.policy)
        if live is not None:
            await trip.keeper.amend(lambda claim, _now: yielded(claim, self._before or claim))
            self._found(machine, live)
            return
        renewing = asyncio.create_task(trip.keeper.renew_for_ever())
        try:
            clean = await come_down(trip, await self._what_became_of_it(trip, machine))
        finally:
            renewing.cancel()
            self._account(trip)
        if clean:
            self._conclude(Standing.ABANDONED, f"{self.finding.why} {_PUT_RIGHT}", owed=False)
        elif (taken := _taken_over(trip)) is not None:
            self._found(taken, judge(taken, trip.world.policy))
        else:
            on = "it was not seen off: it may still be on, and cost money" if trip.left_on else "it is off"
            told = f"{self.finding.why} The clean-up was not seen done; {on}. {trip.in_the_way}".rstrip()
            self._conclude(Standing.ABANDONED, told, owed=True)

    async def _what_became_of_it(self, trip: Trip, machine: Machine) -> Verdict:
        """A ledger that goes with its VM is asked while it is there."""
        ip = self._ip(machine)
        if not (machine.running and trip.run.ephemeral and ip):
            return _SWEPT
        try:
            trip.view = await trip.world.agent(machine, ip).find(trip.run.key, trip.run.mode)
        except MayflyError:
            return _SWEPT
        trip.unread = False
        return verdict_of(trip.view) or _SWEPT

    def _ip(self, machine: Machine) -> str | None:
        config = machine.access_config
        return machine.internal_ip if self._order.reach is Reach.INTERNAL else config.ip if config else None

    async def _ask(self, machine: Machine, world: World, epoch: int | None) -> Greeting | None:
        """Who answers at its address. Busy: it has heard of a later claim than ours."""
        ip = self._ip(machine)
        if not ip:
            return None
        try:
            return await world.agent(machine, ip).greet(epoch)
        except Busy:
            raise
        except MayflyError as error:
            self._tell(Note("WARNING", f"The agent on {machine.name} counts as silent: {error}"))
            return None

    def _found(self, machine: Machine, judged: Judgement) -> None:
        """Remember what a look has shown."""
        abandoned = judged.standing is Standing.ABANDONED
        self.finding = replace(
            self.finding,
            standing=judged.standing,
            why=judged.why,
            status=machine.status,
            id=machine.id,
            moves=planned(machine) if abandoned and self._order.dry_run else self.finding.moves,
            owed=abandoned or judged.standing is Standing.STUCK,
        )

    def _conclude(self, standing: Standing, why: str, *, owed: bool) -> None:
        self.finding = replace(self.finding, standing=standing, why=why, owed=owed)

    def _account(self, trip: Trip) -> None:
        status = trip.machine.status if trip.machine is not None else self.finding.status
        moves = tuple(dict.fromkeys(phase.name for phase in trip.phases))
        self.finding = replace(self.finding, status=status, moves=moves, phases=tuple(trip.phases))

    def _tell(self, event: Event) -> None:
        """Several VMs are swept at once: each event says of which it speaks."""
        if isinstance(event, PhaseStarted | PhaseEnded):
            event = replace(event, name=f"{self._vm.place}/{self._vm.thing.name} {event.name}")
        self._fleet.tell(event)


def _taken_over(trip: Trip) -> Machine | None:
    """The VM, if the last look shows that somebody else has it now."""
    machine = trip.machine
    theirs = machine is not None and machine.lease is not None and not lease_is_ours(Seen(machine), trip.run)
    return machine if theirs else None
