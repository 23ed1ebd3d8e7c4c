"""The deployed job, as a deploy leaves it: its tasks are `mayfly` itself, as a process of its own."""

from collections.abc import Mapping
from typing import Any

from mayfly.deploy.config import Config
from mayfly.deploy.tables import Firewall, Job, Sweep, Vm
from tests.journeys.lab import Lab

PLACE = "v2/projects/demo/locations/us-central1"
ACCOUNT = "mayfly-orchestrator@demo.iam.gserviceaccount.com"
SETTINGS = {
    "PROJECT_ID": "demo",
    "ZONE": "us-central1-a",
    "INSTANCE": "gpu-vm",
    "STATIC_NAME": "gpu-ip",
    "TIMEOUT": "60s",
}


def a_job(settings: Mapping[str, str], **task: Any) -> dict[str, Any]:
    env = [{"name": name, "value": value} for name, value in {**SETTINGS, **settings}.items()]
    container = {"image": "us-docker.pkg.dev/demo/mayfly/mayfly", "args": ["run"], "env": env}
    return {"template": {"template": {"containers": [container], "serviceAccount": ACCOUNT, **task}}}


async def deployed(lab: Lab, settings: Mapping[str, str] | None = None, **task: Any) -> None:
    await lab.post(f"{PLACE}/jobs?jobId=mayfly", a_job(settings or {}, **task))


def config_of(lab: Lab, **settings: Any) -> Config:
    """What `mayfly` reads where there is no mayfly.toml, but for the emulator's address."""
    hosts = ("compute_emulator_host", "secret_manager_emulator_host", "run_emulator_host", "storage_emulator_host")
    here = dict.fromkeys(hosts, lab.emulator.host)
    return Config(lab.settings(**here, **settings), Vm(), Job(), (), Sweep(), Firewall())
