"""What went wrong elsewhere between a program and its machines, played again."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from gcp_emulator.seed import InstanceSeed
from orchestrator.policy import seconds
from tests.journeys.endings import ended
from tests.journeys.lab import IMPATIENT, Lab, a_lab, a_world, in_phase, starts_the_agent

ZONE = "compute/v1/projects/demo/zones/us-central1-a/instances"


@pytest.mark.parametrize(
    "fault",
    [
        {"partition": {"seconds": 1.5}},
        {"on": "instances.get", "for_seconds": 1.5, "lose_request": {}},
        {"on": "instances.get", "for_seconds": 1.5, "late": {"seconds": 1.5}},
    ],
    ids=lambda fault: str(list(fault)[-1]),
)
async def test_incident_09_looks_that_time_out_do_not_make_a_healthy_job_dead(lab: Lab, fault: dict[str, object]):
    policy = replace(IMPATIENT, log_poll=seconds(0.2), lease_renewal=seconds(0.2))
    until = lab.disk / "go-on"
    running = asyncio.create_task(lab.run("main:outlast", params={"until": str(until)}, policy=policy))
    await lab.until(lambda: "at work" in lab.output)
    await lab.inject(**fault)
    await lab.until(lambda: any(entry["kind"] == "fault" for entry in lab.emulator.history()))
    until.touch()
    await ended(lab, await running, 0)
    assert lab.output.count("at work") == 1
    assert len(lab.requests("instances.start")) == 1


async def test_incident_16_a_dead_vm_does_not_look_alive_because_another_has_its_ip(tmp_path: Path):
    """Its agent never answers; the IP, moved by somebody meanwhile, leads to a healthy agent that has our key."""
    world = a_world("#!/bin/sh\necho no agent here\n")
    metadata = {"enable-guest-attributes": "TRUE", "startup-script": starts_the_agent()}
    other = InstanceSeed("other-vm", status="RUNNING", metadata=metadata)
    async with a_lab(tmp_path, replace(world, instances=(*world.instances, other))) as lab:
        running = asyncio.create_task(lab.run("main:run", policy=replace(IMPATIENT, boot=seconds(8))))
        await lab.until(in_phase(lab, "boot"))
        name = (await lab.vm())["networkInterfaces"][0]["accessConfigs"][0]["name"].replace(" ", "%20")
        await lab.post(f"{ZONE}/gpu-vm/deleteAccessConfig?networkInterface=nic0&accessConfig={name}")
        ip = {"name": "nat", "natIP": (await lab.address())["address"]}
        await lab.post(f"{ZONE}/other-vm/addAccessConfig?networkInterface=nic0", ip)
        receipt = await running
        assert (receipt.exit_code, receipt.cleanup) == (4, "confirmed"), receipt.detail
        assert "Somebody answers, but gpu-vm has published no certificate" in receipt.detail
        assert "Nothing was asked of it" in receipt.detail
        assert not list((lab.disk.parent / "other-vm").rglob("runs/*")), "the other's agent was asked for a run"
        assert (await lab.address())["users"][0].endswith("/other-vm"), "taken from nobody"
        await lab.all_is_well(still_on=["other-vm"])


async def test_incident_21_a_preempted_vm_needs_no_stop_and_blocks_nothing(tmp_path: Path):
    async with a_lab(tmp_path, a_world(scheduling={"provisioningModel": "SPOT"})) as lab:
        running = asyncio.create_task(lab.run("main:for_ever"))
        await lab.until(in_phase(lab, "job"))
        await lab.inject(preempt={})
        await ended(lab, await running, 5)
        await ended(lab, await lab.run("main:run"), 0)
        await lab.all_is_well()


@pytest.mark.parametrize("verb", ["instances.stop", "instances.deleteAccessConfig"])
async def test_incident_21_what_google_says_is_gone_is_looked_at_and_not_asked_for_ten_times(lab: Lab, verb: str):
    await lab.inject(on=verb, reply={"status": 404, "reason": "notFound", "message": "It was not found"})
    await ended(lab, await lab.run("main:run"), 0)
    assert len(lab.requests(verb)) == 2
