"""What happens to the VM under a run: the outcome is told as it is known, and nothing is left on."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gcp_emulator.guest.isolation import Isolation, strongest_isolation
from gcp_emulator.knobs import Knobs
from orchestrator.policy import seconds
from orchestrator.run import Receipt
from tests.journeys.endings import ended
from tests.journeys.lab import IMPATIENT, Lab, a_lab, a_world, in_phase, starts_the_agent

GRACE = Knobs(grace_seconds=1, grace_seconds_spot=5)  # a guest that hears no power button has all of it
LISTENING = replace(IMPATIENT, lost_agent=seconds(1), log_poll=seconds(0.2))  # to an agent that falls silent
HASTY = replace(IMPATIENT, boot=seconds(2))  # where no agent will come up


@pytest.fixture
async def lab(tmp_path: Path) -> AsyncIterator[Lab]:
    async with a_lab(tmp_path / "disks", knobs=GRACE) as lab:
        yield lab
        await lab.all_is_well()


async def at_work(lab: Lab, **run: Any) -> "asyncio.Task[Receipt]":
    """A run whose job has begun, and goes on until `release`."""
    running = asyncio.create_task(lab.run("main:outlast", params={"until": str(lab.disk / "go-on")}, **run))
    await lab.until(lambda: "at work" in lab.output)
    return running


def release(lab: Lab) -> None:
    (lab.disk / "go-on").touch()


# --- while the job runs ------------------------------------------------------------------------------------------


async def test_a_preempted_run_is_interrupted(tmp_path: Path):
    seed = a_world(scheduling={"provisioningModel": "SPOT"})
    async with a_lab(tmp_path, seed, knobs=GRACE) as lab:
        running = await at_work(lab)
        await lab.inject(preempt={})
        receipt = await running
        await ended(lab, receipt, 5)
        operations = [entry["verb"] for entry in lab.emulator.history() if entry["kind"] == "operation"]
        assert "compute.instances.preempted" in operations
        await lab.all_is_well()


async def test_a_run_whose_host_failed_is_interrupted_and_its_vm_does_not_come_back(lab: Lab):
    running = await at_work(lab)
    await lab.inject(host_error={})
    await ended(lab, await running, 5)
    assert lab.states().count("RUNNING") == 1, "automaticRestart is off: see ARM_DEADLINE"


async def test_a_run_whose_guest_crashed_is_interrupted_and_its_vm_stopped(lab: Lab):
    running = await at_work(lab, policy=LISTENING)
    await lab.inject(guest_crash={})
    await ended(lab, await running, 5)


async def test_a_run_whose_agent_was_killed_is_interrupted(lab: Lab):
    running = await at_work(lab)
    await lab.inject(kill={"service": "mayfly-agent"})
    await ended(lab, await running, 5)
    assert lab.output.count("at work") == 1


async def test_a_run_whose_processes_were_all_killed_is_interrupted(lab: Lab):
    running = await at_work(lab)
    await lab.inject(kill={"matching": "vm_agent"})
    await ended(lab, await running, 5)
    assert lab.output.count("at work") == 1


async def test_a_partition_that_ends_in_time_is_no_more_than_a_pause(lab: Lab):
    running = await at_work(lab)
    await lab.inject(partition={"seconds": 1.5, "metadata": True})
    release(lab)
    await ended(lab, await running, 0)
    assert lab.output.count("at work") == 1


async def test_a_run_that_is_cut_off_for_longer_than_we_wait_is_interrupted_and_its_vm_stopped(lab: Lab):
    running = await at_work(lab, policy=LISTENING)
    await lab.inject(partition={"seconds": 3600})
    await ended(lab, await running, 5)


# --- while it boots ----------------------------------------------------------------------------------------------


async def test_a_vm_whose_kernel_does_not_come_up_is_exit_4_and_shows_its_console(lab: Lab):
    await lab.inject(boot_failure={})
    receipt = await lab.run("main:run", policy=HASTY)
    await ended(lab, receipt, 4)
    assert "Unable to mount root fs" in receipt.detail


async def test_a_startup_script_that_is_cut_off_is_exit_4(tmp_path: Path):
    script = starts_the_agent().replace("set -eu", "set -eu\necho 'mayfly: stage=secrets status=starting'\nsleep 60")
    async with a_lab(tmp_path, a_world(script), knobs=GRACE) as lab:
        await lab.inject(boot_failure={"at": "stage=secrets"})
        receipt = await lab.run("main:run", policy=HASTY)
        await ended(lab, receipt, 4)
        assert "startup-script exit status -9" in receipt.detail
        await lab.all_is_well()


async def test_a_guest_that_crashes_while_it_boots_is_exit_4(lab: Lab):
    await lab.inject(on="metadata.get", guest_crash={})
    patient = replace(IMPATIENT, boot=seconds(15))  # the guest has to get as far as its metadata server
    await ended(lab, await lab.run("main:run", policy=patient), 4)


async def test_a_host_that_fails_while_its_vm_boots_is_told(lab: Lab):
    await lab.inject(on="metadata.get", host_error={})
    await ended(lab, await lab.run("main:run"), 4)


async def test_an_agent_that_is_killed_before_it_is_ready_is_started_again(lab: Lab):
    await lab.inject(on="metadata.get", kill={"service": "mayfly-agent"})
    await ended(lab, await lab.run("main:run"), 0)


async def test_a_metadata_server_that_is_unavailable_for_a_moment_is_waited_for(lab: Lab):
    await lab.inject(on="metadata.get", times=3, reply={"status": 503})
    await ended(lab, await lab.run("main:run"), 0)


@pytest.mark.skipif(
    strongest_isolation() is Isolation.SHIMS, reason="a small disk needs mounts: Linux, as root or with user namespaces"
)
async def test_a_vm_with_a_full_disk_runs_nothing_and_is_stopped(lab: Lab):
    await lab.inject(disk_full={"room_bytes": 0})
    await ended(lab, await lab.run("main:run", policy=HASTY), 4)


async def test_a_vm_that_is_out_of_reach_while_it_boots_is_exit_4(lab: Lab):
    await lab.inject(on="instances.start", partition={"seconds": 3600})
    receipt = await lab.run("main:run", policy=HASTY)
    await ended(lab, receipt, 4)
    assert in_phase(lab, "boot")()
