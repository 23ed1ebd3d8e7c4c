"""Requests that the emulator holds until something changes."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from gcp_emulator.emulator import Emulator
from gcp_emulator.latency import Latency
from tests.contract.world import PROJECT, VM, WORLD, ZONE

ZONE_PATH = f"/compute/v1/projects/{PROJECT}/zones/{ZONE}"
INSTANCE = f"{ZONE_PATH}/instances/{VM}"
METADATA_HEADER = {"Metadata-Flavor": "Google"}


@pytest.fixture
async def emulator(tmp_path: Path) -> AsyncIterator[Emulator]:
    async with Emulator(seed=WORLD, folder=tmp_path, latency=Latency(staging=(0.2, 0.2))) as emulator:
        yield emulator


@pytest.fixture
async def http(emulator: Emulator) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=emulator.url, timeout=30) as http:
        yield http


async def test_one_wait_is_enough_for_an_operation_that_takes_its_time(
    emulator: Emulator, http: httpx.AsyncClient
) -> None:
    begun = (await http.post(f"{INSTANCE}/start")).json()
    assert begun["status"] == "RUNNING"
    ended = (await http.post(f"{ZONE_PATH}/operations/{begun['name']}/wait")).json()
    assert (ended["status"], ended["progress"]) == ("DONE", 100)
    waits = [entry for entry in emulator.history() if entry.get("verb") == "zoneOperations.wait"]
    assert len(waits) == 1


async def test_a_vm_hears_of_a_changed_attribute_while_it_waits(emulator: Emulator, http: httpx.AsyncClient) -> None:
    internal_ip = next(iter(emulator.cloud.machines().values()))
    attribute = f"http://{internal_ip}:{emulator.port}/computeMetadata/v1/instance/attributes/colour"
    assert (await http.get(attribute, headers=METADATA_HEADER)).text == "blue"
    asking = asyncio.create_task(http.get(f"{attribute}?wait_for_change=true", headers=METADATA_HEADER))
    fingerprint = (await http.get(INSTANCE)).json()["metadata"]["fingerprint"]
    assert not asking.done()
    body = {"items": [{"key": "colour", "value": "green"}], "fingerprint": fingerprint}
    await http.post(f"{INSTANCE}/setMetadata", json=body)
    assert (await asking).text == "green"


async def test_a_caller_who_hangs_up_is_forgotten(emulator: Emulator, http: httpx.AsyncClient) -> None:
    internal_ip = next(iter(emulator.cloud.machines().values()))
    attribute = f"http://{internal_ip}:{emulator.port}/computeMetadata/v1/instance/attributes/colour"
    with pytest.raises(httpx.ReadTimeout):
        await http.get(f"{attribute}?wait_for_change=true", headers=METADATA_HEADER, timeout=0.05)
    async with asyncio.timeout(30):
        while emulator._clock._waiting:
            await http.get(INSTANCE)


async def test_who_still_waits_when_the_emulator_leaves_is_told_so(tmp_path: Path) -> None:
    async with httpx.AsyncClient(timeout=30) as http:
        async with Emulator(seed=WORLD, folder=tmp_path, latency=Latency(staging=(60, 60))) as emulator:
            begun = (await http.post(f"{emulator.url}{INSTANCE}/start")).json()
            wait = f"{emulator.url}{ZONE_PATH}/operations/{begun['name']}/wait"
            waiting = asyncio.create_task(http.post(wait))
            await http.get(f"{emulator.url}{INSTANCE}")  # on another connection: the question has arrived by now
        assert (await waiting).status_code == 503
