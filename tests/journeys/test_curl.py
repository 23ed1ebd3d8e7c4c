"""A person with `curl`, or the bash script that we replace: the plain form of the agent's API, over the static IP."""

import asyncio
import os
import re
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from gcp_emulator.exports import demo_exports, exports
from tests.journeys.by_hand import BY_HAND, a_person
from tests.journeys.lab import API_KEY, CHECKOUT, Lab, a_lab, a_world, starts_the_agent
from tests.tools import required_tool


@pytest.fixture
async def started_by_hand(tmp_path: Path) -> AsyncIterator[tuple[Lab, httpx.AsyncClient]]:
    """A VM that a person started, with the static IP on it, and a client that talks to it there."""
    async with a_lab(tmp_path / "disks", a_world(address="gpu-ip")) as lab:
        vm = f"{lab.emulator.url}/compute/v1/projects/demo/zones/us-central1-a/instances/gpu-vm"
        async with httpx.AsyncClient(timeout=30) as gcloud:
            (await gcloud.post(f"{vm}/start")).raise_for_status()
            async with a_person(lab) as client:
                await until_healthy(client)
                yield lab, client
            (await gcloud.post(f"{vm}/stop")).raise_for_status()
            await lab.until(lambda: lab.states()[-1] == "TERMINATED")
        await lab.all_is_well()


async def until_healthy(client: httpx.AsyncClient) -> None:
    """The original's own poll: until `GET /` is 200."""
    async with asyncio.timeout(30):
        while True:
            try:
                if (await client.get("/")).status_code == 200:
                    return
            except httpx.TransportError:
                pass
            await asyncio.sleep(0.05)


async def test_anybody_may_ask_whether_it_is_well(started_by_hand: tuple[Lab, httpx.AsyncClient]):
    _, client = started_by_hand
    assert (await client.get("/")).json() == {"status": "ok"}


async def test_test_and_run_answer_as_the_original_did(started_by_hand: tuple[Lab, httpx.AsyncClient]):
    _, client = started_by_hand
    rehearsed = await client.get("/test", headers=BY_HAND)
    assert (rehearsed.status_code, rehearsed.json()) == (200, {"status": "ok", "result": {"order": "rehearsed"}})
    placed = await client.get("/run", headers=BY_HAND)
    assert (placed.status_code, placed.json()) == (200, {"status": "ok", "result": {"order": "placed"}})


async def test_without_the_key_nothing_runs(started_by_hand: tuple[Lab, httpx.AsyncClient]):
    _, client = started_by_hand
    for headers in ({}, {"X-API-Key": "guessed"}):
        assert (await client.get("/run", headers=headers)).status_code == 401
    assert (await client.get("/runs", headers=BY_HAND)).json() == {"runs": []}


async def test_the_readmes_commands_get_the_certificate_and_call_the_agent(
    started_by_hand: tuple[Lab, httpx.AsyncClient], tmp_path: Path
):
    """gcloud, jq and curl as they are; curl checks the certificate and the name."""
    if not shutil.which("gcloud"):  # in CI too: no registry of packages that we know has it
        pytest.skip("gcloud is not installed; to run this test: https://cloud.google.com/sdk/docs/install")
    for tool in ("jq", "curl"):
        required_tool(tool, f"apt-get install {tool}")
    lab, _ = started_by_hand
    text = (CHECKOUT / "README.md").read_text(encoding="utf-8")
    found = re.search(
        r"^    gcloud compute instances get-guest-attributes .*?^    agent\(\) .*?$", text, re.MULTILINE | re.DOTALL
    )
    assert found
    commands = found[0].replace(":IP ", f":{(await lab.address())['address']} ")
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "KEY": API_KEY}
    environment |= exports(lab.emulator.port) | demo_exports()
    process = await asyncio.create_subprocess_exec(
        *("bash", "-euc", f"{commands}\nagent /test\nagent /"),
        env=environment,
        cwd=tmp_path,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    said, complaints = await asyncio.wait_for(process.communicate(), 120)
    assert b'{"status":"ok","result":{"order":"rehearsed"}}' in said, complaints.decode()
    assert b'"identity":"ey' in said, complaints.decode()


async def test_a_run_that_fails_is_500_with_its_reason(tmp_path: Path):
    script = starts_the_agent(MAYFLY_JOB="main:fail")
    async with a_lab(tmp_path / "disks", a_world(script, address="gpu-ip", status="RUNNING")) as lab:
        async with a_person(lab) as client:
            await until_healthy(client)
            failed = await client.get("/run", headers=BY_HAND)
        assert failed.status_code == 500
        assert failed.json()["status"] == "error"
        assert "no such coin" in failed.json()["detail"]
        await lab.all_is_well(still_on=["gpu-vm"])


async def test_while_a_run_holds_the_lease_a_person_must_wait(lab: Lab):
    running = asyncio.create_task(lab.run("main:outlast", params={"until": str(lab.disk / "go-on")}))
    await lab.until(lambda: lab.output == "at work\n")
    async with a_person(lab) as client:
        refused = await client.get("/run", headers=BY_HAND)
    assert refused.status_code in {409, 500}, refused.text
    (lab.disk / "go-on").touch()
    assert (await running).exit_code == 0
