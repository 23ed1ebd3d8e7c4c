"""The inside of a simulated VM: the real agent on simulated ports, its job simulated, its disk one that can forget."""

import asyncio
import shutil
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import parse_qsl

from gcp_emulator.wire import Held, PoweredOff, Request, ShutDown
from tests.simulation.agent_door import Exchange
from tests.simulation.cloud_door import CloudDoor
from tests.simulation.loop import Process, VirtualLoop
from tests.simulation.network import WORLD
from vm_agent.agent import Agent
from vm_agent.app import create_app
from vm_agent.auth import ApiKey
from vm_agent.deadman import Deadman
from vm_agent.ending import CUT_OFF, Verdict
from vm_agent.fence import Fence
from vm_agent.gpu import NoGpu
from vm_agent.identity import Identity, Metadata, _Answer
from vm_agent.ledger import Ledger, Mark
from vm_agent.process import Order
from vm_agent.protocol import Failure, FunctionJob, Mode, Progress, RunView, State
from vm_agent.pulse import Pulse
from vm_agent.runs import Runs

API_KEY = "correct-horse"
BOOT_SECONDS = 8.0  # from the first instruction to an agent that listens
JOB_SECONDS = 90.0
JOB_GRACE_SECONDS = 2.0  # what the job takes to end when it is asked to
SILENCE_SECONDS = 180.0
RUN_GRACE_SECONDS = 90.0
_JOB = FunctionJob(function="main:run")
_SYNCED = 2  # PRAGMA synchronous=FULL


class Witness(Protocol):
    """Who sees what jobs do, whatever the agent says about it."""

    def job_began(self, vm: str, run: RunView) -> None: ...
    def job_ended(self, vm: str, run: RunView, verdict: Verdict | None) -> None: ...


class Disk:
    """What survives a boot. A power cut takes back what SQLite was not told to sync."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ledger: Ledger | None = None
        self._synced: dict[str, bytes] = {}

    def open_ledger(self) -> Ledger:
        self.folder.mkdir(parents=True, exist_ok=True)
        self._synced = {path.name: path.read_bytes() for path in self.folder.glob("ledger.db*")}
        self.ledger = Ledger(self.folder / "ledger.db")
        return self.ledger

    def let_go(self, *, power_cut: bool) -> None:
        """The agent is gone."""
        if self.ledger is None:
            return
        try:
            synced = self.ledger._db.execute("PRAGMA synchronous").fetchone()[0] >= _SYNCED
            self.ledger.close()
        except sqlite3.ProgrammingError:
            synced = True  # the agent closed it in peace: SQLite syncs then
        if power_cut and not synced:
            for path in self.folder.glob("ledger.db*"):
                path.unlink()
            for name, content in self._synced.items():
                (self.folder / name).write_bytes(content)
        self.ledger = None

    def erase(self) -> None:
        self.let_go(power_cut=True)
        shutil.rmtree(self.folder, ignore_errors=True)


class Guest:
    """One VM's inside, from boot to boot. While `app` is set, its agent listens."""

    def __init__(self, key: str, disk: Disk, door: CloudDoor, loop: VirtualLoop, sees: Witness) -> None:
        self.key, self.disk = key, disk
        self.app: Any = None
        self.open: set[Exchange] = set()
        self.jobs: list[Job] = []  # alive now
        self.boots = 0
        self.process = Process("off", loop)
        self.sees = sees
        self._door, self._loop = door, loop
        self._leave: asyncio.Event = asyncio.Event()
        self._agent: Agent | None = None
        self._ids = 0
        self._by_itself = False

    def boot(self) -> None:
        self.boots += 1
        self._by_itself = False
        self.process = Process(f"{self.key.rpartition('/')[2]} boot {self.boots}", self._loop)
        self._leave = asyncio.Event()
        self.process.spawn(self._run())

    def press_power_button(self, grace_seconds: float) -> None:
        """systemd ends the agent, which ends its job; what is left after the grace is cut off."""
        if self._agent:
            self._agent.runs.leave()
        self._leave.set()
        boots = self.boots
        self._loop.call_later(
            grace_seconds, lambda: self.boots == boots and self.process.alive and self._off(), context=WORLD
        )

    def pull_plug(self) -> None:
        """Nothing is told to anybody: connections just fall silent."""
        self._die(power_cut=True)

    def power_off(self) -> None:
        """`systemctl poweroff`."""
        self._by_itself = True
        self.press_power_button(90.0)

    def _off(self) -> None:
        self._die(power_cut=False)
        self._door.guest_says(self.key, PoweredOff() if self._by_itself else ShutDown())

    def _die(self, *, power_cut: bool) -> None:
        self.process.kill()
        self.app = self._agent = None
        self.open.clear()
        for job in list(self.jobs):
            job.cut()
        self.disk.let_go(power_cut=power_cut)

    async def _run(self) -> None:
        serving, leaving = asyncio.create_task(self._serve()), asyncio.create_task(self._leave.wait())
        await asyncio.wait({serving, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if self._agent or serving.done():
            await serving
        self._loop.call_soon(self._off, context=WORLD)  # as the world's: this process ends here

    async def _serve(self) -> None:
        await asyncio.sleep(BOOT_SECONDS)
        agent, app = self._make_agent()
        told: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        ready = asyncio.Event()

        async def hear(message: dict[str, Any]) -> None:
            if message["type"] != "lifespan.shutdown.complete":
                ready.set()

        told.put_nowait({"type": "lifespan.startup"})
        living = asyncio.create_task(app({"type": "lifespan", "state": {}}, told.get, hear))
        await ready.wait()
        self._agent, self.app = agent, app
        await self._leave.wait()
        self.app = None
        told.put_nowait({"type": "lifespan.shutdown"})
        for exchange in list(self.open):
            exchange.break_off()
        await living

    def _make_agent(self) -> tuple[Agent, Any]:
        ledger = self.disk.open_ledger()
        metadata = SimulatedMetadata(self.key, self._door)
        clock = BootClock(self._door, self._loop, self._loop.time() - BOOT_SECONDS)
        deadman = Deadman(
            clock, Pulses(), NoBanner(), silence_seconds=SILENCE_SECONDS, run_grace_seconds=RUN_GRACE_SECONDS
        )
        runs = Runs(
            ledger,
            Jobs(self),
            self.disk.folder / "runs",
            {Mode.RUN: _JOB, Mode.TEST: _JOB},
            self._door.now,
            self._new_id,
            deadman,
        )
        agent = Agent(
            runs=runs,
            fence=Fence(ledger, metadata, self._door.now),
            identity=Identity(metadata, f"boot-{self.boots}"),
            gpu_probe=_NoGpus(),
            power=_Power(self),
            deadman=deadman,
            metadata=metadata,
            credentials=[ApiKey(API_KEY)],
            version="simulated",
        )
        return agent, create_app(agent)

    def _new_id(self) -> str:
        self._ids += 1
        return f"run-{self.boots}-{self._ids}"


@dataclass(frozen=True)
class SimulatedMetadata(Metadata):
    """The real reader, on a wire to the model's metadata server."""

    door: CloudDoor

    async def _get(self, path: str) -> _Answer:
        await asyncio.sleep(0.001)
        name, _, query = path.partition("?")
        asked = Request("GET", f"/computeMetadata/v1/{name}", dict(parse_qsl(query)), {"metadata-flavor": "Google"})
        began = self.door.now()
        answer = self.door.metadata(self.host, asked)
        while isinstance(answer, Held):
            changed = asyncio.get_running_loop().create_future()
            self.door.when_changed(answer.until, lambda changed=changed: changed.done() or changed.set_result(None))
            await changed
            answer = self.door.metadata(self.host, asked, began)
        tag = next((value for name, value in answer.headers.items() if name.lower() == "etag"), "")
        return _Answer(answer.status, answer.body.decode(), tag)


@dataclass(frozen=True)
class BootClock:
    """The VM's boot clock, and the wall's."""

    door: CloudDoor
    loop: VirtualLoop
    booted: float

    def uptime(self) -> float:
        return self.loop.time() - self.booted

    def now(self) -> datetime:
        return self.door.now()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class Pulses:
    """Of one boot: the simulated agent does not die alone, so nobody reads it."""

    def read(self) -> Pulse | None:
        return None

    def write(self, pulse: Pulse) -> None: ...


class NoBanner:
    """Nobody logs in."""

    def say(self, text: str | None) -> None: ...


class _NoGpus:
    async def look(self) -> list[dict[str, Any]]:
        raise NoGpu("the simulation has none")


@dataclass(frozen=True)
class _Power:
    guest: Guest
    ours = True

    async def off(self) -> None:
        self.guest.power_off()


@dataclass(frozen=True)
class Jobs:
    """Runs as things that take time (port `Processes`)."""

    guest: Guest

    async def start(self, order: Order, changed: Callable[[Progress | None], None]) -> "Job":
        await asyncio.sleep(0.05)
        order.folder.mkdir(parents=True, exist_ok=True)
        return Job(order, self.guest, changed)

    async def clear(self, folder: Path, mark: Mark | None) -> Verdict:
        await asyncio.sleep(0.05)
        return Verdict(State.INTERRUPTED, failure=Failure(detail=CUT_OFF))


class Job:
    """One run. It does nothing before `go`."""

    def __init__(self, order: Order, guest: Guest, changed: Callable[[Progress | None], None]) -> None:
        self.order, self._guest, self._changed = order, guest, changed
        assert guest.disk.ledger is not None
        self._view = guest.disk.ledger.find(order.run_id)
        self.mark = Mark(100 + guest.boots, "1", f"boot-{guest.boots}")
        self._over: asyncio.Future[Verdict] = asyncio.get_running_loop().create_future()
        self._live = False

    def go(self) -> None:
        if self._over.done():
            return
        self._live = True
        self._guest.jobs.append(self)
        self._guest.sees.job_began(self._guest.key, self._view)
        (self.order.folder / "log").write_bytes(b"at work\n")
        self._changed(Progress(fraction=0.5))
        loop = asyncio.get_running_loop()
        loop.call_later(JOB_SECONDS, self._end, Verdict(State.SUCCEEDED, {"done": self.order.run_id}))
        if (seconds := self.order.timeout_seconds) is not None:
            loop.call_later(seconds, self._end, Verdict(State.TIMED_OUT, failure=Failure(detail="deadline")))

    def cancel(self) -> None:
        self._end_soon(Verdict(State.CANCELLED, failure=Failure(detail="cancelled")))

    def abandon(self) -> None:
        self._end_soon(Verdict(State.INTERRUPTED, failure=Failure(detail=CUT_OFF)))

    async def ended(self) -> Verdict:
        return await asyncio.shield(self._over)

    def cut(self) -> None:
        """The power is gone, or its keeper was killed."""
        if self._live:
            self._live = False
            self._guest.jobs.remove(self)
            self._guest.sees.job_ended(self._guest.key, self._view, None)

    def _end_soon(self, verdict: Verdict) -> None:
        asyncio.get_running_loop().call_later(JOB_GRACE_SECONDS if self._live else 0.0, self._end, verdict)

    def _end(self, verdict: Verdict) -> None:
        if self._over.done():
            return
        if self._live:
            self._live = False
            self._guest.jobs.remove(self)
            self._guest.sees.job_ended(self._guest.key, self._view, verdict)
        self._over.set_result(verdict)
