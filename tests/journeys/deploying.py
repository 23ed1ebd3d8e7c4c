"""What the journeys of deploys share: an empty project, and `mayfly deploy` in this process."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from gcp_emulator.emulator import Emulator
from gcp_emulator.exports import demo_exports, exports
from gcp_emulator.seed import Seed, empty_seed
from mayfly.deploy.config import Config, read_config
from mayfly.deploy.deploying import Deployed, deploy
from mayfly.deploy.destroying import Destruction
from mayfly.deploy.document import document
from mayfly.deploy.plan import Step
from mayfly.google import google_of
from orchestrator.clock import SystemClock
from orchestrator.settings import Settings

IMAGE = f"us-central1-docker.pkg.dev/demo/mayfly/orchestrator@sha256:{'a' * 64}"
VALUES: dict[str, Any] = {
    "project_id": "demo",
    "zone": "us-central1-a",
    "instance": "gpu-vm",
    "static_name": "gpu-ip",
    "timeout": "30m",
    "vm": {
        "machine_type": "e2-medium",
        "source": "https://github.com/me/my-bot",
        "ref": "v1",
        "secrets": {"KEY": "exchange"},
    },
    "job": {"secrets": {"NOTIFY_URL": "notify-url"}},
    "schedule": [{"name": "daily", "cron": "30 6 * * *", "time_zone": "Asia/Seoul", "once_per": "1d"}],
}


@dataclass
class Project:
    """A project in an emulator, and what was told of each step."""

    emulator: Emulator
    folder: Path
    image: str | None = IMAGE
    told: list[Step] = field(default_factory=list)
    waits: list[str] = field(default_factory=list)

    def describe(self, **changes: Any) -> None:
        """Write mayfly.toml."""
        (self.folder / "mayfly.toml").write_text(document({**VALUES, **changes}))

    def config(self) -> Config:
        return read_config({})

    async def deploy(
        self, *, dry_run: bool = False, values: Mapping[str, bytes] | None = None, image: str | None = None
    ) -> Deployed:
        config = self.config()
        async with google_of(config.settings) as google:
            return await deploy(
                google,
                SystemClock(),
                config,
                image=image or self.image,
                values=values or {},
                agreed=lambda _: not dry_run,
                tell=self._tell,
            )

    def _tell(self, step: Step, _number: int, _count: int, waits: str) -> None:
        if waits:
            self.waits.append(waits)
        else:
            self.told.append(step)

    async def destroy(self, agreed: Callable[[Sequence[Step]], bool] = lambda _: True) -> list[Step]:
        config = self.config()
        async with google_of(config.settings) as google:
            steps, _ = await Destruction(google, SystemClock(), config).carry_out(agreed, self._tell)
            return steps

    async def ask(self, path: str) -> Any:
        async with httpx.AsyncClient() as client:
            answer = await client.get(f"{self.emulator.url}/{path}")
            return answer.json() if answer.status_code != httpx.codes.NOT_FOUND else None

    async def post(self, path: str, body: Any, method: str = "POST") -> Any:
        """As the project's owner; what it began has ended."""
        async with httpx.AsyncClient() as client:
            answer = (await client.request(method, f"{self.emulator.url}/{path}", json=body)).raise_for_status().json()
        async with asyncio.timeout(60):
            while _is_under_way(answer):
                answer = await self.ask(_operation_path(answer))
        return answer

    async def store(self, bucket: str, name: str) -> None:
        """An object of that name."""
        query = {"uploadType": "media", "name": name}
        async with httpx.AsyncClient() as client:
            url = f"{self.emulator.url}/upload/storage/v1/b/{bucket}/o"
            (await client.post(url, params=query, content=b"{}")).raise_for_status()

    async def inject(self, **rule: Any) -> None:
        """Add a fault rule; the test ends badly if it is never spent."""
        await self.post("_emulator/faults", rule)

    async def vm(self) -> dict[str, Any]:
        vm: dict[str, Any] = await self.ask("compute/v1/projects/demo/zones/us-central1-a/instances/gpu-vm")
        return vm

    async def holds(self) -> Counter[str]:
        """What there is, by kind: all that a deploy can make."""
        place = "projects/demo/locations/us-central1"
        listings = {
            "instances": "compute/v1/projects/demo/zones/us-central1-a/instances",
            "addresses": "compute/v1/projects/demo/regions/us-central1/addresses",
            "firewalls": "compute/v1/projects/demo/global/firewalls",
            "templates": "compute/v1/projects/demo/global/instanceTemplates",
            "disks": "compute/v1/projects/demo/zones/us-central1-a/disks",
            "secrets": "v1/projects/demo/secrets",
            "accounts": "v1/projects/demo/serviceAccounts",
            "roles": "v1/projects/demo/roles",
            "repositories": f"v1/{place}/repositories",
            "run jobs": f"v2/{place}/jobs",
            "schedules": f"v1/{place}/jobs",
            "buckets": "storage/v1/b?project=demo",
        }
        found = {}
        for kind, path in listings.items():
            answer = await self.ask(path)
            entries = [entry for value in answer.values() if isinstance(value, list) for entry in value]
            found[kind] = sum("developer.gserviceaccount.com" not in str(entry.get("email")) for entry in entries)
        return Counter({kind: count for kind, count in found.items() if count})

    def changes(self) -> list[str]:
        """The verbs of all that changed anything, oldest first."""
        requests = [entry for entry in self.emulator.history() if entry["kind"] == "request"]
        return [entry["verb"] for entry in requests if _changes_something(entry)]

    async def all_is_well(self) -> None:
        """Nothing left on, nothing answered that Google could not, every fault spent."""
        listed = await self.ask("compute/v1/projects/demo/aggregated/instances")
        vms = [vm for scope in listed.get("items", {}).values() for vm in scope.get("instances", [])]
        assert {vm["status"] for vm in vms} <= {"TERMINATED"}, "a VM was left on"
        assert [entry for entry in self.emulator.history() if entry["kind"] == "violation"] == []
        assert (await self.ask("_emulator/faults"))["all_spent"]


def _is_under_way(answer: Mapping[str, Any]) -> bool:
    of_compute = answer.get("kind") == "compute#operation" and answer["status"] != "DONE"
    return of_compute or (str(answer.get("name")).startswith("operations/") and not answer.get("done"))


def _operation_path(operation: Mapping[str, Any]) -> str:
    link = str(operation.get("selfLink", ""))
    return link.partition("googleapis.com/")[2] or f"v1/{operation['name']}"


def _changes_something(entry: Mapping[str, Any]) -> bool:
    asks = entry["verb"].endswith((".getIamPolicy", ".testIamPermissions", ".wait"))
    return entry["method"] in {"POST", "PATCH", "PUT", "DELETE"} and not asks


def done(steps: Sequence[Step]) -> list[str]:
    """What was work of these steps."""
    return [str(step) for step in steps if step.does_something]


@asynccontextmanager
async def a_project(
    folder: Path, monkeypatch: pytest.MonkeyPatch, seed: Seed | None = None, **options: Any
) -> AsyncIterator[Project]:
    """The emulator ends with the block."""
    async with Emulator(seed=seed or empty_seed(), folder=folder / "disks", **options) as emulator:
        for name in Settings.model_fields:
            monkeypatch.delenv(name.upper(), raising=False)
        for name in exports(emulator.port).keys() - demo_exports().keys():
            monkeypatch.setenv(name, exports(emulator.port)[name])
        monkeypatch.chdir(folder)
        project = Project(emulator, folder)
        project.describe()
        yield project
