"""The cloud's model, its guests and the network between everybody, on one virtual clock."""

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

from gcp_emulator.cloud import Cloud
from gcp_emulator.instances import RUNNING, TERMINATED, Instance
from gcp_emulator.latency import Latency
from gcp_emulator.seed import (
    DEMO_ADDRESS,
    DEMO_BUCKET,
    DEMO_INSTANCE,
    DEMO_PROJECT,
    DEMO_TEMPLATE,
    DEMO_ZONE,
    AddressSeed,
    BucketSeed,
    InstanceSeed,
    Seed,
    TemplateSeed,
)
from gcp_emulator.wire import (
    Boot,
    Effect,
    EndSilence,
    EraseDisk,
    Forward,
    GuestEvent,
    Held,
    KillProcesses,
    PressPowerButton,
    PullPlug,
    Reply,
    Request,
    Silence,
    Unforward,
)
from orchestrator.lease import Lease, Phase
from tests.simulation.disk import Disk
from tests.simulation.guest import Guest, Work
from tests.simulation.inside import BEGINNING
from tests.simulation.loop import VirtualLoop
from tests.simulation.schedule import Happening, Kind, Schedule
from vm_agent.process import Order
from vm_agent.protocol import LEASE_ATTRIBUTE

BYSTANDER = "not-ours"  # a VM without our label, with a dead lease and an address: nothing of ours may touch it
THEIR_ADDRESS = "not-our-ip"
_LEFT = Lease(
    1, "gone", "key", phase=Phase.INVOKING, address=THEIR_ADDRESS, expires_at=BEGINNING - timedelta(minutes=1)
)

SPANS = Latency(
    provisioning=(0.5, 3),
    staging=(1, 6),
    boot=(0.1, 2),
    stopping=(1, 8),
    access_config=(0.2, 3),
    metadata=(0.1, 3),
    scheduling=(0.1, 3),
    max_run_lateness=(0, 30),
)
STEADY = Latency(
    provisioning=(1, 1),
    staging=(2, 2),
    boot=(0.2, 0.2),
    stopping=(3, 3),
    access_config=(0.5, 0.5),
    metadata=(0.3, 0.3),
    scheduling=(0.3, 0.3),
)
TEMPLATE = {
    "machineType": "e2-medium",
    "disks": [{"boot": True, "autoDelete": True}],
    "networkInterfaces": [{"network": f"projects/{DEMO_PROJECT}/global/networks/default"}],
}
ONE_WAY = (0.01, 0.15)  # seconds, from here to there
WEB_ONE_WAY = 0.02


@dataclass(frozen=True)
class Told:
    """One line of the trace."""

    at: float
    text: str


class Universe:
    """Everything that is not an orchestrator."""

    def __init__(self, schedule: Schedule, folder: Path, loop: VirtualLoop) -> None:
        self.schedule, self.folder, self.loop = schedule, folder, loop
        self.random = Random(schedule.seed if schedule.seed is not None else 0)
        seeded = schedule.seed is not None
        self._one_way = ONE_WAY if seeded else (WEB_ONE_WAY, WEB_ONE_WAY)
        preempted = any(event.happening is Happening.PREEMPTED for event in schedule.events)
        spot = {"provisioningModel": "SPOT"} if preempted else {}
        ours = {"labels": {"mayfly": "managed"}, "metadata": {"deployed-by": "somebody"}, "scheduling": spot}
        made = schedule.made
        seed = Seed(
            instances=(
                *(() if made else (InstanceSeed(DEMO_INSTANCE, **ours),)),
                InstanceSeed(
                    BYSTANDER, status="RUNNING", address=THEIR_ADDRESS, metadata={LEASE_ATTRIBUTE: _LEFT.to_json()}
                ),
            ),
            addresses=(AddressSeed(DEMO_ADDRESS), AddressSeed(THEIR_ADDRESS)),
            templates=(TemplateSeed(DEMO_TEMPLATE, {**TEMPLATE, "scheduling": spot}),) if made else (),
            buckets=(BucketSeed(DEMO_BUCKET),) if made else (),
        )
        self.scheduling = spot
        self.cloud = Cloud(seed, BEGINNING, latency=SPANS if seeded else STEADY, random=self.random)
        self._key = f"projects/{DEMO_PROJECT}/zones/{DEMO_ZONE}/instances/{DEMO_INSTANCE}"
        keys = {self._key, *self.cloud.machines()}
        self.guests = {key: Guest(key, self, Disk(folder / f"{name(key)}.db")) for key in keys}
        self.erased: list[Disk] = []  # of VMs that were deleted
        self.forwarded: dict[str, str] = {}  # external IP -> internal
        self.requests = 0  # that orchestrators made so far: the boundaries that faults are counted by
        self.crossed_at: list[float] = []  # when each of them was sent
        self.trace: list[Told] = []
        self.on_cut: list[Callable[[str], None]] = []  # an external address leads nowhere any more
        # Whose start or stop landed, which of both, and whether its sender was frozen since it had looked.
        self.on_power: list[Callable[[Any, str, bool], None]] = []
        self.led_to: dict[str, str] = {}  # external IP -> the internal one that it led to last
        self.on_job: list[Callable[[str, Order, tuple[str, int]], None]] = []
        self.work: Work | None = None  # what the job does; None: nothing, for JOB_SECONDS
        self._held: list[Callable[[], None]] = []
        self._changes = 0
        self._alarm: asyncio.TimerHandle | None = None

    @property
    def now(self) -> datetime:
        """Google's clock."""
        return BEGINNING + timedelta(seconds=self.loop.time())

    def machine(self) -> Instance | None:
        """The model's own record of our VM. None: there is none, before it is made and once it is deleted."""
        return self.cloud.world.instances.get(self._key)

    def status(self) -> str:
        """Of our VM; of one that is not there, as of one that is off."""
        vm = self.machine()
        return TERMINATED if vm is None else vm.status

    def is_down(self) -> bool:
        """Nothing of it is left to undo: it is off, or deleted if it was made for a run."""
        return self.machine() is None if self.schedule.made else self.status() == TERMINATED

    def lease_value(self) -> str | None:
        """The lease, as it is kept."""
        if self.schedule.made:
            objects = self.cloud.world.buckets[DEMO_BUCKET].objects
            return next(iter(objects.values())).content.decode() if objects else None
        vm = self.machine()
        return vm.metadata.get(LEASE_ATTRIBUTE) if vm is not None else None

    def guest(self) -> Guest:
        """Our VM from the inside."""
        return self.guests[self._key]

    def tell(self, text: str) -> None:
        """Write a line of the trace."""
        self.trace.append(Told(self.loop.time(), text))

    def boundary(self, label: str) -> Kind | None:
        """An orchestrator is about to send this: the fault that it meets."""
        number, self.requests = self.requests, self.requests + 1
        self.crossed_at.append(self.loop.time())
        met = self.schedule.met_by(number)
        self.tell(f"#{number} {label}{f'  <- {met}' if met else ''}")
        return met

    def one_way(self) -> float:
        """Seconds from here to there, this time."""
        low, high = self._one_way
        return low if low == high else self.random.uniform(low, high)

    def reachable(self, ip: str) -> Guest | None:
        """The guest that packets to this address come to."""
        internal = self.forwarded.get(ip, ip)
        for vm in self.cloud.world.instances.values():
            if vm.internal_ip == internal and vm.status == RUNNING and self.guests[vm.key].process is not None:
                return self.guests[vm.key]
        return None

    def live_keys(self) -> list[tuple[str, str]]:
        """(instance, key) of every job at work."""
        found = []
        for guest in self.guests.values():
            for run_id in guest.jobs:
                assert guest.ledger is not None
                found.append((guest.instance, guest.ledger.find(run_id).key))
        return found

    # --- the cloud's doors ---------------------------------------------------------------------------------------

    def ask(self, request: Request, hear: Callable[[Reply], None]) -> None:
        """A request arrives now; `hear` is told the answer, at once or when a long poll is over."""
        self._answered(lambda asked: self.cloud.answer(request, self.now, asked), hear)

    def _answered(self, answer: Callable[[datetime | None], Reply | Held], hear: Callable[[Reply], None]) -> None:
        first_asked = self.now
        waiting = True

        def again() -> None:
            if waiting:
                attempt(first_asked)

        def attempt(asked: datetime | None) -> None:
            nonlocal waiting
            said = answer(asked)
            if isinstance(said, Held):
                self._held.append(again)
                self.loop.outside((said.until - BEGINNING).total_seconds() + 1e-6, again)
            else:
                waiting = False
                hear(said)
            self._happened()

        attempt(None)

    def says(self, instance: str, event: GuestEvent) -> None:
        """A guest tells the cloud."""
        self.cloud.guest_says(instance, event, self.now)
        self._happened()

    async def ask_metadata(self, instance: str, request: Request) -> Reply:
        """A guest asks its metadata server."""
        await asyncio.sleep(0.001)
        answered: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()

        def hear(reply: Reply) -> None:
            if not answered.done():
                answered.set_result(reply)

        self._answered(lambda asked: self.cloud.metadata(instance, request, self.now, asked), hear)
        return await answered

    def job_began(self, instance: str, order: Order, key: tuple[str, int]) -> None:
        """A guest's job is at work."""
        self.tell(f"job of {key} began on {name(instance)}")
        for listener in self.on_job:
            listener(instance, order, key)

    def doom_next(self, verb: str, code: str, message: str) -> None:
        """The next operation of that kind ends badly."""
        self.fault({"on": verb, "operation_error": {"code": code, "message": message}})

    def fault(self, rule: object) -> None:
        """One of the emulator's own faults, by the door that tests use."""
        request = Request("POST", "/_emulator/faults", {}, {}, json.dumps(rule).encode())
        reply = self.cloud.answer(request, self.now)
        assert isinstance(reply, Reply), reply
        assert reply.status == 200, reply.body
        self._happened()

    # --- what happens by itself ----------------------------------------------------------------------------------

    def _happened(self) -> None:
        """Carry out what the model did, wake the long polls, and set the alarm for what it does next."""
        for effect in self.cloud.advance(self.now):
            self._carry_out(effect)
        if self.cloud.changes != self._changes:
            self._changes = self.cloud.changes
            held, self._held = self._held, []
            for again in held:
                self.loop.outside(self.loop.time(), again)
        if self._alarm is not None:
            self._alarm.cancel()
        due = self.cloud.due()
        if due is not None:
            self._alarm = self.loop.outside((due - BEGINNING).total_seconds() + 1e-6, self._happened)

    def _carry_out(self, effect: Effect) -> None:
        self.tell(f"  {effect}" if isinstance(effect, Forward | Unforward) else f"  {type(effect).__name__}")
        match effect:
            case Boot(name=name) if name == BYSTANDER:
                pass  # whatever runs there is none of our business
            case Boot():
                self.guests[effect.instance].boot(effect)
            case PressPowerButton():
                # In a moment of its own: the model is not asked anew while its effects are carried out.
                press = self.guests[effect.instance].press_button
                self.loop.outside(self.loop.time(), press, effect.grace_seconds)
            case PullPlug():
                self.guests[effect.instance].pull_plug()
            case EraseDisk():
                self._erase(self.guests[effect.instance])
            case Forward() | Unforward() | Silence() | EndSilence():
                self._lead(effect)
            case KillProcesses():
                raise AssertionError(f"nobody asks for that here: {effect}")

    def _lead(self, effect: Forward | Unforward | Silence | EndSilence) -> None:
        match effect:
            case Forward():
                self.forwarded[effect.external] = self.led_to[effect.external] = effect.internal
            case EndSilence():
                self.forwarded[effect.external] = self.led_to[effect.external]
            case Unforward() | Silence():
                self.forwarded.pop(effect.external, None)
                self._cut(effect.external)

    def _erase(self, guest: Guest) -> None:
        guest.pull_plug()
        self.erased.append(guest.disk)
        guest.disk = Disk(self.folder / f"{name(guest.instance)}-{len(self.erased)}.db")

    def _cut(self, ip: str) -> None:
        for listener in self.on_cut:
            listener(ip)


def name(instance: str) -> str:
    """The last part of its key."""
    return instance.rpartition("/")[2]
