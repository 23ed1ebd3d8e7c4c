"""A laboratory in which VMs are made from a template for one run each, and their leases kept in a bucket."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx

from gcp_emulator.seed import BucketSeed, Seed, TemplateSeed
from orchestrator.lease import Lease, read_lease
from orchestrator.settings import Settings
from tests.journeys.lab import Lab, a_lab, a_world, starts_the_agent

WORKER = "gpu-worker"
OBJECT = f"demo/us-central1-a/{WORKER}/lease.json"
LEASES = "storage/v1/b/mayfly-state/o"
TEMPLATE = {
    "machineType": "g2-standard-4",
    "disks": [{"boot": True, "autoDelete": True}],
    "networkInterfaces": [{"network": "projects/demo/global/networks/default"}],
    "scheduling": {"onHostMaintenance": "TERMINATE"},
    "serviceAccounts": [{"email": "default", "scopes": ["https://www.googleapis.com/auth/cloud-platform"]}],
}


@dataclass
class MakingLab(Lab):
    """Its runs make `gpu-worker` and delete it."""

    def settings(self, **changes: Any) -> Settings:
        making = {
            "instance": WORKER,
            "template": "gpu-template",
            "state_url": "gs://mayfly-state",
            "storage_emulator_host": self.emulator.url,
        }
        return super().settings(**making | changes)

    @property
    def disk(self) -> Path:
        return self.emulator.folder / "demo" / "us-central1-a" / WORKER

    def states(self, resource: str = f"instances/{WORKER}") -> list[str]:
        return super().states(resource)

    async def vms(self) -> dict[str, dict[str, Any]]:
        """All that there are."""
        listed = await self._ask("compute/v1/projects/demo/zones/us-central1-a/instances")
        return {vm["name"]: vm for vm in listed.get("items", [])}

    async def lease(self, vm: str = WORKER) -> Lease | None:
        """The lease in the bucket."""
        async with httpx.AsyncClient() as client:
            path = OBJECT.replace("/", "%2F").replace(WORKER, vm)
            answer = await client.get(f"{self.emulator.url}/{LEASES}/{path}", params={"alt": "media"})
        return read_lease(answer.text) if answer.is_success else None

    async def write_lease(self, value: str | None, vm: str = WORKER) -> None:
        async with httpx.AsyncClient() as client:
            name = OBJECT.replace(WORKER, vm)
            if value is None:
                path = name.replace("/", "%2F")
                (await client.delete(f"{self.emulator.url}/{LEASES}/{path}")).raise_for_status()
                return
            where = {"uploadType": "media", "name": name}
            url = f"{self.emulator.url}/upload/{LEASES}"
            (await client.post(url, params=where, content=value.encode())).raise_for_status()

    async def make_by_hand(self, **labels: str) -> None:
        """A VM of that name, as anybody could make it who may use this project."""
        body = {"name": WORKER, "labels": labels, "machineType": "zones/us-central1-a/machineTypes/e2-medium"}
        body |= {"networkInterfaces": TEMPLATE["networkInterfaces"], "disks": TEMPLATE["disks"]}
        zone = "compute/v1/projects/demo/zones/us-central1-a"
        await self.post(f"{zone}/instances", body)

    async def delete_by_hand(self) -> None:
        """Returns once it is gone."""
        zone = f"{self.emulator.url}/compute/v1/projects/demo/zones/us-central1-a"
        async with httpx.AsyncClient(timeout=60) as client:
            operation = (await client.delete(f"{zone}/instances/{WORKER}")).raise_for_status().json()["name"]
            (await client.post(f"{zone}/operations/{operation}/wait")).raise_for_status()

    async def write_metadata(self, name: str, value: str) -> None:
        metadata = (await self.vm(WORKER))["metadata"]
        items = [item for item in metadata["items"] if item["key"] != name] + [{"key": name, "value": value}]
        path = f"compute/v1/projects/demo/zones/us-central1-a/instances/{WORKER}/setMetadata"
        await self.post(path, {"fingerprint": metadata["fingerprint"], "items": items})

    async def all_is_well(self, still_on: Any = ()) -> None:
        """As ever, and nothing was left behind, on or off: its disk would cost."""
        await super().all_is_well(still_on)
        assert set(await self.vms()) - {"gpu-vm"} == set(still_on)


def a_world_with_a_template(script: str | None = None, **properties: Any) -> Seed:
    """The world of all journeys, a template and a bucket."""
    metadata = {"enable-guest-attributes": "TRUE", "startup-script": script or starts_the_agent()}
    items = [{"key": key, "value": value} for key, value in metadata.items()]
    template = TEMPLATE | {"metadata": {"items": items}} | properties
    return replace(
        a_world(),
        templates=(TemplateSeed("gpu-template", template),),
        buckets=(BucketSeed("mayfly-state"),),
    )


@asynccontextmanager
async def a_making_lab(folder: Path, seed: Seed | None = None, **options: Any) -> AsyncIterator[MakingLab]:
    async with a_lab(folder, seed or a_world_with_a_template(), **options) as lab:
        yield MakingLab(lab.emulator)
