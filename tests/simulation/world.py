"""One schedule from its beginning to its end: a cloud, its VM, Cloud Run's executions, and what befalls them."""

import asyncio
import random
import shutil
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from random import Random

from gcp_emulator.cloud import Cloud
from gcp_emulator.instances import Instance
from gcp_emulator.latency import Latency
from gcp_emulator.seed import AddressSeed, InstanceSeed, Seed
from gcp_emulator.wire import Boot, Effect, EraseDisk, Forward, PressPowerButton, PullPlug, Unforward
from orchestrator.lease import read_lease
from tests.simulation import attempt
from tests.simulation.agent_door import AgentDoor
from tests.simulation.attempt import ADDRESS, VM, VirtualClock
from tests.simulation.cloud_door import BEGAN, CloudDoor, post
from tests.simulation.faults import Kind, Schedule
from tests.simulation.google import Library, SimulatedGoogle
from tests.simulation.guest import Disk, Guest
from tests.simulation.loop import Process, VirtualLoop
from tests.simulation.network import PAUSE_SECONDS, WORLD, Network
from tests.simulation.observer import Observer
from vm_agent.ledger import Ledger

RETRIES = 3  # Cloud Run's own number
RETRY_SECONDS = 5.0
CALM_LOOKS = 3  # a minute: what was sent when all was quiet has landed by then
KILL_AFTER_SIGTERM_SECONDS = 10.0
VM_PATH = f"/compute/v1/projects/demo/zones/us-central1-a/instances/{VM}"
VM_KEY = VM_PATH.removeprefix("/compute/v1/")

_NOMINAL = Latency(
    provisioning=(1, 1),
    staging=(3, 3),
    stopping=(5, 5),
    access_config=(1, 1),
    metadata=(0.5, 0.5),
    scheduling=(0.5, 0.5),
    reset=(2, 2),
)
_ANY = Latency(
    provisioning=(0.5, 4),
    staging=(1, 30),
    boot=(0, 20),
    stopping=(2, 40),
    access_config=(0.5, 6),
    metadata=(0.1, 4),
    scheduling=(0.1, 4),
    reset=(1, 5),
    max_run_lateness=(0, 30),
)
_SEED = Seed(
    instances=(
        InstanceSeed(
            VM, metadata={"enable-guest-attributes": "TRUE", "startup-script": "x"}, labels={"mayfly": "managed"}
        ),
        InstanceSeed("other-vm", status="RUNNING", address="other-ip"),
    ),
    addresses=(AddressSeed(ADDRESS), AddressSeed("other-ip")),
)


@dataclass
class Execution:
    """One execution of the Cloud Run job; a task that fails is begun again, with the same key."""

    name: str
    attempt: int = 0
    over: bool = False


class Simulation:
    """Runs one schedule."""

    def __init__(self, schedule: Schedule, library: Library, folder: Path) -> None:
        seed = schedule.seed
        self.schedule, self.library = schedule, library
        self.loop = VirtualLoop(Random(f"order {seed}") if seed is not None else None, self._after_each)
        cloud = Cloud(_SEED, BEGAN, latency=_NOMINAL if seed is None else _ANY, random=Random(f"cloud {seed}"))
        self.door = CloudDoor(cloud, self.loop, self._carry_out)
        self.observer = Observer(self.door, timedelta(seconds=30))
        self.network = Network(self.loop, schedule, self.observer.note)
        self.network.mishap = self._mishap
        self.guests: dict[str, Guest] = {}
        self.forwards: dict[str, str] = {}
        self.executions: list[Execution] = []
        self.signals: dict[Process, asyncio.Event] = {}
        self.agents = AgentDoor(self.network, self._route)
        self._folder = folder
        # A SIGTERM comes before a move to another host, which is followed by another try, or from who cancels it.
        self._cancelled_for_good = seed is None or seed % 2 == 0

    def run(self) -> Observer:
        """Raises Violation, or whatever else went wrong."""
        random.seed(f"jitter {self.schedule.seed}")  # tenacity draws from it
        try:
            asyncio.set_event_loop(self.loop)
            story = self.loop.create_task(self._story(), context=WORLD.copy())
            self.loop.run_until_complete(story)
            if self.loop.failures:
                raise AssertionError(f"unnoticed: {self.loop.failures[0]}")
            return self.observer
        finally:
            self.loop.discard()
            asyncio.set_event_loop(None)
            for guest in self.guests.values():
                guest.disk.erase()
            shutil.rmtree(self._folder, ignore_errors=True)

    # --- the story -------------------------------------------------------------------------------------------------

    async def _story(self) -> None:
        self.door.settle()
        self.trigger("tick-1")
        await self._quiet()
        for again in range(2, 4):
            if self._clean():
                break
            await asyncio.sleep(900)
            self.trigger(f"tick-{again}")
            await self._quiet()
        self._must_be_clean()

    async def _quiet(self) -> None:
        """Until nobody is at work and the VM is off, or has had time to be cut off by Google."""
        limit, calm = self.loop.time() + 3600, 0
        while self.loop.time() < limit and calm < CALM_LOOKS:
            await asyncio.sleep(20)
            if self.loop.failures:
                return
            over = all(one.over for one in self.executions)
            calm = calm + 1 if over and self.vm.status == "TERMINATED" and not self.vm.power_busy else 0

    def _clean(self) -> bool:
        return self.vm.status == "TERMINATED" and self._owed() == []

    def _owed(self) -> list[str]:
        lease = read_lease(self.vm.metadata.get("mayfly-lease"))
        owed = [] if lease is None or not lease.nonce else [f"the lease is {lease.phase}"]
        return owed + (["the address is attached"] if self.vm.external_ip else [])

    def _must_be_clean(self) -> None:
        if self.loop.failures:
            return
        if self.vm.status != "TERMINATED":
            self.observer.broken("L1", f"the VM is {self.vm.status}")
        if owed := self._owed():
            self.observer.broken("L1", " and ".join(owed))
        spans = sum(len(spans) for spans in self.observer.billed.values())
        bound = spans * 8 * 60 + spans * 60
        if (idle := self.observer.idle_seconds()) > bound:
            self.observer.broken("C1", f"{idle:.0f} s idle, in {spans} starts")

    @property
    def vm(self) -> Instance:
        return self.door.cloud.world.instances[VM_KEY]

    # --- Cloud Run -------------------------------------------------------------------------------------------------

    def trigger(self, name: str) -> None:
        """An execution begins."""
        execution = Execution(name)
        self.executions.append(execution)
        self._begin(execution)

    def _begin(self, execution: Execution) -> None:
        name = f"{execution.name}/{execution.attempt}"
        process = Process(name, self.loop)
        called_off = self.signals[process] = asyncio.Event()
        process.at_death.append(lambda: self._ended(execution, process, "is killed"))
        process.spawn(self._attempt(execution, process, called_off))
        self.observer.note("begin", name)

    async def _attempt(self, execution: Execution, process: Process, called_off: asyncio.Event) -> None:
        clock = VirtualClock(self.door, self.loop)
        google = SimulatedGoogle(self.library, self.door, self.network, self.observer.heard)
        run, policy = attempt.order(execution.name, execution.attempt, self.door.now())
        self.observer.key_of[process.name] = run.key
        receipt = await attempt.run_to_its_end(run, policy, clock, google, self.agents, called_off, self.observer.note)
        process.at_death.clear()
        self.observer.ended(process.name, receipt, self._ledger_of(run.key))
        self.loop.call_soon(process.kill, context=WORLD)  # an exit leaves nothing behind
        if receipt.exit_code == 0:
            execution.over = True
        else:
            self._ended(execution, process, f"exits with {receipt.exit_code}")

    def _ended(self, execution: Execution, process: Process, how: str) -> None:
        self.observer.note("end", f"{process.name} {how}")
        execution.attempt += 1
        cancelled = self.signals[process].is_set() and self._cancelled_for_good
        if cancelled or execution.attempt > RETRIES:
            execution.over = True
        else:
            self.loop.call_later(RETRY_SECONDS, self._begin, execution, context=WORLD)

    def _ledger_of(self, key: str) -> set[str]:
        """The states of that key's runs, as they stand on the disk."""
        guest = self.guests.get(VM_KEY)
        if guest is None or not (guest.disk.folder / "ledger.db").exists():
            return set()
        ledger = Ledger(guest.disk.folder / "ledger.db")
        try:
            return {str(run.state) for run in ledger.newest(50, key)}
        finally:
            ledger.close()

    # --- what befalls ------------------------------------------------------------------------------------------------

    def _mishap(self, kind: Kind, process: Process) -> None:
        match kind:
            case Kind.CRASH_BEFORE | Kind.CRASH_AFTER:
                process.kill()
            case Kind.PAUSE:
                process.stop()
                self.loop.call_later(PAUSE_SECONDS, process.go_on, context=WORLD)
            case Kind.SIGTERM:
                self.signals[process].set()
                self.loop.call_later(KILL_AFTER_SIGTERM_SECONDS, process.kill, context=WORLD)
            case Kind.STOPPED:
                self.door.ask(post(f"{VM_PATH}/stop"))
            case Kind.HOST_ERROR:
                self.door.ask(post(f"{VM_PATH}/reset"))
            case Kind.PREEMPTED:
                if (guest := self.guests.get(VM_KEY)) and guest.process.alive and self.vm.status == "RUNNING":
                    guest.power_off()
            case Kind.SECOND_TRIGGER:
                self.trigger(f"other-{len(self.executions)}")

    def _route(self, host: str) -> Guest | bool | None:
        """Who listens there: False where no packet arrives, None where nobody listens."""
        internal = self.forwards.get(host, host)
        for vm in self.door.cloud.world.instances.values():
            if vm.internal_ip == internal and vm.status == "RUNNING" and (host in self.forwards):
                guest = self.guests.get(vm.key)
                return guest if guest and guest.app else None
        return False

    def _carry_out(self, effect: Effect) -> None:
        match effect:
            case Boot():
                self._guest(effect.instance).boot()
            case PressPowerButton():
                self._guest(effect.instance).press_power_button(effect.grace_seconds)
            case PullPlug():
                self._guest(effect.instance).pull_plug()
            case EraseDisk():
                self._guest(effect.instance).disk.erase()
            case Forward():
                self.forwards[effect.external] = effect.internal
            case Unforward():
                self.forwards.pop(effect.external, None)

    def _guest(self, key: str) -> Guest:
        if key not in self.guests:
            disk = Disk(self._folder / key.rpartition("/")[2])
            self.guests[key] = Guest(key, disk, self.door, self.loop, self.observer)
        return self.guests[key]

    def _after_each(self) -> None:
        self.observer.look()
