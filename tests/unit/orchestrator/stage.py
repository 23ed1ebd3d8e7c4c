"""A stage for the verbs: the real orchestrator and the real agent on virtual time, against the emulator's own model.

A run takes twenty milliseconds, and what happened is asked of the cloud's history. Write a scene:

    @staged
    async def test_a_run_succeeds(stage: Stage) -> None:
        assert (await stage.drive()).exit_code == 0
"""

import asyncio
import inspect
import json
import tempfile
from collections.abc import Callable, Coroutine
from dataclasses import replace
from datetime import datetime, timedelta
from functools import wraps
from pathlib import Path
from typing import Any

from gcp_emulator import instances
from gcp_emulator.seed import DEMO_ADDRESS, DEMO_BUCKET, DEMO_INSTANCE, DEMO_PROJECT, DEMO_REGION, DEMO_ZONE
from gcp_emulator.wire import Reply, Request
from orchestrator.drive import drive
from orchestrator.events import Event, Note, PhaseStarted
from orchestrator.google_errors import Subject
from orchestrator.lease import Lease, read_lease
from orchestrator.policy import Policy
from orchestrator.ports import Addresses
from orchestrator.run import Receipt, Run
from orchestrator.seen import Address, Listed, Listing, Machine
from orchestrator.sweep import sweep
from orchestrator.swept import SweepOrder, SweepReceipt
from tests.simulation.agent_door import AgentDoor
from tests.simulation.cloud_door import CloudDoor, address_of, machine_of
from tests.simulation.faults import Sender
from tests.simulation.inside import BEGINNING
from tests.simulation.loop import Process, VirtualLoop
from tests.simulation.platform import _PLACE, POLICY, SimulatedWorld, VirtualClock, seed_the_jitter
from tests.simulation.schedule import Schedule
from tests.simulation.simulate import _FAST, HORIZON_SECONDS, STEPS_MAX, _running
from tests.simulation.universe import Universe
from vm_agent.process import Order
from vm_agent.protocol import LEASE_ATTRIBUTE, FunctionJob, Mode

VM = f"/compute/v1/projects/{DEMO_PROJECT}/zones/{DEMO_ZONE}/instances/{DEMO_INSTANCE}"
_NOMINAL = Schedule()
READS = ("get", "list", "wait", "aggregatedList")


class Orchestrator:
    """A process that sends requests, and can be killed or paused."""

    def __init__(self, stage: "Stage", name: str) -> None:
        self.process = Process(stage.universe.loop, name)
        self.frozen_since_look = False
        self.called_off = asyncio.Event()
        self.receipt: Receipt | None = None
        self._door = AgentDoor(Sender(stage.universe, self))
        self.world = SimulatedWorld(stage.universe, Sender(stage.universe, self), self._door)
        self.world.policy = stage.policy
        self.world.tell = lambda event: stage.heard(self, event)

    def begin(self, run: Run) -> None:
        """Drive this run, in a process of its own."""
        self.process.spawn(self._drive(run), "drive")

    def killed(self) -> None:
        """SIGKILL."""
        self.process.kill()
        self._door.orchestrator_died()

    def sigterm(self) -> None:
        """Ask it to leave."""
        self.called_off.set()

    async def _drive(self, run: Run) -> None:
        self.receipt = await drive(run, self.world, self.called_off)


class Stage:
    """One VM of ours that is off, a reserved address, and whoever comes to use them."""

    def __init__(self, universe: Universe) -> None:
        self.universe = universe
        self.policy: Policy = POLICY
        self.told: list[Event] = []
        self.jobs: list[Order] = []
        self.unseen: tuple[str, ...] = ()  # what of the project Google cannot list
        self.on_phase: dict[str, Callable[[Orchestrator], None]] = {}  # what happens as a phase begins, once
        universe.on_job.append(lambda _instance, order, _key: self.jobs.append(order))

    # --- who acts ------------------------------------------------------------------------------------------------

    def orchestrator(self, name: str = "first") -> Orchestrator:
        """A process that has done nothing yet."""
        return Orchestrator(self, name)

    async def drive(self, run: Run | None = None, by: Orchestrator | None = None) -> Receipt:
        """One run, to its receipt."""
        actor = by or self.orchestrator()
        return await drive(run or a_run(), actor.world, actor.called_off)

    async def sweep(self, *, by: Orchestrator | None = None, **order: Any) -> SweepReceipt:
        """One sweep, to its receipt."""
        actor = by or self.orchestrator("sweep")
        wanted = {"project": DEMO_PROJECT, "zone": None, "holder": "a sweep", "nonce": "sweeper", **order}
        return await sweep(SweepOrder(**wanted), StagedFleet(self, actor), actor.called_off)

    def heard(self, actor: Orchestrator, event: Event) -> None:
        """An orchestrator says what it does."""
        self.told.append(event)
        if isinstance(event, PhaseStarted) and (happens := self.on_phase.pop(event.name, None)):
            happens(actor)

    def by_hand(self, verb: str, body: object = None, **query: str) -> None:
        """Somebody at the console asks for that."""
        content = b"" if body is None else json.dumps(body).encode()
        headers = {"content-type": "application/json"}
        self.universe.ask(Request("POST", f"{VM}/{verb}", query, headers, content), self._accepted)

    def fault(self, **rule: Any) -> None:
        """One of the emulator's own faults."""
        self.universe.fault(rule)

    def write_lease(self, lease: Lease | None, **others: str) -> None:
        """Put this into the VM's metadata, past everybody."""
        kept = {name: value for name, value in self.universe.machine().metadata.items() if name != LEASE_ATTRIBUTE}
        mine = {LEASE_ATTRIBUTE: lease.to_json()} if lease else {}
        self.change_vm(metadata={**kept, **others, **mine})

    async def delete_by_hand(self) -> None:
        """Somebody at the console does; returns once it is gone."""
        self.universe.ask(Request("DELETE", VM), self._accepted)
        await self.until(lambda: self.universe.machine() is None)

    def age_lease(self, by: timedelta) -> None:
        """The lease in the bucket is made to have run out that long ago."""
        [stored] = self.universe.cloud.world.buckets[DEMO_BUCKET].objects.values()
        stored.content = replace(self.lease, expires_at=self.now - by).to_json().encode()
        stored.generation += 1

    def change_vm(self, name: str = DEMO_INSTANCE, **facts: Any) -> None:
        """Make the VM another than it was, in a moment."""
        [vm] = [one for one in self.universe.cloud.world.instances.values() if one.name == name]
        for fact, value in facts.items():
            setattr(vm, fact, value)
        instances.touched(self.universe.cloud.world, vm)

    def label_address(self) -> None:
        """The reserved address is ours."""
        for address in self.universe.cloud.world.addresses.values():
            address.labels = {"mayfly": "managed"}

    async def pass_seconds(self, count: float) -> None:
        """Let virtual time pass."""
        await asyncio.sleep(count)

    async def until(self, condition: Callable[[], object], within: float = 3600) -> None:
        """Let virtual time pass until that holds."""
        async with asyncio.timeout(within):
            while not condition():
                await asyncio.sleep(0.05)

    # --- what happened -------------------------------------------------------------------------------------------

    @property
    def now(self) -> Any:
        """Google's clock."""
        return self.universe.now

    @property
    def status(self) -> str:
        """Of the VM."""
        return self.universe.status()

    @property
    def lease(self) -> Lease:
        """The lease on the VM."""
        lease = read_lease(self.universe.lease_value())
        assert lease is not None
        return lease

    def requests(self, verb: str) -> list[dict[str, Any]]:
        """What was asked of the cloud that often, and answered with 200."""
        return [entry for entry in self._entries() if entry["verb"] == f"instances.{verb}" and entry["status"] == 200]

    def changes(self) -> list[str]:
        """The verbs of all that was asked to change, in order; of its metadata not."""
        asked = [entry["verb"] for entry in self._entries() if entry["method"] != "GET"]
        verbs = [verb.removeprefix("instances.") for verb in asked if not verb.startswith("objects.")]
        return [verb for verb in verbs if verb.rpartition(".")[2] not in {*READS, "setMetadata"}]

    def leases(self) -> list[Lease]:
        """Every lease that was written, in order."""
        written = []
        for entry in self.requests("setMetadata"):
            items = {item["key"]: item["value"] for item in entry["body"]["items"]}
            assert items["deployed-by"] == "somebody", "what others wrote goes back with it"
            lease = read_lease(items.get(LEASE_ATTRIBUTE))
            assert lease is not None
            written.append(lease)
        return written

    def stored_leases(self) -> int:
        """How often the lease in the bucket was written."""
        return len([one for one in self._entries() if one["verb"] == "objects.insert" and one["status"] == 200])

    def seconds(self, moment: datetime) -> float:
        """As the trace counts them."""
        return (moment - BEGINNING).total_seconds()

    def address_names(self) -> list[str]:
        """Those that are reserved, of ours."""
        return sorted(one.name for one in self.universe.cloud.world.addresses.values() if "not-our" not in one.name)

    def phases(self) -> list[str]:
        """What was said to have begun, in order."""
        return [event.name for event in self.told if isinstance(event, PhaseStarted)]

    def notes(self) -> str:
        """What the user was told."""
        return "\n".join(f"{event.severity} {event.message}" for event in self.told if isinstance(event, Note))

    def all_faults_were_spent(self) -> None:
        """A fault that never struck proves nothing."""
        reply = self.universe.cloud.answer(Request("GET", "/_emulator/faults"), self.now)
        assert isinstance(reply, Reply)
        for rule in json.loads(reply.body)["faults"]:
            assert rule["spent"] or (rule["times"] is None and rule["fired"]), rule

    def _entries(self) -> list[dict[str, Any]]:
        history = self.universe.cloud.history.since(0)
        return [entry for entry in history["entries"] if entry["kind"] == "request"]

    def _accepted(self, reply: Reply) -> None:
        assert reply.status == 200, reply.body


class StagedFleet:
    """The port Fleet: the project of the stage."""

    def __init__(self, stage: Stage, actor: Orchestrator) -> None:
        self.policy, self.clock = stage.policy, VirtualClock(stage.universe.loop)
        self.inventory = StagedInventory(
            stage, CloudDoor(stage.universe, Sender(stage.universe, actor), _PLACE, POLICY, self.clock)
        )
        self.tell: Callable[[Event], None] = lambda event: stage.heard(actor, event)
        self._actor = actor

    def addresses(self, region: str) -> Addresses:
        """There is one region."""
        assert region == DEMO_REGION
        return self._actor.world.addresses

    async def world(self, zone: str, machine: Machine, tell: Callable[[Event], None]) -> SimulatedWorld:
        """There is one zone."""
        assert zone == DEMO_ZONE
        await asyncio.sleep(0)
        self._actor.world.tell = tell  # type: ignore[assignment]
        return self._actor.world


class StagedInventory:
    """The port Inventory: one aggregated list each."""

    def __init__(self, stage: Stage, door: CloudDoor) -> None:
        self._stage, self._door = stage, door

    async def machines(self) -> Listing[Machine]:
        """Those with our label."""
        shown = await self._listed("instances")
        found = tuple(Listed(place, machine_of(vm, self._stage.now)) for place, vm in shown)
        return Listing(found, self._stage.unseen)

    async def addresses(self) -> Listing[Address]:
        """Likewise."""
        shown = await self._listed("addresses")
        found = [Listed(place, address_of(one)) for place, one in shown]
        return Listing(tuple(one for one in found if one.thing.labelled_ours))

    async def _listed(self, kind: str) -> list[tuple[str, dict[str, Any]]]:
        path = f"/compute/v1/projects/{DEMO_PROJECT}/aggregated/{kind}"
        ours = "labels.mayfly=managed" if kind == "instances" else ""
        request = Request("GET", path, {"filter": ours})
        answer = await self._door.tried.read(lambda: self._door._json(request, POLICY.request, Subject("list", "")))
        scopes = answer["items"].items()
        return [(scope.rpartition("/")[2], one) for scope, held in scopes for one in held.get(kind, ())]


def a_run(**changes: Any) -> Run:
    """Five minutes for a job of twenty seconds."""
    run = Run(
        key="monday",
        mode=Mode.RUN,
        job=FunctionJob(function="main:run"),
        params={"coin": "BTC"},
        timeout=timedelta(minutes=5),
        max_run=timedelta(minutes=20),
        holder="a laptop",
        nonce="ours",
        project=DEMO_PROJECT,
        region=DEMO_REGION,
        zone=DEMO_ZONE,
        instance=DEMO_INSTANCE,
        address=DEMO_ADDRESS,
        meaning="0123456789abcdef",
    )
    return replace(run, **changes)


def staged(scene: Callable[..., Coroutine[Any, Any, None]], schedule: Schedule = _NOMINAL) -> Callable[..., None]:
    """Play it on virtual time. At its end every fault must have struck."""

    @wraps(scene)
    def test(**given: Any) -> None:
        seed_the_jitter(None)
        loop = VirtualLoop()
        with tempfile.TemporaryDirectory(dir=_FAST, prefix="stage-") as folder, _running(loop):
            stage = Stage(Universe(schedule, Path(folder), loop))
            playing = loop.create_task(scene(stage, **given))
            while not playing.done():
                assert loop.time() < HORIZON_SECONDS, "no end in sight"
                assert loop.steps < STEPS_MAX, "no end in sight"
                loop.step()
            playing.result()
            stage.all_faults_were_spent()

    stage, *others = inspect.signature(scene).parameters.values()
    assert stage.name == "stage"
    test.__signature__ = inspect.Signature(others)  # type: ignore[attr-defined]
    del test.__wrapped__  # type: ignore[attr-defined] # pytest would ask for `stage`
    return test
