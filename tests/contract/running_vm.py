"""A VM that is on, with nothing in it: its metadata server and its callers', for an agent that runs beside it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from gcp_emulator.emulator import Emulator
from gcp_emulator.seed import InstanceSeed, Seed, caller_email
from vm_agent.protocol import audience_of

FLAVOR = {"Metadata-Flavor": "Google"}


@dataclass
class RunningVm:
    """One of them, and the emulator it is in."""

    emulator: Emulator
    name: str
    instance_id: str
    metadata_host: str
    caller: str  # who callers are, by their own metadata server

    @property
    def audience(self) -> str:
        """For whom tokens are that it takes."""
        return audience_of("demo", "us-central1-a", self.name)

    def environment(self, root: Path) -> dict[str, str]:
        """Of an agent that shall take itself for this VM's, and this machine for none that it may turn off."""
        return {
            "GCE_METADATA_HOST": self.metadata_host,
            "MAYFLY_CERTS_URL": f"{self.emulator.url}/oauth2/v3/certs",
            "MAYFLY_ROOT": str(root),
            "MAYFLY_POWEROFF": "true",
            "MAYFLY_TLS": "off",  # its callers are the subject here
        }

    async def token(self, audience: str) -> str:
        """Google's, of the caller."""
        path = "computeMetadata/v1/instance/service-accounts/default/identity"
        async with httpx.AsyncClient(headers=FLAVOR) as client:
            reply = await client.get(f"{self.emulator.url}/{path}", params={"audience": audience, "format": "full"})
            return reply.raise_for_status().text


@asynccontextmanager
async def a_running_vm(folder: Path, name: str = "gpu-vm") -> AsyncIterator[RunningVm]:
    """The VM; it has no startup script, so nothing runs in it."""
    seed = Seed(instances=(InstanceSeed(name, status="RUNNING"),))
    async with Emulator(seed=seed, folder=folder / "disks") as emulator, httpx.AsyncClient() as client:
        [vm] = (await client.get(f"{emulator.url}/_emulator/state")).raise_for_status().json()["instances"]
        metadata_host = f"{vm['internal_ip']}:{emulator.port}"
        yield RunningVm(emulator, name, vm["id"], metadata_host, caller_email("demo"))
