"""A signal ends a sweep: nothing new is begun, what was claimed gets its stop out, and the next sweep finishes."""

import asyncio
import json
import signal
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.events import Event, PhaseStarted
from orchestrator.lease import Phase
from orchestrator.policy import seconds
from tests.journeys.command import begin, heard
from tests.journeys.lab import IMPATIENT, Lab, a_lab
from tests.journeys.sweeping import abandoned_at, all_is_given_back, run_out, sweep
from tests.journeys.test_calling_off import a_wire_that_holds


async def test_a_signal_lets_the_stop_out_and_the_next_sweep_finishes(tmp_path: Path):
    """Called off just as it claims: what it owes is in writing by then, so the stop goes out too."""
    async with a_lab(tmp_path) as lab:
        await abandoned_at(lab, "boot")
        called_off = asyncio.Event()

        def tell(event: Event) -> None:
            if isinstance(event, PhaseStarted) and event.name.endswith(" claim"):
                called_off.set()

        policy = replace(IMPATIENT, after_sigterm=seconds(5))
        receipt = await sweep(lab, policy=policy, called_off=called_off, tell=tell)
        assert receipt.exit_code == 143
        assert len(lab.requests("instances.stop")) == 1
        await lab.until(lambda: lab.states()[-1] == "TERMINATED")
        lease = await lab.lease()
        assert lease is not None
        if lease.phase is not Phase.FREE:
            await run_out(lab)
        assert (await sweep(lab)).exit_code == 0
        assert await all_is_given_back(lab)
        await lab.all_is_well()


async def test_a_sweep_that_is_called_off_at_once_touches_nothing(lab: Lab):
    await abandoned_at(lab, "boot")
    called_off = asyncio.Event()
    called_off.set()
    receipt = await sweep(lab, called_off=called_off)
    assert (receipt.exit_code, receipt.owed, receipt.acted) == (143, True, False)
    assert lab.requests("instances.stop") == []
    assert (await sweep(lab)).exit_code == 0


@pytest.mark.parametrize("hangs", ["/aggregated/instances", "/instances/gpu-vm", "/setMetadata", "/stop"])
async def test_a_sweep_that_is_called_off_while_a_request_hangs_does_not_wait_for_it(lab: Lab, hangs: str):
    await abandoned_at(lab, "boot")
    called_off, never = asyncio.Event(), asyncio.Event()
    policy = replace(IMPATIENT, after_sigterm=seconds(1))
    async with a_wire_that_holds(lab, hangs, never) as (host, on_its_way):
        hanging = sweep(lab, called_off=called_off, policy=policy, compute_emulator_host=host)
        sweeping = asyncio.create_task(hanging)
        await on_its_way.wait()
        called_off.set()
        receipt = await sweeping
        assert not never.is_set()
    assert (receipt.exit_code, receipt.owed) == (143, True)
    await run_out(lab)
    assert (await sweep(lab)).exit_code == 0
    assert await all_is_given_back(lab)


async def test_a_sweep_that_cloud_run_ends_leaves_with_143_and_its_stop_sent(lab: Lab, tmp_path: Path):
    await abandoned_at(lab, "boot")
    process = await begin(lab, tmp_path / "cwd", "sweep", CLOUD_RUN_JOB="sweeper")
    await heard(process, "Stopping gpu-vm")
    process.send_signal(signal.SIGTERM)
    stdout, _ = await asyncio.wait_for(process.communicate(), timeout=60)
    receipt = json.loads(stdout)
    assert (process.returncode, receipt["exit_code"], receipt["called_off"]) == (143, 143, True)
    assert receipt["message"].startswith("Sweep (called off): 1 ")
    assert len(lab.requests("instances.stop")) == 1
    await lab.until(lambda: lab.states()[-1] == "TERMINATED")
    if receipt["cleanup"] == "owed":
        await run_out(lab)
        assert (await sweep(lab)).exit_code == 0
    assert await all_is_given_back(lab)
