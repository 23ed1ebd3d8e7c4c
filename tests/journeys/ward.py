"""A project that a deploy has made, in an emulator on a thread of its own: its owner gets at it over the wire."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from gcp_emulator.emulator import Emulator
from gcp_emulator.seed import PERSON, ProjectSeed, Seed
from mayfly.deploy.config import read_config
from mayfly.deploy.deploying import deploy
from mayfly.deploy.document import document
from mayfly.google import google_of
from orchestrator.clock import SystemClock
from tests.contract.world import Running, running
from tests.journeys.deploying import IMAGE, VALUES

Json = dict[str, Any]
COMPUTE = "compute/v1/projects/demo"
ZONE, REGION = f"{COMPUTE}/zones/us-central1-a", f"{COMPUTE}/regions/us-central1"
VM = f"{ZONE}/instances/gpu-vm"
RUN = "v2/projects/demo/locations/us-central1/jobs"
WITH_A_GPU = {
    **VALUES,
    "vm": {**VALUES["vm"], "machine_type": "n1-standard-4", "gpu": "nvidia-tesla-t4"},
    "schedule": [{"name": "daily", "cron": "30 6 29 2 *", "once_per": "1d"}],  # nothing may tick while a test looks
    "sweep": {"every": "1d"},
}


class Ward(Running):
    """The project, in an emulator that runs on a thread of its own, for many tests."""

    def get(self, path: str) -> Json:
        answer: Json = httpx.get(f"{self.url}/{path}").raise_for_status().json()
        return answer

    def send(self, path: str, body: Json | None = None, method: str = "POST") -> Json:
        """And, where that makes an operation of Compute Engine, see it done."""
        reply = httpx.request(method, f"{self.url}/{path}", json=body, timeout=30)
        assert reply.is_success, reply.text
        answer: Json = reply.json()
        if answer.get("kind") != "compute#operation":
            return answer
        link = answer["selfLink"].partition("/compute/v1/")[2]
        ended: Json = httpx.post(f"{self.url}/compute/v1/{link}/wait", timeout=60).raise_for_status().json()
        assert "error" not in ended, ended
        return ended

    def metadata(self, **changes: str | None) -> None:
        """Of the VM; None takes one away. `_` stands for `-`."""
        seen = self.get(VM)["metadata"]
        items = {item["key"]: item["value"] for item in seen.get("items", [])}
        items |= {name.replace("_", "-"): value for name, value in changes.items()}
        left = [{"key": key, "value": value} for key, value in items.items() if value is not None]
        self.send(f"{VM}/setMetadata", {"fingerprint": seen["fingerprint"], "items": left})

    def scheduling(self, **changes: Any) -> None:
        block = {**self.get(VM)["scheduling"], **changes}
        self.send(f"{VM}/setScheduling", {name: value for name, value in block.items() if value is not None})

    def job(self, change: Callable[[Json], None], name: str = "mayfly") -> None:
        """Change the task of a Cloud Run job."""
        seen = self.get(f"{RUN}/{name}")
        change(seen["template"]["template"])
        body = {"labels": seen["labels"], "template": seen["template"]}
        self.send(f"{RUN}/{name}", body, "PATCH")

    def another_vm(self, **body: Any) -> None:
        """It is RUNNING."""
        image = "projects/debian-cloud/global/images/family/debian-12"
        disk = {"boot": True, "autoDelete": True, "initializeParams": {"sourceImage": image}}
        common = {
            "name": "another",
            "machineType": "zones/us-central1-a/machineTypes/n1-standard-4",
            "disks": [disk],
            "networkInterfaces": [{"network": "projects/demo/global/networks/default"}],
        }
        self.send(f"{ZONE}/instances", common | body)

    def no_other_vm(self) -> None:
        self.send(f"{ZONE}/instances/another", method="DELETE")

    def deploy(self) -> None:
        """What most of it is mended by."""
        asyncio.run(_deploy())


async def _deploy() -> None:
    config = read_config({})
    values = {"exchange": b"a key", "notify-url": b"https://chat.example/hook"}
    async with google_of(config.settings) as google:
        await deploy(
            google,
            SystemClock(),
            config,
            image=IMAGE,
            values=values,
            agreed=lambda _: True,
            tell=lambda *_: None,
        )


@contextmanager
def a_ward(folder: Path) -> Iterator[Ward]:
    """A project as Google hands it over; the first deploy is still to come."""
    owner = {"roles/owner": (f"user:{PERSON}",)}
    project = ProjectSeed("demo", apis=(), policy=owner, quotas={"NVIDIA_T4_GPUS": 1, "GPUS_ALL_REGIONS": 4})
    with running(lambda: Emulator(seed=Seed(projects=(project,), caller=PERSON), folder=folder)) as port:
        yield Ward(port)


def write_config(folder: Path) -> None:
    (folder / "mayfly.toml").write_text(document(WITH_A_GPU))
