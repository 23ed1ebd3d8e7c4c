"""Real clients against a running emulator, each test with a world of its own; afterwards the history is asked."""

import os
import shutil
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from gcp_emulator.emulator import Emulator
from gcp_emulator.exports import demo_exports, exports
from tests.contract.gateway_at_work import Gateway, MetadataServer, Service, gateway_process
from tests.contract.world import PROJECT, WORLD, ZONE, Running, running


@pytest.fixture
def emulator(tmp_path: Path) -> Iterator[Running]:
    """A fresh world, which must be left as tidy as real money asks for."""
    with running(lambda: Emulator(seed=WORLD, folder=tmp_path)) as port:
        emulator = Running(port)
        yield emulator
        _check_that_all_is_well(emulator)


def _check_that_all_is_well(emulator: Running) -> None:
    assert emulator.history("violation") == [], "the emulator answered something that Google could not"
    on = [name for name, vm in _instances(emulator).items() if vm["status"] != "TERMINATED"]
    assert on == [], "a VM was left on"
    unspent = [fault for fault in emulator.ask("faults")["faults"] if not fault["spent"]]
    assert unspent == [], "a fault never happened"


def _instances(emulator: Running) -> dict[str, Any]:
    url = f"{emulator.url}/compute/v1/projects/{PROJECT}/zones/{ZONE}/instances"
    return {vm["name"]: vm for vm in httpx.get(url).raise_for_status().json()["items"]}


@pytest.fixture(scope="session")
def gcloud_binary() -> str:
    """The real CLI. A machine without it skips, in CI too: no registry of packages that we know has it."""
    found = shutil.which("gcloud")
    if not found:
        pytest.skip("gcloud is not installed; to run this test: https://cloud.google.com/sdk/docs/install")
    return found


@pytest.fixture
def gcloud(
    gcloud_binary: str, emulator: Running, tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., subprocess.CompletedProcess[str]]:
    """`gcloud("compute", "instances", "list")` as a user of the emulator runs it."""
    home = tmp_path_factory.getbasetemp() / "gcloud"  # one for the session: its caches cost seconds
    home.mkdir(exist_ok=True)
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "CLOUDSDK_CONFIG": str(home / "config"),
        "CLOUDSDK_CORE_DISABLE_PROMPTS": "1",
        "CLOUDSDK_CORE_DISABLE_USAGE_REPORTING": "1",
        "CLOUDSDK_COMPONENT_MANAGER_DISABLE_UPDATE_CHECK": "1",
        **exports(emulator.port),
        **demo_exports(),
    }

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [gcloud_binary, *arguments]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=120)

    return run


@pytest.fixture
def metadata() -> Iterator[MetadataServer]:
    with MetadataServer().serving() as server:
        yield server


@pytest.fixture
async def service() -> AsyncIterator[Service]:
    async with Service().serving() as service:
        yield service


@pytest.fixture
async def gateway(metadata: MetadataServer, service: Service) -> AsyncIterator[Gateway]:
    async with gateway_process(service.url, metadata.host) as gateway:
        yield gateway
