"""`mayfly destroy`: all that a deploy made, and nothing else; not while a run is live."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from mayfly.deploy.apis import Apis, is_enabled
from mayfly.deploy.carry_out import Tell, bring_about, plan_of
from mayfly.deploy.config import Config
from mayfly.deploy.deploying import Agreed, schedules_of
from mayfly.deploy.instance import OFF
from mayfly.deploy.network import IP
from mayfly.deploy.places import refuse_if_elsewhere
from mayfly.deploy.plan import Step, down
from mayfly.deploy.resource import Resource
from mayfly.deploy.run_jobs import collection
from mayfly.deploy.schedules import sweep_entry
from mayfly.deploy.startup import HASH_ATTRIBUTE
from mayfly.deploy.tables import Sweep
from mayfly.deploy.template import Bucket
from mayfly.deploy.vm_body import metadata_of
from mayfly.deploy.wanted import Wanted
from orchestrator.errors import Busy
from orchestrator.google_admin import GoogleAdmin, Service
from orchestrator.google_errors import Subject
from orchestrator.lease import read_lease
from orchestrator.ports import Clock
from orchestrator.seen import RESERVED_FOR_A_RUN
from vm_agent.protocol import LEASE_ATTRIBUTE

_ANY_IMAGE = "any"  # what is removed is known by its name


@dataclass(frozen=True)
class Destruction:
    """Of what this config describes."""

    google: GoogleAdmin
    clock: Clock
    config: Config

    async def carry_out(self, agreed: Agreed, tell: Tell) -> tuple[list[Step], bool]:
        """The plan, and whether it was carried out: first what starts runs, then the rest. Busy, StepFailed."""
        enabled = (await Apis(self.config.project).look(self.google) or {}).get("enabled", [])
        await refuse_if_elsewhere(self.google, self.config, enabled)
        await self._refuse_if_live(enabled)
        resources = await self._resources(enabled)
        steps = await plan_of(self.google, self.config.project, resources, down)
        if not (any(step.does_something for step in steps) and agreed(steps)):
            return steps, False
        tell = _counted(tell, sum(step.does_something for step in steps))
        # The sweeper ticks to the last: should all this break off here, somebody must finish what a dead run left.
        sweeps = sweep_entry(self.config, "").name
        ticking = [one.service is Service.SCHEDULER and one.name != sweeps for one in resources]
        await self._remove(resources, steps, ticking, tell)
        # A run that began while somebody was asked is live, too. From here on none begins by itself.
        try:
            await self._refuse_if_live(enabled)
        except Busy as live:
            raise Busy(f"{live}{_gone(step for step, now in zip(steps, ticking, strict=True) if now)}") from live
        # The IP comes last: somebody's VM may use it, which is no reason to keep all the rest.
        is_ip = [one.kind == IP for one in resources]
        rest = [not (ticks or ip) for ticks, ip in zip(ticking, is_ip, strict=True)]
        await self._remove(resources, steps, rest, tell)
        await self._remove(resources, steps, is_ip, tell)
        return steps, True

    async def _resources(self, enabled: Sequence[str]) -> list[Resource]:
        """The other way round, and with the schedules that mayfly.toml no longer has."""
        ever = replace(self.config, sweep=Sweep())  # a sweeper was made, whatever the file says today
        known = [
            replace(one, going=True) if isinstance(one, Bucket) else one
            for one in reversed(Wanted(ever, _ANY_IMAGE).resources())
            if not isinstance(one, Apis)
        ]
        if not is_enabled(Service.SCHEDULER, enabled):
            return known
        names = {(one.kind, one.name) for one in known}
        found = [entry async for entry in schedules_of(self.google, self.config)]
        entries = [entry for entry in found if (entry.kind, entry.name) not in names]
        return [*entries, *known]

    async def _remove(
        self, resources: Sequence[Resource], steps: Sequence[Step], chosen: Sequence[bool], tell: Tell
    ) -> None:
        pairs = [(one, step) for one, step, now in zip(resources, steps, chosen, strict=True) if now]
        await bring_about(self.google, self.clock, [one for one, _ in pairs], [step for _, step in pairs], tell)

    async def _refuse_if_live(self, enabled: Sequence[str]) -> None:
        if is_enabled(Service.RUN, enabled):
            await self._refuse_if_executing()
        if is_enabled(Service.COMPUTE, enabled):
            await self._refuse_if_on()
            await self._refuse_if_reserved()

    async def _refuse_if_executing(self) -> None:
        name = self.config.job.name
        job = f"{collection(self.config)}/{name}"
        subject = Subject(f"look at the executions of {name}", f"There is no Cloud Run job {name}.")
        if await self.google.find(Service.RUN, job, subject) is None:
            return
        async for execution in self.google.list(Service.RUN, f"{job}/executions", "executions", subject):
            if "completionTime" not in execution:
                live = execution["name"].rpartition("/")[2]
                raise Busy(f"A run is live: the execution {live}. Wait for its end, or cancel it, before you destroy.")

    async def _refuse_if_on(self) -> None:
        own = self.config.settings
        subject = Subject(f"look at the VM {own.instance}", "")
        path = f"projects/{self.config.project}/zones/{own.zone}/instances/{own.instance}"
        vm = await self.google.find(Service.COMPUTE, path, subject)
        if vm is None:
            return
        has = metadata_of(vm)
        lease = read_lease(has.get(LEASE_ATTRIBUTE))
        # Google's clock: by one that is ahead, a run that is live would have let its lease expire.
        if lease is not None and lease.held(await self.google.time(Service.COMPUTE, path, subject)):
            raise Busy(f"A run is live on the VM {own.instance}: {lease.key}. Wait for its end before you destroy.")
        if (vm["status"] not in OFF and HASH_ATTRIBUTE in has) or own.template:
            raise Busy(
                f"The VM {own.instance} is there, {vm['status']}: somebody may be at work on it. Stop it, or run "
                "`mayfly sweep` if it was forgotten; then destroy."
            )

    async def _refuse_if_reserved(self) -> None:
        """An IP that a dead run reserved for itself is no part of a deployment: nobody would find it afterwards."""
        own = self.config.settings
        if own.static_name is None:
            return
        subject = Subject(f"look at the static IP {own.static_name}", "")
        path = f"projects/{self.config.project}/regions/{own.region}/addresses/{own.static_name}"
        seen = await self.google.find(Service.COMPUTE, path, subject)
        if seen is not None and seen.get("description") == RESERVED_FOR_A_RUN:
            raise Busy(
                f"The static IP {own.static_name} was reserved by a run that did not release it, and would go on "
                "costing. `mayfly sweep` gives it back; then destroy."
            )


def _gone(ticking: Iterable[Step]) -> str:
    names = [step.name for step in ticking if step.does_something]
    said = " Removed already, so that no run begins: {}. All else is as it was; `mayfly deploy` makes them again."
    return said.format(", ".join(names)) if names else ""


def _counted(tell: Tell, count: int) -> Tell:
    """The two halves are one to who looks on."""
    so_far = 0

    def counted(step: Step, _number: int, _count: int, waits: str) -> None:
        nonlocal so_far
        so_far += not waits
        tell(step, so_far, count, waits)

    return counted
