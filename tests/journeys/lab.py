"""A laboratory for journeys: the real orchestrator, Google's real clients, the real agent on an emulated VM.

Nothing is mocked: the orchestrator talks HTTP to the emulator, whose VM executes a startup script that starts the
real agent. Only the numbers of `policy` are smaller, so that what waits for minutes in production waits for moments.
"""

import asyncio
import shlex
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import httpx

from gcp_emulator.emulator import Emulator
from gcp_emulator.exports import exports
from gcp_emulator.seed import AddressSeed, InstanceSeed, SecretSeed, Seed, caller_email
from orchestrator.drive import drive
from orchestrator.events import Event, JobOutput, PhaseStarted
from orchestrator.lease import Lease, read_lease
from orchestrator.policy import Patience, Policy, seconds
from orchestrator.run import Receipt
from orchestrator.settings import Settings
from orchestrator.wiring import make_run, open_world
from vm_agent.protocol import FunctionJob, Job, Mode

CHECKOUT = Path(__file__).resolve().parents[2]
APP = Path(__file__).parent / "app"
API_KEY = "the-journeys-key"
Bug = Exception | Callable[[], Awaitable[None]]

# As in production, but that nobody has minutes to wait here.
IMPATIENT = Policy(
    cloud_calls=Patience(6, seconds(5), seconds(0.02), seconds(0.2)),
    agent_calls=Patience(4, seconds(2), seconds(0.02), seconds(0.2)),
    start=seconds(20),
    boot=seconds(30),
    boot_margin=seconds(30),
    boot_report=seconds(0.2),
    agent_poll=seconds(0.05),
    log_poll=seconds(2),
    lost_agent=seconds(3),
    grace=seconds(5),
    off_poll=seconds(0.05),
    down=seconds(30),
    after_sigterm=seconds(8.5),
)


def starts_the_agent(api_key: str = API_KEY, **environment: str) -> str:
    """A startup script that does what startup.sh does last: the agent, supervised, with its settings in a 0600 file.

    It takes tokens, as the orchestrator shows them, and also the key: that is for what tests do by hand.
    """
    who_may_call = {"MAYFLY_AUTH": "both", "MAYFLY_CALLERS": caller_email("demo"), "MAYFLY_API_KEY": api_key}
    lines = "\n".join(f"{name}={value}" for name, value in {**who_may_call, **environment}.items())
    return f"""#!/bin/bash
set -eu
umask 077
mkdir -p "$MAYFLY_ROOT/etc/mayfly"
printf '%s\\n' {shlex.quote(lines)} "MAYFLY_APP={APP}" "PYTHONPATH={CHECKOUT}" > "$MAYFLY_ROOT/etc/mayfly/agent.env"
"$MAYFLY_SUPERVISOR" mayfly-agent "$MAYFLY_ROOT/etc/mayfly/agent.env" -- {sys.executable} -m vm_agent
"""


def a_world(script: str | None = None, **vm: Any) -> Seed:
    """A stopped `gpu-vm`, the free address `gpu-ip` and the agent's key; `vm` changes the instance."""
    metadata = {"enable-guest-attributes": "TRUE", "startup-script": script or starts_the_agent()}
    machine = InstanceSeed("gpu-vm", metadata=metadata, labels={"mayfly": "managed"})
    return Seed(
        instances=(replace(machine, **vm),),
        addresses=(AddressSeed("gpu-ip"),),
        secrets=(SecretSeed("mayfly-agent-key", versions=(API_KEY,)),),
    )


@dataclass
class Lab:
    """One emulator, and everything the orchestrator said about its runs."""

    emulator: Emulator
    told: list[Event] = field(default_factory=list)

    def settings(self, **changes: Any) -> Settings:
        given = {
            "project_id": "demo",
            "zone": "us-central1-a",
            "instance": "gpu-vm",
            "static_name": "gpu-ip",
            "timeout": "60s",
            "compute_emulator_host": self.emulator.host,
            "secret_manager_emulator_host": self.emulator.host,
            "gce_metadata_host": self.emulator.host,
            "mayfly_certs_url": exports(self.emulator.port)["MAYFLY_CERTS_URL"],
        }
        return Settings(**given | changes)

    async def run(
        self,
        job: str | Job | None = None,
        *,
        mode: Mode = Mode.RUN,
        params: Mapping[str, Any] | None = None,
        key: str | None = None,
        policy: Policy = IMPATIENT,
        called_off: asyncio.Event | None = None,
        bugs: Mapping[str, list[Bug]] | None = None,
        tell: Callable[[Event], None] | None = None,
        now: datetime | None = None,
        **settings: Any,
    ) -> Receipt:
        """`mayfly run JOB`, in this process.

        `bugs`: what verbs of a port ("machines.start,stop") raise at first, or what happens just before them.
        """
        chosen = self.settings(**settings)
        wanted = FunctionJob(function=job) if isinstance(job, str) else job
        async with open_world(chosen, policy, tell or self.told.append) as world:
            for verb, errors in (bugs or {}).items():
                _plant(world, verb, errors)
            given = dict(params or {})
            run = make_run(chosen, policy, mode=mode, job=wanted, params=given, key=key, now=now or world.clock.now())
            return await drive(run, world, called_off or asyncio.Event())

    @property
    def disk(self) -> Path:
        """The VM's disk, which is all that its inside can see of this machine and change."""
        return self.emulator.folder / "demo" / "us-central1-a" / "gpu-vm"

    @property
    def output(self) -> str:
        """What the jobs printed."""
        return b"".join(event.data for event in self.told if isinstance(event, JobOutput)).decode()

    def requests(self, *verbs: str) -> list[dict[str, Any]]:
        """The requests of these verbs ("instances.start") that the cloud has seen, oldest first."""
        entries = [entry for entry in self.emulator.history() if entry["kind"] == "request"]
        return [entry for entry in entries if not verbs or entry.get("verb") in verbs]

    def states(self, resource: str = "instances/gpu-vm") -> list[str]:
        """The states that a resource went through."""
        changes = [entry for entry in self.emulator.history() if entry["kind"] == "state"]
        return [entry["to"] for entry in changes if entry["resource"].endswith(resource)]

    async def vm(self, name: str = "gpu-vm") -> dict[str, Any]:
        """The VM as the cloud shows it now."""
        return await self._ask(f"compute/v1/projects/demo/zones/us-central1-a/instances/{name}")

    async def address(self, name: str = "gpu-ip") -> dict[str, Any]:
        """The reserved address as the cloud shows it now."""
        return await self._ask(f"compute/v1/projects/demo/regions/us-central1/addresses/{name}")

    async def lease(self, vm: str = "gpu-vm") -> Lease | None:
        """The lease in the VM's metadata."""
        items = (await self.vm(vm))["metadata"].get("items", [])
        return read_lease({item["key"]: item["value"] for item in items}.get("mayfly-lease"))

    async def write_lease(self, value: str | None, vm: str = "gpu-vm") -> None:
        """As anybody could who may write the VM's metadata; None wipes it off."""
        path = f"compute/v1/projects/demo/zones/us-central1-a/instances/{vm}/setMetadata"
        while True:
            metadata = (await self.vm(vm))["metadata"]
            items = [item for item in metadata.get("items", []) if item["key"] != "mayfly-lease"]
            items += [] if value is None else [{"key": "mayfly-lease", "value": value}]
            try:
                await self.post(path, {"fingerprint": metadata["fingerprint"], "items": items})
            except httpx.HTTPStatusError as refused:
                if refused.response.status_code != httpx.codes.PRECONDITION_FAILED:
                    raise
            else:
                return

    async def switch_off(self, vm: str = "gpu-vm") -> None:
        """As a person would, out of band; returns once it is off."""
        zone = f"{self.emulator.url}/compute/v1/projects/demo/zones/us-central1-a"
        async with httpx.AsyncClient(timeout=60) as client:
            operation = (await client.post(f"{zone}/instances/{vm}/stop")).raise_for_status().json()["name"]
            (await client.post(f"{zone}/operations/{operation}/wait")).raise_for_status()

    async def clear_faults(self) -> None:
        """From here on nothing goes wrong any more."""
        async with httpx.AsyncClient() as client:
            (await client.delete(f"{self.emulator.url}/_emulator/faults")).raise_for_status()

    async def inject(self, **rule: Any) -> None:
        """Add a fault rule; the test ends badly if it is never spent."""
        await self.post("_emulator/faults", rule)

    async def post(self, path: str, body: Any = None) -> None:
        """As anybody could who may use this project."""
        async with httpx.AsyncClient() as client:
            (await client.post(f"{self.emulator.url}/{path}", json=body)).raise_for_status()

    async def until(self, holds: Callable[[], bool]) -> None:
        """Wait for something that the test's other half makes true."""
        async with asyncio.timeout(30):
            while not holds():
                await asyncio.sleep(0.02)

    async def all_is_well(self, still_on: Sequence[str] = ()) -> None:
        """What every journey ends with: nothing left on, nothing answered that Google could not, every fault spent."""
        listed = await self._ask("compute/v1/projects/demo/zones/us-central1-a/instances")
        on = {vm["name"] for vm in listed.get("items", []) if vm["status"] != "TERMINATED"}
        assert on == set(still_on), "a VM was left on"
        violations = [entry for entry in self.emulator.history() if entry["kind"] == "violation"]
        assert violations == [], "the emulator answered something that Google could not"
        faults = (await self._ask("_emulator/faults"))["faults"]
        assert [fault for fault in faults if not fault["spent"] and fault["times"] is not None] == []

    async def _ask(self, path: str) -> dict[str, Any]:
        async with httpx.AsyncClient() as client:
            answer: dict[str, Any] = (await client.get(f"{self.emulator.url}/{path}")).raise_for_status().json()
            return answer


def _plant(world: Any, verb: str, errors: list[Bug]) -> None:
    """No cloud and no wire can make our own code fail; this does, in front of the real thing."""
    port, _, names = verb.partition(".")
    if port in {"agent", "output"}:
        client = getattr(world, port)
        setattr(world, port, lambda *whom: _Failing(client(*whom), names.split(","), errors))
    else:
        setattr(world, port, _Failing(getattr(world, port), names.split(","), errors))


class _Failing:
    def __init__(self, real: Any, verbs: Sequence[str], errors: list[Bug]) -> None:
        self._real, self._verbs, self._errors = real, verbs, errors

    def __getattr__(self, name: str) -> Any:
        real = getattr(self._real, name)
        return partial(self._fail, real) if name in self._verbs and self._errors else real

    async def _fail(self, real: Callable[..., Awaitable[Any]], *given: Any, **named: Any) -> Any:
        first = self._errors.pop(0)
        if isinstance(first, Exception):
            raise first
        await first()
        return await real(*given, **named)


def in_phase(lab: Lab, name: str) -> Callable[[], bool]:
    """Whether that phase has begun."""
    return lambda: any(isinstance(event, PhaseStarted) and event.name == name for event in lab.told)


MUTATIONS: Sequence[str] = (
    "instances.start",
    "instances.stop",
    "instances.setMetadata",
    "instances.setScheduling",
    "instances.addAccessConfig",
    "instances.deleteAccessConfig",
)


@asynccontextmanager
async def a_lab(
    folder: Path, seed: Seed | None = None, *, readable: Sequence[Path] = (), **options: Any
) -> AsyncIterator[Lab]:
    """A lab whose emulator ends with the block."""
    seen = [CHECKOUT, Path(sys.prefix), Path(sys.base_prefix), *readable]
    async with Emulator(seed=seed or a_world(), folder=folder, readable=seen, **options) as emulator:
        yield Lab(emulator)
