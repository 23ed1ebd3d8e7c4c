"""The sweep's own Cloud Run job: every ten minutes, whenever an event says so, and never tried again by itself."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from gcp_emulator.seed import DEMO_PROJECT
from orchestrator.errors import MayflyError
from orchestrator.events import Event
from orchestrator.google_errors import Subject
from orchestrator.lease import Lease
from orchestrator.policy import Policy
from orchestrator.ports import Addresses, Clock, Inventory, World
from orchestrator.seen import OUR_LABEL, Address, Listed, Listing, Machine
from orchestrator.sweep import sweep
from orchestrator.swept import Finding, Standing, SweepOrder, SweepReceipt
from tests.simulation.cloud_door import CloudDoor, address_of, machine_of
from tests.simulation.loop import Process
from tests.simulation.platform import POLICY, SimulatedWorld, TaskProcess
from tests.simulation.universe import Universe

OURS = "labels.{}={}".format(*OUR_LABEL)


class SimulatedInventory:
    """The port Inventory: one aggregated list each; what fits on one page."""

    def __init__(self, door: CloudDoor, clock: Clock) -> None:
        self._door, self._clock = door, clock

    async def machines(self) -> Listing[Machine]:
        """instances.aggregatedList, timed by Google's clock, which is ours here."""
        now = self._clock.now()
        listed = [Listed(place, machine_of(shown, now)) async for place, shown in self._list("instances")]
        return Listing(tuple(one for one in listed if one.thing.labelled_ours))

    async def addresses(self) -> Listing[Address]:
        """addresses.aggregatedList."""
        listed = [Listed(place, address_of(shown)) async for place, shown in self._list("addresses")]
        return Listing(tuple(one for one in listed if one.thing.labelled_ours))

    async def _list(self, what: str) -> Any:
        path = f"/compute/v1/projects/{DEMO_PROJECT}/aggregated/{what}"
        shown = await self._door.get(path, Subject(f"list the {what}", "There is no such project."), filter=OURS)
        for scope, things in shown["items"].items():
            for thing in things.get(what, ()):
                yield scope.rpartition("/")[2], thing


class SimulatedFleet:
    """The port Fleet, of one zone."""

    def __init__(self, world: SimulatedWorld) -> None:
        self.policy: Policy = world.policy
        self.clock: Clock = world.clock
        self.inventory: Inventory = SimulatedInventory(world.cloud, world.clock)
        self.tell: Callable[[Event], None] = lambda _: None
        self._world = world

    def addresses(self, region: str) -> Addresses:
        """All reserved addresses are in one region here."""
        assert region == self._world.cloud.place.region
        return self._world.addresses

    async def world(self, zone: str, machine: Machine, tell: Callable[[Event], None]) -> World:
        """All VMs of ours are in one zone here, and none was made for one run."""
        assert zone == self._world.cloud.place.zone
        del machine, tell
        return self._world


@dataclass(kw_only=True)
class Sweep(TaskProcess):
    """One sweep."""

    receipt: SweepReceipt | None = None

    def begin(self) -> None:
        """As `mayfly sweep` does, behind the reading of settings."""
        self.process.spawn(self._work(), "sweep")

    def may_stop(self, key: str) -> bool:
        """No live run is ever a sweep's to stop."""
        del key
        return False

    def holds(self, lease: Lease | None) -> bool:
        """It shows this sweep's nonce."""
        return lease is not None and lease.nonce == self.process.name

    @property
    def put_right(self) -> Iterator[Finding]:
        """What it says that it claimed, and saw clean."""
        found = self.receipt.findings if self.receipt else ()
        return (one for one in found if one.acted and one.standing is Standing.ABANDONED and not one.owed)

    async def _work(self) -> None:
        world = self.see_the_world()
        order = SweepOrder(DEMO_PROJECT, None, f"sweep {self.process.name}", nonce=self.process.name)
        try:
            self.receipt = await sweep(order, SimulatedFleet(world), self.called_off)
            found = ", ".join(f"{one.name} {one.standing}" for one in self.receipt.findings)
            self.over(self.receipt.exit_code, found or "nothing found")
        except MayflyError as error:
            self.over(int(error.exit), error)


class Sweeper:
    """Begins sweeps."""

    def __init__(self, universe: Universe) -> None:
        self.universe = universe
        self.sweeps: list[Sweep] = []

    @property
    def at_rest(self) -> bool:
        """No sweep is at work."""
        return all(one.exit_code is not None for one in self.sweeps)

    def begin(self) -> None:
        """One sweep, now."""
        process = Process(self.universe.loop, f"sweep/{len(self.sweeps)}")
        self.sweeps.append(Sweep(self.universe, process))
        self.sweeps[-1].begin()

    def begin_periodically(self) -> None:
        """As Cloud Scheduler does, from the schedule's own moment on."""
        period = POLICY.sweep_period.total_seconds()
        first = self.universe.random.uniform(0, period) if self.universe.schedule.seed is not None else period

        def tick(at: float) -> None:
            self.universe.loop.outside(at + period, tick, at + period)
            self.begin()

        self.universe.loop.outside(first, tick, first)
