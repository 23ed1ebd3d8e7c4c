"""VMs that really run their startup script, seen from outside: over the API, and at their static IP."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from gcp_emulator.emulator import Emulator
from gcp_emulator.seed import AddressSeed, InstanceSeed, Seed
from tests.contract.world import PROJECT, REGION, ZONE
from tests.guests import alive_in, all_end

ZONE_PATH = f"/compute/v1/projects/{PROJECT}/zones/{ZONE}"
VM = f"{ZONE_PATH}/instances/web-vm"
AGENT_PORT = 8000

# A web server on nic0's address, which it learns as the agent does. The log of its boots is on its disk.
WEB_SERVER = f"""#!/bin/sh -e
metadata=http://$GCE_METADATA_HOST/computeMetadata/v1/instance
ip=$(curl -sf -H Metadata-Flavor:Google $metadata/network-interfaces/0/ip)
cd "$MAYFLY_ROOT"
echo booted >> boots.txt
"$MAYFLY_SUPERVISOR" web /dev/null -- python3 -m http.server {AGENT_PORT} --bind "$ip"
curl -sf -X PUT -H Metadata-Flavor:Google --data done $metadata/guest-attributes/web/boot
"""


class Cloud:
    """The emulator as a client of Compute Engine sees it."""

    def __init__(self, emulator: Emulator, http: httpx.AsyncClient) -> None:
        self.emulator = emulator
        self._http = http

    async def get(self, path: str) -> Any:
        return (await self._http.get(path)).raise_for_status().json()

    async def do(self, path: str, method: str = "POST", **body: Any) -> None:
        begun = (await self._http.request(method, path, **body)).raise_for_status().json()
        wait = f"{ZONE_PATH}/operations/{begun['name']}/wait"
        done = (await self._http.post(wait, timeout=150)).raise_for_status().json()
        assert done["status"] == "DONE"
        assert "error" not in done

    async def is_off(self) -> bool:
        return bool((await self.get(VM))["status"] == "TERMINATED")

    async def has_booted(self) -> bool:
        """The startup script has reported through guest attributes."""
        return (await self._http.get(f"{VM}/getGuestAttributes?queryPath=web/boot")).is_success

    async def static_ip(self, name: str = "web-ip") -> str:
        address = await self.get(f"/compute/v1/projects/{PROJECT}/regions/{REGION}/addresses/{name}")
        return str(address["address"])


def world(startup_script: str = WEB_SERVER, **scheduling: Any) -> Seed:
    metadata = {"startup-script": startup_script, "enable-guest-attributes": "TRUE"}
    vm = InstanceSeed("web-vm", metadata=metadata, address="web-ip", scheduling=scheduling)
    return Seed(instances=(vm,), addresses=(AddressSeed("web-ip"), AddressSeed("free-ip")))


@pytest.fixture
def seed() -> Seed:
    return world()


@pytest.fixture
async def cloud(tmp_path: Path, seed: Seed) -> AsyncIterator[Cloud]:
    emulator = Emulator(seed=seed, folder=tmp_path, forward=[AGENT_PORT])
    async with emulator, httpx.AsyncClient(base_url=emulator.url) as http:
        yield Cloud(emulator, http)
        assert [entry for entry in emulator.history() if entry["kind"] == "violation"] == []


async def _until(true: Callable[[], Awaitable[bool]]) -> None:
    """Real processes take their time; we look until it is so, and give up when it is never going to be."""
    async with asyncio.timeout(30):
        while not await true():
            await asyncio.sleep(0.02)


async def _shows(ip: str, page: str) -> None:
    """Return once the web server shows this."""

    async def it_does() -> bool:
        with contextlib.suppress(httpx.TransportError):
            return (await _visit(ip)).text == page
        return False

    await _until(it_does)


async def _visit(ip: str) -> httpx.Response:
    async with httpx.AsyncClient() as http:
        return await http.get(f"http://{ip}:{AGENT_PORT}/boots.txt")


async def test_a_running_vm_answers_at_its_static_ip_and_a_stopped_one_does_not(cloud: Cloud) -> None:
    ip = await cloud.static_ip()
    await cloud.do(f"{VM}/start")
    await _shows(ip, "booted\n")
    await cloud.do(f"{VM}/stop")
    with pytest.raises(httpx.ConnectError):
        await _visit(ip)


async def test_an_ip_that_is_taken_off_a_running_vm_leads_nowhere_until_it_is_back(cloud: Cloud) -> None:
    ip = await cloud.static_ip()
    await cloud.do(f"{VM}/start")
    await _shows(ip, "booted\n")
    await cloud.do(f"{VM}/deleteAccessConfig?networkInterface=nic0&accessConfig=External%20NAT")
    with pytest.raises(httpx.ConnectError):
        await _visit(ip)
    config = {"name": "External NAT", "natIP": ip, "type": "ONE_TO_ONE_NAT"}
    await cloud.do(f"{VM}/addAccessConfig?networkInterface=nic0", json=config)
    await _shows(ip, "booted\n")


async def test_the_disk_is_still_there_at_the_second_boot(cloud: Cloud) -> None:
    for boots in (1, 2):
        await cloud.do(f"{VM}/start")
        await _shows(await cloud.static_ip(), "booted\n" * boots)
        await cloud.do(f"{VM}/stop")


async def test_a_reset_boots_the_vm_again(cloud: Cloud) -> None:
    await cloud.do(f"{VM}/start")
    await _until(cloud.has_booted)
    await cloud.do(f"{VM}/reset")
    await _shows(await cloud.static_ip(), "booted\nbooted\n")
    assert (await cloud.get(VM))["status"] == "RUNNING"


@pytest.mark.parametrize("seed", [world("#!/bin/sh\necho the end is near; poweroff")])
async def test_a_vm_that_switches_itself_off_is_terminated(cloud: Cloud) -> None:
    await cloud.do(f"{VM}/start")
    await _until(cloud.is_off)
    assert "the end is near" in (await cloud.get(f"{VM}/serialPort"))["contents"]


@pytest.mark.parametrize("seed", [world("#!/bin/sh\ntrap '' TERM; while :; do sleep 1; done")])
async def test_the_plug_is_pulled_when_the_world_is_reset(cloud: Cloud) -> None:
    await cloud.do(f"{VM}/start")
    async with httpx.AsyncClient() as http:
        await http.post(f"{cloud.emulator.url}/_emulator/reset")
    assert (await cloud.get(VM))["status"] == "TERMINATED"


def a_web_server(ip: str) -> dict[str, Any]:
    items = [{"key": "startup-script", "value": WEB_SERVER}, {"key": "enable-guest-attributes", "value": "TRUE"}]
    return {
        "name": "new-vm",
        "machineType": f"zones/{ZONE}/machineTypes/e2-medium",
        "disks": [{"boot": True, "autoDelete": True}],
        "networkInterfaces": [{"accessConfigs": [{"type": "ONE_TO_ONE_NAT", "natIP": ip}]}],
        "metadata": {"items": items},
    }


async def test_a_vm_that_is_made_boots_and_once_deleted_leaves_no_process_and_no_disk(
    cloud: Cloud, tmp_path: Path
) -> None:
    disk, ip = tmp_path / PROJECT / ZONE / "new-vm", await cloud.static_ip("free-ip")
    for _ in (1, 2):  # the second has the name of the first, and a disk of its own
        await cloud.do(f"{ZONE_PATH}/instances", json=a_web_server(ip))
        await _shows(ip, "booted\n")
        processes = alive_in(disk)
        assert processes
        await cloud.do(f"{ZONE_PATH}/instances/new-vm", method="DELETE")
        assert all_end(processes)
        await _until(partial(_is_gone, disk))


async def _is_gone(disk: Path) -> bool:
    return not disk.exists()


async def test_two_emulators_run_side_by_side(cloud: Cloud, tmp_path: Path) -> None:
    other_emulator = Emulator(seed=world(), folder=tmp_path / "other", forward=[AGENT_PORT])
    async with other_emulator, httpx.AsyncClient(base_url=other_emulator.url) as http:
        other = Cloud(other_emulator, http)
        await asyncio.gather(cloud.do(f"{VM}/start"), other.do(f"{VM}/start"))
        assert await cloud.static_ip() != await other.static_ip()
        await _shows(await cloud.static_ip(), "booted\n")
        await _shows(await other.static_ip(), "booted\n")
        await other.do(f"{VM}/stop")
        assert (await cloud.get(VM))["status"] == "RUNNING"
