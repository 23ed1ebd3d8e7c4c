"""Faults that happen to VMs, with real processes in them."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from gcp_emulator.emulator import Emulator
from gcp_emulator.guest.isolation import Isolation, strongest_isolation
from gcp_emulator.knobs import Knobs
from tests.contract.test_emulated_machines import AGENT_PORT, VM, Cloud, _shows, _until, _visit, world

SERVES_AND_COUNTS = """#!/bin/sh
echo stage=one
"$MAYFLY_SUPERVISOR" worker /dev/null -- sh -c 'echo "worker $$ is up"; exec sleep 1000'
echo stage=two
sleep 1000
"""
FILLS_ITS_DISK = """#!/bin/sh
head -c 1000 /dev/zero > "$MAYFLY_ROOT/small" && echo "a little fits"
head -c 1000000 /dev/zero > "$MAYFLY_ROOT/large" || echo "no more"
rm "$MAYFLY_ROOT/large"
echo "room again" > "$MAYFLY_ROOT/after" && cat "$MAYFLY_ROOT/after"
"""


@pytest.fixture
def script() -> str | None:
    return None


@pytest.fixture
async def cloud(tmp_path: Path, script: str | None) -> AsyncIterator[Cloud]:
    seed = world(script) if script else world()
    emulator = Emulator(seed=seed, folder=tmp_path, forward=[AGENT_PORT], knobs=Knobs(grace_seconds=1))
    async with emulator, httpx.AsyncClient(base_url=emulator.url) as http:
        yield Cloud(emulator, http)
        assert [entry for entry in emulator.history() if entry["kind"] == "violation"] == []
        assert (await http.get("/_emulator/faults")).json()["all_spent"]


async def inject(cloud: Cloud, **rule: Any) -> None:
    async with httpx.AsyncClient() as http:
        (await http.post(f"{cloud.emulator.url}/_emulator/faults", json=rule)).raise_for_status()


async def shown(cloud: Cloud, text: str, times: int = 1) -> None:
    async def it_is() -> bool:
        return bool((await cloud.get(f"{VM}/serialPort"))["contents"].count(text) >= times)

    await _until(it_is)


async def is_silent(cloud: Cloud) -> bool:
    try:
        await _visit(await cloud.static_ip())
    except httpx.TransportError:
        return True
    return False


@pytest.mark.parametrize("script", [SERVES_AND_COUNTS])
@pytest.mark.parametrize("whom", [{"service": "worker"}, {"matching": "^sleep 1000"}], ids=str)
async def test_a_killed_service_is_started_again_by_its_supervisor(cloud: Cloud, whom: dict[str, str]) -> None:
    await cloud.do(f"{VM}/start")
    await shown(cloud, "is up")
    await shown(cloud, "stage=two")
    await inject(cloud, kill=whom)
    await shown(cloud, "mayfly: killed")
    await shown(cloud, "worker ended with status -9")
    await shown(cloud, "is up", times=2)
    await cloud.do(f"{VM}/stop")


async def test_whom_nobody_answers_to_is_said_on_the_console(cloud: Cloud) -> None:
    await cloud.do(f"{VM}/start")
    await _until(cloud.has_booted)
    await inject(cloud, kill={"service": "no-such-service"})
    await shown(cloud, "mayfly: killed service no-such-service: 0")
    await cloud.do(f"{VM}/stop")


async def test_a_crashed_guest_is_silent_and_its_vm_still_stops(cloud: Cloud) -> None:
    await cloud.do(f"{VM}/start")
    await _shows(await cloud.static_ip(), "booted\n")
    await inject(cloud, guest_crash={})
    await _until(lambda: is_silent(cloud))
    assert (await cloud.get(VM))["status"] == "RUNNING"
    await cloud.do(f"{VM}/stop")
    assert (await cloud.get(VM))["status"] == "TERMINATED"


@pytest.mark.parametrize("script", [SERVES_AND_COUNTS])
async def test_a_startup_script_is_cut_off_where_it_was_told_to_be(cloud: Cloud) -> None:
    await inject(cloud, boot_failure={"at": "stage=two"})
    await cloud.do(f"{VM}/start")
    await shown(cloud, "startup-script exit status -9")
    assert (await cloud.get(VM))["status"] == "RUNNING"
    await cloud.do(f"{VM}/stop")


async def test_a_kernel_that_does_not_come_up_boots_nothing(cloud: Cloud) -> None:
    await inject(cloud, boot_failure={})
    await cloud.do(f"{VM}/start")
    await shown(cloud, "Kernel panic")
    assert not await cloud.has_booted()
    await cloud.do(f"{VM}/stop")
    await cloud.do(f"{VM}/start")
    await _until(cloud.has_booted)
    await cloud.do(f"{VM}/stop")


@pytest.mark.skipif(
    strongest_isolation() is Isolation.SHIMS, reason="a small disk needs mounts: Linux, as root or with user namespaces"
)
@pytest.mark.parametrize("script", [FILLS_ITS_DISK])
async def test_a_full_disk_is_full_for_one_boot(cloud: Cloud) -> None:
    await inject(cloud, disk_full={"room_bytes": 64 * 1024})
    await cloud.do(f"{VM}/start")
    for text in ("a little fits", "No space left on device", "no more", "room again"):
        await shown(cloud, text)
    await cloud.do(f"{VM}/stop")
    assert not (cloud.emulator.folder / "demo" / "us-central1-a" / "web-vm" / "small").exists()
    await cloud.do(f"{VM}/start")
    await shown(cloud, "a little fits", times=2)
    await cloud.do(f"{VM}/stop")
    assert (cloud.emulator.folder / "demo" / "us-central1-a" / "web-vm" / "small").exists()


async def test_through_a_partition_nothing_comes_and_then_what_was_held_up(cloud: Cloud) -> None:
    ip = await cloud.static_ip()
    await cloud.do(f"{VM}/start")
    await _shows(ip, "booted\n")
    await inject(cloud, partition={"seconds": 2})
    async with httpx.AsyncClient(timeout=0.2) as hasty, httpx.AsyncClient(timeout=60) as patient:
        url = f"http://{ip}:{AGENT_PORT}/boots.txt"
        waiting = asyncio.create_task(patient.get(url))
        with pytest.raises(httpx.TimeoutException):
            await hasty.get(url)
        assert (await waiting).text == "booted\n"
    await cloud.do(f"{VM}/stop")
