"""What the checks look at. Each thing is fetched once, when the first of them asks for it."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from mayfly.deploy.apis import Apis, is_enabled
from mayfly.deploy.config import Config
from mayfly.deploy.policies import Grants
from mayfly.deploy.run_jobs import collection, sweeper
from mayfly.deploy.vm_body import metadata_of, orchestrator_email
from mayfly.doctor.findings import NotLooked
from mayfly.ticks import Tick, ticks
from orchestrator.errors import Forbidden, NotFound
from orchestrator.google_admin import GoogleAdmin, Json, Service
from orchestrator.google_compute import GoogleCompute
from orchestrator.google_errors import Subject
from orchestrator.policy import Policy
from orchestrator.ports import Clock, Inventory
from orchestrator.seen import Address, Listing, Machine
from orchestrator.spans import written

T = TypeVar("T")


class Patient:
    """A project as Mayfly uses it."""

    def __init__(
        self,
        config: Config,
        policy: Policy,
        clock: Clock,
        *,
        google: GoogleAdmin,
        compute: GoogleCompute,
        inventory: Inventory,
    ) -> None:
        self.config, self.settings, self.policy, self.clock = config, config.settings, policy, clock
        self.google, self._compute, self._inventory = google, compute, inventory
        self._known: dict[str, asyncio.Task[Any]] = {}

    @property
    def names(self) -> dict[str, str]:
        """What the sentences and commands call things."""
        own = self.settings
        return {
            "project": own.project_id,
            "zone": own.zone,
            "region": own.region,
            "instance": own.instance,
            "template": own.template or "",
            "address": own.static_name or "",
            "port": str(own.agent_port),
            "limit": written(self.config.vm_limit),
            "limit_seconds": f"{self.config.vm_limit.total_seconds():.0f}",
            "job": self.config.job.name,
            "sweeper": sweeper(self.config),
            "job_region": self.config.job_region,
            "orchestrator": orchestrator_email(self.config),
        }

    async def enabled(self) -> list[str]:
        """The APIs that are enabled. Forbidden, NotFound."""

        async def look() -> list[str]:
            return list((await Apis(self.settings.project_id).look(self.google) or {})["enabled"])

        return await self._once("apis", look)

    async def may_be_enabled(self, service: Service) -> bool:
        """Whether to ask it anything: yes also where we may not know."""
        try:
            return is_enabled(service, await self.enabled())
        except (Forbidden, NotFound):
            return True

    async def instance(self) -> Json | None:
        """The VM as the API shows it; None if there is none."""
        return await self._find("instance", Service.COMPUTE, f"{self._zone}/instances/{self.settings.instance}")

    async def vm(self) -> Json:
        """What the VM is made of: the instance, or with TEMPLATE the template's properties."""
        if self.settings.template is None:
            seen = await self.instance()
            if seen is None:
                raise NotLooked(f"There is no VM {self.settings.instance}.")
            return seen
        template = await self.template()
        if template is None:
            raise NotLooked(f"There is no instance template {self.settings.template}.")
        properties: Json = template["properties"]
        return properties

    async def template(self) -> Json | None:
        """The instance template that TEMPLATE names: NAME, regions/R/instanceTemplates/NAME, or a URL."""
        path = (self.settings.template or "").partition("/compute/v1/")[2] or self.settings.template or ""
        path = path if "/" in path else f"global/instanceTemplates/{path}"
        path = path if path.startswith("projects/") else f"projects/{self.settings.project_id}/{path}"
        return await self._find("template", Service.COMPUTE, path)

    async def metadata(self) -> dict[str, str]:
        """The VM's, over the project's."""
        vm, project = await asyncio.gather(self.vm(), self.project())
        return metadata_of({"metadata": project.get("commonInstanceMetadata", {})}) | metadata_of(vm)

    async def project(self) -> Json:
        """The project as Compute Engine shows it."""
        seen = await self._find("project", Service.COMPUTE, f"projects/{self.settings.project_id}")
        if seen is None:
            raise NotLooked(f"There is no project {self.settings.project_id}.")
        return seen

    async def machine(self) -> Machine:
        """The VM as a run sees it, lease and all."""
        if self.settings.template is None:
            await self.vm()
        return await self._once("machine", lambda: self._compute.machines.look(self.settings.instance))

    async def address(self) -> Json | None:
        """The reserved address in the VM's region; None if there is none."""
        if self.settings.static_name is None:
            raise NotLooked("STATIC_NAME is not set, so no address is attached.")
        where = f"projects/{self.settings.project_id}/regions/{self.settings.region}/addresses"
        return await self._find("address", Service.COMPUTE, f"{where}/{self.settings.static_name}")

    async def region(self) -> Json:
        """The region, with its quotas."""
        seen = await self._find(
            "region", Service.COMPUTE, f"projects/{self.settings.project_id}/regions/{self.settings.region}"
        )
        if seen is None:
            raise NotLooked(f"There is no region {self.settings.region}.")
        return seen

    async def job(self, name: str) -> Json | None:
        """A Cloud Run job; None if there is none."""
        return await self._find(f"job {name}", Service.RUN, f"{collection(self.config)}/{name}")

    async def account_of(self, name: str) -> str | None:
        """Whom a Cloud Run job acts as; None if it is not deployed."""
        try:
            job = await self.job(name)
        except NotLooked:  # Cloud Run is not enabled
            return None
        return None if job is None else str(job["template"]["template"].get("serviceAccount", "nobody"))

    async def deployed_job(self) -> Json:
        """The job that carries runs out. NotLooked: nothing is deployed."""
        job = await self.job(self.config.job.name)
        if job is None:
            raise NotLooked(f"There is no Cloud Run job {self.config.job.name}: runs start on this machine only.")
        return job

    async def ticks(self) -> list[Tick]:
        """The Scheduler's entries of ours."""
        return await self._once("ticks", lambda: ticks(self.google, self.settings.project_id, self.config.job_region))

    async def machines(self) -> Listing[Machine]:
        """All VMs of ours, in all zones."""
        return await self._once("machines", self._inventory.machines)

    async def addresses(self) -> Listing[Address]:
        """All reserved addresses of ours, in all regions."""
        return await self._once("addresses", self._inventory.addresses)

    async def listed(self, service: Service, path: str, field: str, what: str) -> list[Json]:
        """All of a list."""

        async def look() -> list[Json]:
            return [one async for one in self.google.list(service, path, field, _about(what))]

        return await self._once(f"list {path}", look)

    async def asked(self, service: Service, path: str, body: Json, what: str) -> Json | None:
        """The answer to a question that is put by POST."""
        return await self._once(f"ask {path} {body}", lambda: self.google.ask(service, path, body, _about(what)))

    async def granted_on(self, service: Service, path: str) -> Json:
        """The policy of a thing, with its conditions; none if the thing is not there, which another check says."""
        if not await self.may_be_enabled(service):
            raise NotLooked(f"{service.partition('/')[0]} is not enabled.")
        grants = Grants(service, path, path, ())
        return await self._once(f"grants {path}", lambda: grants.look(self.google)) or {}

    async def found(self, service: Service, path: str) -> Json | None:
        """Anything else; None if it is not there."""
        return await self._find(f"{service} {path}", service, path)

    async def _find(self, name: str, service: Service, path: str) -> Json | None:
        async def look() -> Json | None:
            if not await self.may_be_enabled(service):
                raise NotLooked(f"{service.partition('/')[0]} is not enabled.")
            return await self.google.find(service, path, _about(path))

        return await self._once(name, look)

    async def _once(self, name: str, look: Callable[[], Awaitable[T]]) -> T:
        if name not in self._known:
            self._known[name] = asyncio.ensure_future(_made(look))
        known: T = await asyncio.shield(self._known[name])
        return known

    @property
    def _zone(self) -> str:
        return f"projects/{self.settings.project_id}/zones/{self.settings.zone}"


async def _made(look: Callable[[], Awaitable[T]]) -> T:
    return await look()


def _about(what: str) -> Subject:
    return Subject(f"look at {what}", f"{what} is not there.")
