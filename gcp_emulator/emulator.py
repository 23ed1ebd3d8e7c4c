"""A running emulator: the model, its clock, its doors and its guests, for as long as the `async with` lasts."""

import asyncio
import sys
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any, Self

from gcp_emulator.asgi import app_of
from gcp_emulator.caller import Caller
from gcp_emulator.cloud import Cloud
from gcp_emulator.console import Console
from gcp_emulator.containers import Containers, Processes
from gcp_emulator.forward import Forwarding
from gcp_emulator.front import Front
from gcp_emulator.identity import Signer
from gcp_emulator.knobs import Knobs
from gcp_emulator.latency import PROFILES, Latency
from gcp_emulator.listener import Listener
from gcp_emulator.loopback import LOCALHOST, listen
from gcp_emulator.machines import Machines
from gcp_emulator.metadata_door import MetadataDoors
from gcp_emulator.seed import Seed, seed_caller
from gcp_emulator.tasks import Tasks
from gcp_emulator.wallclock import WallClock, begin
from gcp_emulator.wire import Boot, Effect, EndSilence, Forward, KillTask, Silence, StartTask, TermTask, Unforward

AGENT_PORT = 8000
POWER_OFF_GRACE_SECONDS = 2  # what guests get when the emulator ends: somebody waits for their Ctrl-C


@cache
def _signer() -> Signer:
    """The key that all clouds of this process sign with: there is one Google, and to make a key takes time."""
    return Signer.new()


class Emulator:
    """`async with Emulator(seed=demo_seed(...), folder=tmp_path) as emulator: ... emulator.url ...`.

    Port 0 takes a free one. Without a folder the VMs' disks are gone afterwards.
    """

    def __init__(
        self,
        *,
        seed: Seed | None = None,
        port: int = 0,
        latency: Latency | str = "instant",
        folder: Path | None = None,
        forward: Iterable[int] = (AGENT_PORT,),
        readable: Sequence[Path] = (),  # folders of this machine that guests may read, such as a checkout
        containers: Containers | None = None,  # what runs the tasks of Cloud Run; default: processes of `mayfly`
        knobs: Knobs | None = None,
        random_seed: int = 0,
    ) -> None:
        seed = seed or Seed()
        self._socket = listen(LOCALHOST, port)
        self.port: int = self._socket.getsockname()[1]
        self.host = f"{LOCALHOST}:{self.port}"
        self.url = f"http://{self.host}"
        self._temporary = None if folder else TemporaryDirectory(prefix="mayfly-emulator-")
        self.folder = folder or Path(self._temporary.name if self._temporary else "")
        signer = _signer()
        began = begin()
        self.cloud = Cloud(
            seed,
            began,
            port=self.port,
            latency=PROFILES[latency] if isinstance(latency, str) else latency,
            knobs=knobs,
            random=Random(random_seed),  # noqa: S311 - latencies and ids that can be reproduced, nothing secret
            signer=signer,
        )
        self._clock = WallClock(self.cloud, self._carry_out, began)
        self._machines = Machines(self.folder, self.port, self._clock.guest_says, readable=readable)
        self._tasks = Tasks(self.port, containers or Processes(), self._clock.task_says, signer, self._clock.now)
        self._forwarding = Forwarding(forward)
        self._metadata = MetadataDoors(self.cloud, self._clock, self.port)
        self._signer = signer
        self._console = Console(Front(self.cloud, self._clock).answer, self._caller, self._clock)
        self._listener: Listener | None = None

    async def __aenter__(self) -> Self:
        for instance, internal_ip in self.cloud.machines().items():
            self._metadata.open(instance, internal_ip)
        self._listener = Listener(self._socket, app_of(self._console.answer))
        self._clock.settle()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Leave no process, no listening socket and no task behind."""
        self._clock.stop()
        self._forwarding.close_all()
        await asyncio.gather(self._tasks.kill_all(), self._machines.switch_all_off(POWER_OFF_GRACE_SECONDS))
        await asyncio.gather(self._metadata.close(), *([self._listener.close()] if self._listener else []))
        if self._temporary:
            await asyncio.to_thread(self._temporary.cleanup)

    def _caller(self) -> Caller:
        seed = self.cloud.seed
        project, region = seed.projects[0], next(iter(seed.regions))
        return Caller(project.id, project.number, region, seed_caller(seed), self._signer)

    def history(self) -> list[dict[str, Any]]:
        """Everything that happened: the entries of /_emulator/history."""
        entries: list[dict[str, Any]] = self.cloud.world.history.since(0)["entries"]
        return entries

    def _carry_out(self, effect: Effect) -> None:
        match effect:
            case Forward():
                self._forward(effect)
            case Unforward():
                self._forwarding.close(effect.external)
            case Silence():
                self._forwarding.silence(effect.external)
            case EndSilence():
                self._forwarding.end_silence(effect.external)
            case Boot():
                self._metadata.open(effect.instance, effect.internal_ip)
                self._machines.carry_out(effect)
            case StartTask() | TermTask() | KillTask():
                self._tasks.carry_out(effect)
            case _:
                self._machines.carry_out(effect)

    def _forward(self, effect: Forward) -> None:
        try:
            self._forwarding.open(effect.external, effect.internal)
        except OSError as error:  # the VM runs on, only nobody reaches it: as with a wrong firewall rule
            sys.stderr.write(f"emulator: {effect.external} is not forwarded: {error}\n")
            self.cloud.world.history.add(self._clock.now(), "violation", resource=effect.external, error=str(error))
