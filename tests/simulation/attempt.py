"""One attempt of the orchestrator: production's code from the settings on, on a simulated clock, cloud and network."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from orchestrator.agent_client import AgentClient
from orchestrator.drive import drive
from orchestrator.events import Event, Note, PhaseStarted
from orchestrator.google_addresses import GoogleAddresses
from orchestrator.google_calls import GoogleCalls, Place
from orchestrator.google_compute import GoogleCompute
from orchestrator.google_leases import GoogleLeases
from orchestrator.google_machines import GoogleMachines
from orchestrator.policy import Policy, seconds
from orchestrator.run import Receipt, Run
from orchestrator.settings import Settings
from orchestrator.wiring import GoogleWorld, make_run, policy_of
from tests.simulation.agent_door import AgentDoor
from tests.simulation.cloud_door import CloudDoor
from tests.simulation.google import SimulatedGoogle
from tests.simulation.guest import API_KEY
from tests.simulation.loop import VirtualLoop
from vm_agent.protocol import Mode

PROJECT, ZONE, VM, ADDRESS = "demo", "us-central1-a", "gpu-vm", "gpu-ip"


def settings_of(execution: str, attempt: int) -> Settings:
    """As Cloud Run starts it; the spans are short, so that a schedule is."""
    return Settings(
        _env_file=None,  # type: ignore[call-arg]
        project_id=PROJECT,
        zone=ZONE,
        instance=VM,
        static_name=ADDRESS,
        agent_key=API_KEY,
        timeout=timedelta(minutes=5),
        boot_timeout=timedelta(minutes=2),
        boot_margin=timedelta(minutes=1),
        cloud_run_job="mayfly",
        cloud_run_execution=execution,
        cloud_run_task_attempt=attempt,
    )


def policy_for(settings: Settings) -> Policy:
    """Production's numbers, except that an agent is asked once a second, not ten times, whether it is there."""
    return replace(policy_of(settings), agent_poll=seconds(1))


@dataclass(frozen=True)
class VirtualClock:
    """The clock of one process (port `Clock`)."""

    door: CloudDoor
    loop: VirtualLoop

    def now(self) -> datetime:
        return self.door.now()

    def monotonic(self) -> float:
        return self.loop.time()

    async def sleep(self, span: timedelta) -> None:
        await asyncio.sleep(max(0.0, span.total_seconds()))


class SimulatedCalls(GoogleCalls):
    """Production's own, which tries, settles and sees through; without its threads."""

    def __init__(self, policy: Policy, clock: VirtualClock, google: SimulatedGoogle) -> None:
        super().__init__(Place(PROJECT, ZONE.rpartition("-")[0], ZONE), policy, clock, google.clients)
        self._threads = self._stop_thread = google  # type: ignore[assignment]


def order(execution: str, attempt: int, now: datetime) -> tuple[Run, Policy]:
    """What this attempt is asked for."""
    settings = settings_of(execution, attempt)
    policy = policy_for(settings)
    return make_run(settings, policy, mode=Mode.RUN, job=None, params={"n": 1}, key=None, now=now), policy


async def run_to_its_end(
    run: Run,
    policy: Policy,
    clock: VirtualClock,
    google: SimulatedGoogle,
    agents: AgentDoor,
    called_off: asyncio.Event,
    note: Callable[[str, str], None],
) -> Receipt:
    """The whole life of one orchestrator process."""
    calls = SimulatedCalls(policy, clock, google)
    machines = GoogleMachines(calls)
    compute = GoogleCompute(machines, GoogleLeases(calls), GoogleAddresses(calls, machines), calls.close)
    clients: dict[str, AgentClient] = {}

    def client(ip: str) -> AgentClient:
        if ip not in clients:
            clients[ip] = AgentClient(f"http://{ip}:{run.agent_port}", API_KEY, policy, clock, transport=agents)
        return clients[ip]

    def tell(event: Event) -> None:
        if isinstance(event, PhaseStarted):
            note("phase", event.sentence)
        elif isinstance(event, Note):
            note("says", event.message)

    return await drive(run, GoogleWorld(policy, clock, compute, client, tell), called_off)
