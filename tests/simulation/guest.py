"""A guest on virtual time: the real agent, its real ledger on a disk that forgets, and a job that only takes time."""

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, ClassVar, Protocol

from fastapi import FastAPI
from starlette.types import ASGIApp

from gcp_emulator.wire import Boot, GuestEvent, PoweredOff, Reply, Request, ShutDown
from tests.simulation.disk import Disk, SyncedLedger
from tests.simulation.inside import BootClock, MetadataWire, NoGpuHere
from tests.simulation.loop import Process, VirtualLoop
from tests.simulation.schedule import Schedule
from vm_agent.agent import Agent
from vm_agent.app import behind_the_door, make_face
from vm_agent.attempts import Attempts
from vm_agent.auth import ApiKeys
from vm_agent.deadman import Deadman
from vm_agent.ending import CUT_OFF, Verdict
from vm_agent.fence import Fence
from vm_agent.identity import Identity
from vm_agent.ledger import Ledger, Mark
from vm_agent.process import Order
from vm_agent.protocol import Failure, FunctionJob, Mode, Progress, State
from vm_agent.pulse import Pulse
from vm_agent.runs import Runs

API_KEY = "a-key-for-the-simulation"

STARTUP_SECONDS = 0.25  # of startup.sh, until the agent listens
RESET_SECONDS = 0.02  # from here to there
RESTART_SECONDS = 2.0  # of systemd, after the agent died
END_SECONDS = 0.5  # of a job that is told to stop


class Surroundings(Protocol):
    """What a guest needs of the world around it."""

    loop: VirtualLoop
    folder: Path
    schedule: Schedule

    def says(self, instance: str, event: GuestEvent) -> None:
        """Tell the cloud."""

    async def ask_metadata(self, instance: str, request: Request) -> Reply:
        """Ask the metadata server."""

    def job_began(self, instance: str, order: Order, key: tuple[str, int]) -> None:
        """A job is at work."""

    work: "Work | None"


Work = Callable[[Order], Coroutine[Any, Any, Verdict]]  # what a job does


@dataclass
class Job:
    """One run's process. It waits for `go`, works, and ends."""

    guest: "Guest"
    order: Order
    mark: Mark
    _process: Process | None = None  # of a job that has something to do
    _told: asyncio.Future[Verdict] = field(default_factory=asyncio.Future)

    def go(self) -> None:
        """Let it work."""
        self.guest.job_began(self.order)
        if self.guest.around.work is None:
            worked = Verdict(State.SUCCEEDED, result={"worked": self.order.run_id})
            self._later(self.guest.around.schedule.job_seconds, worked)
        else:
            self._process = Process(self.guest.around.loop, f"job {self.order.run_id}")
            self.guest.working.append(self._process)
            self._process.spawn(self._work(self.guest.around.work), "work")
        if self.order.timeout_seconds:
            self._later(self.order.timeout_seconds, Verdict(State.TIMED_OUT))

    def cancel(self) -> None:
        """End it because somebody asks."""
        self._later(END_SECONDS, Verdict(State.CANCELLED))

    def abandon(self) -> None:
        """End it because the agent leaves."""
        self._later(END_SECONDS, Verdict(State.INTERRUPTED, failure=Failure(detail=CUT_OFF)))

    async def ended(self) -> Verdict:
        """How it ended."""
        verdict = await asyncio.shield(self._told)
        self.guest.jobs.pop(self.order.run_id, None)
        return verdict

    async def _work(self, work: Work) -> None:
        self._tell(await work(self.order))

    def _later(self, seconds: float, verdict: Verdict) -> None:
        asyncio.get_running_loop().call_later(seconds, self._tell, verdict)

    def _tell(self, verdict: Verdict) -> None:
        if not self._told.done():
            self.guest.jobs.pop(self.order.run_id, None)
            self._told.set_result(verdict)
            if self._process is not None:
                self._process.kill()


@dataclass
class Guest:
    """One instance from the inside; its disk outlives its boots."""

    instance: str
    around: Surroundings
    disk: Disk
    ledger_sync: ClassVar[str | None] = None  # a mutant's PRAGMA synchronous
    process: Process | None = None
    app: ASGIApp | None = None  # listens
    ledger: SyncedLedger | None = None
    jobs: dict[str, Order] = field(default_factory=dict)
    working: list[Process] = field(default_factory=list)  # they die with the agent
    connected: list[Callable[[], None]] = field(default_factory=list)  # what resets each connection to the agent
    boots: int = 0
    booted_at: float = 0.0
    pulse: Pulse | None = None  # in memory: it outlives the agent, and no reboot
    ours: bool = True  # to turn off
    _leave: asyncio.Event | None = None
    _going_off = False  # its power button was pressed: systemd starts nothing again

    def boot(self, effect: Boot) -> None:
        """Switch on."""
        self.boots += 1
        self.connected.clear()
        self._going_off = False
        self.booted_at, self.pulse = self.around.loop.time(), None
        self._begin(f"{effect.name}#{self.boots}", STARTUP_SECONDS)

    def press_button(self, grace_seconds: float) -> None:
        """Ask it to end, and make it, after the grace."""
        process = self.process
        if process is None:
            return self.around.says(self.instance, ShutDown())
        self._going_off = True
        if self._leave is not None:
            self._leave.set()
        else:
            self._gone(process, ShutDown())
        self.around.loop.outside(self.around.loop.time() + grace_seconds, self._gone, process, ShutDown())
        return None

    def pull_plug(self) -> None:
        """Nothing is said, nothing is written."""
        if self.process is not None:
            self._kill()
            self.disk.power_cut()

    def kill_agent(self) -> None:
        """SIGKILL; the job dies with it (parent death signal), and systemd starts it again."""
        if self.process is not None and self._going_off:
            self._gone(self.process, ShutDown())
        elif self.process is not None and self.app is not None:
            name = self.process.name
            self._kill()
            self._reset_all()
            self._begin(f"{name}'", RESTART_SECONDS)

    def lose_agent(self) -> None:
        """It is gone for this boot, and so is its dead-man."""
        if self.process is not None and self._going_off:
            self._gone(self.process, ShutDown())
        elif self.process is not None:
            self._kill()
            self._reset_all()
            self.process = Process(self.around.loop, f"{self.instance}, without an agent")

    def _reset_all(self) -> None:
        """The kernel lives, and closes what a dead process had open, one packet later."""
        loop = self.around.loop
        for reset in self.connected:
            loop.outside(loop.time() + RESET_SECONDS, reset)
        self.connected.clear()

    def job_began(self, order: Order) -> None:
        """A job is at work."""
        assert self.ledger is not None
        view = self.ledger.find(order.run_id)
        self.jobs[order.run_id] = order
        self.around.job_began(self.instance, order, (view.key, view.attempt))

    async def off(self) -> None:
        """The port Power: the agent turns its machine off."""
        if self._leave is not None:
            self._leave.set()

    # --- the ports of the dead-man -------------------------------------------------------------------------------

    def read(self) -> Pulse | None:
        """The pulse of this boot."""
        return self.pulse

    def write(self, pulse: Pulse) -> None:
        """Keep it."""
        self.pulse = pulse

    def say(self, text: str | None) -> None:
        """Nobody is at work here."""

    # --- the ports of Processes ----------------------------------------------------------------------------------

    async def start(self, order: Order, changed: Callable[[Progress | None], None]) -> Job:
        """Make the job's process."""
        del changed  # it says nothing until it is done
        await asyncio.sleep(0.02)
        return Job(self, order, Mark(1000, "0", str(self.boots)))

    async def clear(self, folder: Path, mark: Mark | None) -> Verdict:
        """See gone what another agent left: no job outlives its agent here."""
        del folder, mark
        await asyncio.sleep(0.02)
        return Verdict(State.INTERRUPTED, failure=Failure(detail=CUT_OFF))

    # --- life ----------------------------------------------------------------------------------------------------

    def _begin(self, name: str, seconds: float) -> None:
        self.process = Process(self.around.loop, name)
        self.process.spawn(self._live(self.process, seconds), "agent")

    async def _live(self, process: Process, seconds: float) -> None:
        await asyncio.sleep(seconds)
        self._leave = asyncio.Event()
        self.ledger = SyncedLedger(self.disk, synchronous=self.ledger_sync)
        app = behind_the_door(_face(), self._agent(self.ledger))
        up, down = asyncio.Event(), asyncio.Event()
        said = {"lifespan.startup.complete": up, "lifespan.shutdown.complete": down, "lifespan.shutdown.failed": down}
        asked = iter([None, self._leave])

        async def receive() -> Mapping[str, Any]:
            if (wait := next(asked)) is None:
                return {"type": "lifespan.startup"}
            await wait.wait()
            return {"type": "lifespan.shutdown"}

        async def send(message: Mapping[str, Any]) -> None:
            said[message["type"]].set()

        process.spawn(app({"type": "lifespan", "asgi": {"version": "3.0"}, "state": {}}, receive, send), "lifespan")
        await up.wait()
        self.app = app
        await self._leave.wait()
        await down.wait()
        self._gone(process, PoweredOff())

    def _agent(self, ledger: Ledger) -> Agent:
        metadata = MetadataWire(self.instance, self.around.ask_metadata)
        clock = BootClock(self.around.loop, self.booted_at)
        deadman = Deadman(clock, self, self)
        runs = Runs(ledger, self, self.around.folder / "runs", _JOBS, clock.now, self._new_id, deadman)
        return Agent(
            runs=runs,
            fence=Fence(ledger, metadata, clock.now),
            identity=Identity(metadata, f"boot-{self.boots}"),
            gpu_probe=NoGpuHere(),
            power=self,
            deadman=deadman,
            metadata=metadata,
            credentials=[ApiKeys([API_KEY])],
            attempts=Attempts(self.around.loop.time),
            version="simulated",
        )

    def _gone(self, process: Process, event: GuestEvent) -> None:
        if self.process is process:
            self._kill()
            self.around.says(self.instance, event)

    def _kill(self) -> None:
        assert self.process is not None
        for process in (self.process, *self.working):
            process.kill()
        self.working.clear()
        self.process, self.app, self._leave = None, None, None
        self.jobs.clear()
        if self.ledger is not None:
            with suppress(Exception):
                self.ledger.close()
            self.ledger = None

    def _new_id(self) -> str:
        self._runs_made = getattr(self, "_runs_made", 0) + 1
        return f"run-{self._runs_made}"


@cache
def _face() -> FastAPI:
    """Made once, for it takes FastAPI a while: of all guests of a universe only ours has an agent, one at a time."""
    return make_face()


_JOBS = {mode: FunctionJob(function=f"main:{mode}") for mode in Mode}
