"""The agent as a whole: what it is made of, how it gets ready, and how it leaves."""

import asyncio
import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from vm_agent import policy
from vm_agent.auth import Credential
from vm_agent.deadman import Deadman
from vm_agent.egress import Echo, must_be
from vm_agent.fence import Fence
from vm_agent.gpu import GpuProbe, NoGpu
from vm_agent.problems import LedgerLost, NotReady
from vm_agent.protocol import LEASE_ATTRIBUTE, Gpu, Greeting, Health
from vm_agent.runs import Runs

log = logging.getLogger(__name__)


class Self(Protocol):
    """What the machine knows about itself."""

    @property
    def boot_id(self) -> str:
        """The kernel's name for this boot."""

    async def instance_id(self) -> str | None:
        """The number that `instances.get` shows."""

    async def egress_ip(self) -> str | None:
        """The external address on nic0."""


class Power(Protocol):
    """The machine's power button."""

    @property
    def ours(self) -> bool:
        """Whether this machine is ours to turn off."""

    async def off(self) -> None:
        """Ask the machine to power off. Refused where it is not ours."""


class Attributes(Protocol):
    """The VM's metadata."""

    async def attributes(self, tag: str) -> tuple[Mapping[str, str], str]:
        """All of them and their tag, once that is another than `tag`, or after a while. OSError: nobody knows."""


@dataclass
class Agent:
    """Everything the app needs. Made of ports, so that a simulation can bring its own."""

    runs: Runs
    fence: Fence
    identity: Self
    gpu_probe: GpuProbe
    power: Power
    deadman: Deadman
    metadata: Attributes
    credentials: Sequence[Credential]
    version: str
    gpu_required: bool = False
    echo: Echo | None = None
    names: Collection[str] = ()  # besides "localhost" and any address
    _health: Health = field(default_factory=lambda: Health(status="starting", stage="recovery"))
    _gpus: list[Gpu] | None = None
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    def begin(self) -> None:
        """Arm the dead-man, then start getting ready; health says how far it is."""
        doing = [self._prepare()]
        if self.power.ours:
            self.deadman.arm()
            doing = [self.deadman.watch(self.turn_off), self._listen(), *doing]
        self._tasks = {asyncio.create_task(work) for work in doing}

    async def end(self) -> None:
        """Leave in order: what was live is ended and recorded if the time allows."""
        self.runs.leave()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.runs.left()

    async def turn_off(self) -> None:
        """Power the machine off. From here on nothing is accepted: it would be cut off."""
        if self.power.ours:
            self.runs.leave()
        await self.power.off()

    def health(self) -> Health:
        """What anybody may know."""
        if self.runs.closing:
            return Health(status="starting", stage="leaving", detail="the agent is shutting down")
        if self.runs.broken:
            return Health(status="failed", stage="ledger", detail=self.runs.broken)
        return self._health

    async def greeting(self) -> Greeting:
        """What a caller with credentials may know."""
        instance_id, egress_ip = await asyncio.gather(self.identity.instance_id(), self.identity.egress_ip())
        return Greeting(
            **self.health().model_dump(),
            version=self.version,
            instance_id=instance_id,
            boot_id=self.identity.boot_id,
            egress_ip=egress_ip,
            gpu=self._gpus,
            run=self.runs.live(),
            epoch=self.fence.ledger.epoch,
        )

    def must_be_ready(self) -> None:
        """Raise NotReady unless a run could start now."""
        if (health := self.health()).status != "ok":
            raise NotReady(f"{health.stage}: {health.detail or health.status}")

    async def must_go_out_by(self, address: str) -> None:
        """Raise WrongEgress unless that is this VM's own address, as all who can tell see it."""
        looks = {"the metadata server": self.identity.egress_ip}
        await must_be(address, looks | ({"the echo": self.echo.look} if self.echo else {}))

    async def _listen(self) -> None:
        """Hear what changes in the metadata: a lease renewed is a word, and the epoch of a new one counts at once."""
        tag = ""
        while True:
            try:
                attributes, tag = await self.metadata.attributes(tag)
                self.deadman.saw(attributes)
                self.fence.observe(attributes.get(LEASE_ATTRIBUTE))
            except OSError:
                tag = ""  # silence
            except Exception:  # a ledger that is lost, say: no reason to hear nothing more
                log.exception("what the metadata say was not taken in")
            await asyncio.sleep(policy.METADATA_PAUSE_SECONDS)

    async def _prepare(self) -> None:
        try:
            if live := self.runs.live():
                detail = f"ending what is left of run {live.id}"
                self._health = Health(status="starting", stage="recovery", detail=detail)
            await self.runs.recover()
            await self._find_gpus()
            self._health = Health(status="ok")
            log.info("ready: gpu=%s", [gpu.name for gpu in self._gpus] if self._gpus else None)
        except Exception as problem:  # a health that says why is worth more than a process that is gone
            log.exception("the agent cannot get ready")
            stage = "ledger" if isinstance(problem, LedgerLost) else self._health.stage
            self._health = Health(status="failed", stage=stage, detail=str(problem))

    async def _find_gpus(self) -> None:
        """Look once; where a GPU is required, until one answers: its driver may still be being installed."""
        while True:
            try:
                self._gpus = [_gpu(facts) for facts in await self.gpu_probe.look()]
            except NoGpu as problem:
                log.info("no GPU: %s", problem)
                if self.gpu_required:
                    self._health = Health(status="starting", stage="gpu", detail=str(problem))
                    await asyncio.sleep(policy.GPU_RETRY_SECONDS)
                    continue
            return


def _gpu(facts: dict[str, Any]) -> Gpu:
    return Gpu.model_validate(facts)
