"""Cloud Run, as far as an orchestrator notices: executions, their attempts, SIGTERM, and a clock."""

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from gcp_emulator.seed import DEMO_ADDRESS, DEMO_INSTANCE, DEMO_PROJECT, DEMO_REGION, DEMO_TEMPLATE, DEMO_ZONE
from orchestrator.agent_client import AgentClient
from orchestrator.agent_credentials import ApiKey
from orchestrator.drive import drive
from orchestrator.errors import MayflyError
from orchestrator.google_calls import Place
from orchestrator.lease import Lease
from orchestrator.policy import Policy
from orchestrator.ports import Addresses, Agent, Clock, Creation, Leases, Machines, Output
from orchestrator.run import OnInterrupt, Receipt, Run
from orchestrator.seen import Machine
from orchestrator.settings import Settings
from orchestrator.wiring import make_run
from tests.simulation.agent_door import AgentDoor
from tests.simulation.cloud_door import CloudDoor, SimulatedAddresses, SimulatedLeases, SimulatedMachines
from tests.simulation.faults import Sender
from tests.simulation.guest import API_KEY
from tests.simulation.inside import BEGINNING
from tests.simulation.loop import Process, VirtualLoop
from tests.simulation.making import SimulatedCreation, state_of
from tests.simulation.universe import Universe
from vm_agent.protocol import Mode

RETRIES = 3  # of a task that did not exit with 0, as Cloud Run has it unless told otherwise
RETRY_SECONDS = 5.0  # until the next attempt's process is up
KILL_SECONDS = 10.0  # from SIGTERM to SIGKILL

POLICY = replace(Policy(), after_sigterm=timedelta(seconds=8.5))
_PLACE = Place(DEMO_PROJECT, DEMO_REGION, DEMO_ZONE)


class VirtualClock:
    """The port Clock."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop

    def now(self) -> datetime:
        """The wall clock."""
        return BEGINNING + timedelta(seconds=self._loop.time())

    def monotonic(self) -> float:
        """Virtual seconds."""
        return self._loop.time()

    async def sleep(self, span: timedelta) -> None:
        """Let virtual time pass."""
        await asyncio.sleep(max(0.0, span.total_seconds()))


class SimulatedWorld:
    """The port World."""

    def __init__(self, universe: Universe, sender: Sender, door: AgentDoor) -> None:
        self.policy: Policy = POLICY
        self.clock: Clock = VirtualClock(universe.loop)
        self.cloud = CloudDoor(universe, sender, _PLACE, POLICY, self.clock)
        self.machines: Machines = SimulatedMachines(self.cloud, self.clock)
        self.leases: Leases = SimulatedLeases(self.cloud)
        self.creation: Creation | None = None
        if universe.schedule.made:
            self.leases = state = state_of(self.cloud, POLICY, self.clock, DEMO_INSTANCE)
            self.machines = self.creation = SimulatedCreation(self.cloud, self.clock, state, universe.scheduling)
        self.addresses: Addresses = SimulatedAddresses(self.cloud, self.machines)
        self._door, self._clients = door, dict[str, AgentClient]()
        self.agent: Callable[[Machine, str], Agent] = self._client
        self.output: Callable[[Machine, str], Output] = self._client
        self.tell: Callable[[object], None] = lambda _: None

    def _client(self, _: Machine, ip: str) -> AgentClient:
        if ip not in self._clients:
            url = f"http://{ip}:8000"  # neither handshakes nor identity tokens are simulated
            self._clients[ip] = AgentClient(url, ApiKey(API_KEY), self.policy, self.clock, transport=self._door)
        return self._clients[ip]


@dataclass
class TaskProcess:
    """One process of one Cloud Run task: it can be asked to leave, and it can be killed."""

    universe: Universe
    process: Process
    called_off: asyncio.Event = field(default_factory=asyncio.Event)
    exit_code: int | None = None
    door: AgentDoor | None = None
    frozen_since_look: bool = False

    def sigterm(self) -> None:
        """And, ten seconds later, SIGKILL."""
        self.called_off.set()
        loop = self.process.loop
        loop.outside(loop.time() + KILL_SECONDS, self.killed)

    def killed(self) -> None:
        """SIGKILL."""
        if self.exit_code is None:
            self.process.kill()
            self.over(137, "killed")

    def over(self, exit_code: int, outcome: object) -> None:
        """It is no more: its kernel closes what it had open."""
        self.exit_code = exit_code
        self.universe.tell(f"{self.process.name} ended with {exit_code}: {outcome}")
        self.process.kill()
        if self.door is not None:
            self.door.orchestrator_died()

    def see_the_world(self) -> SimulatedWorld:
        """Its own connections to everything."""
        self.door = AgentDoor(Sender(self.universe, self))
        return SimulatedWorld(self.universe, Sender(self.universe, self), self.door)

    def may_stop(self, key: str) -> bool:
        """Whether a run of that key is its own to stop."""
        raise NotImplementedError

    def holds(self, lease: Lease | None) -> bool:
        """Whether this lease is its own."""
        raise NotImplementedError


@dataclass(kw_only=True)
class Attempt(TaskProcess):
    """One try of one execution's task."""

    execution: "Execution"
    number: int  # 0 for the first, as CLOUD_RUN_TASK_ATTEMPT has it
    run: Run | None = None
    receipt: Receipt | None = None

    def begin(self) -> None:
        """As `mayfly run` does, behind the reading of settings."""
        self.process.spawn(self._work(), "drive")

    def over(self, exit_code: int, outcome: object) -> None:
        """Cloud Run hears of it."""
        super().over(exit_code, outcome)
        self.execution.ended(self)

    def may_stop(self, key: str) -> bool:
        """Its own key's, whichever attempt began it."""
        return self.run is None or key == self.run.key

    def holds(self, lease: Lease | None) -> bool:
        """It shows the nonce of its run."""
        return self.run is not None and lease is not None and lease.nonce == self.run.nonce

    async def _work(self) -> None:
        world = self.see_the_world()
        self.run = self.execution.run_of(self.number, world.clock.now())
        try:
            self.receipt = await drive(self.run, world, self.called_off)
            self.over(self.receipt.exit_code, self.receipt.outcome)
        except MayflyError as error:
            self.over(int(error.exit), error)


@dataclass
class Execution:
    """One execution with one task: it is tried again until it exits with 0, or three times."""

    universe: Universe
    name: str
    key: str | None = None  # None: the execution's own
    waits: timedelta = timedelta()  # for the lease
    attempts: list[Attempt] = field(default_factory=list)
    over: bool = False
    cancelled: bool = False

    def cancel(self) -> None:
        """As `gcloud run jobs executions cancel`: SIGTERM, and no further attempt."""
        self.cancelled = True
        if self.attempts and self.attempts[-1].exit_code is None:
            self.attempts[-1].sigterm()
        else:
            self.over = True

    def delete(self) -> None:
        """As when its job is deleted, or its region is gone: SIGKILL, and no further attempt."""
        self.cancelled = self.over = True
        if self.attempts:
            self.attempts[-1].killed()

    def begin(self) -> None:
        """The next attempt's process starts."""
        if self.cancelled:
            return
        number = len(self.attempts)
        process = Process(self.universe.loop, f"{self.name}/{number}")
        self.attempts.append(Attempt(self.universe, process, execution=self, number=number))
        self.attempts[-1].begin()

    def ended(self, attempt: Attempt) -> None:
        """As Cloud Run reacts to an exit code."""
        if self.cancelled or attempt.exit_code == 0 or attempt.number >= RETRIES:
            self.over = True
        else:
            loop = self.universe.loop
            loop.outside(loop.time() + RETRY_SECONDS, self.begin)

    def run_of(self, attempt: int, now: datetime) -> Run:
        """The orders, as wiring makes them of the settings."""
        settings = _SETTINGS.model_copy(
            update={
                "cloud_run_execution": self.name,
                "cloud_run_task_attempt": attempt,
                "wait_for_lease": self.waits,
                "template": DEMO_TEMPLATE if self.universe.schedule.made else None,
                "on_interrupt": OnInterrupt(self.universe.schedule.trade or OnInterrupt.FAIL),
            },
        )
        run = make_run(settings, POLICY, mode=Mode.RUN, job=None, params={}, key=self.key, now=now)
        return replace(run, nonce=f"{self.name}-{attempt}")


def seed_the_jitter(seed: int | None) -> None:
    """tenacity draws its pauses from the module `random`."""
    random.seed(seed if seed is not None else 0)


_SETTINGS = Settings.model_construct(
    **{
        **{name: setting.default for name, setting in Settings.model_fields.items()},
        "project_id": DEMO_PROJECT,
        "zone": DEMO_ZONE,
        "region": DEMO_REGION,
        "instance": DEMO_INSTANCE,
        "static_name": DEMO_ADDRESS,
        "timeout": timedelta(minutes=5),
        "cloud_run_job": "job",
        "cloud_run_task_index": 0,
        "out": None,
    }
)
