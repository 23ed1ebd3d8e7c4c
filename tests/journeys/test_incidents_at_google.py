"""What went wrong elsewhere between a program and its cloud, played again. The numbers are those of the issues list."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from gcp_emulator.latency import Latency
from orchestrator.policy import seconds
from tests.journeys.endings import ended
from tests.journeys.lab import IMPATIENT, Lab, a_lab, a_world, in_phase

HERE = "compute/v1/projects/demo/zones/us-central1-a/instances/gpu-vm"
AN_HOUR = {"seconds": 3600}


async def test_incident_01_the_stop_operation_finished_but_the_vm_kept_running(lab: Lab):
    await lab.inject(on="instances.stop", times=2, operation_without_effect={})
    await ended(lab, await lab.run("main:run"), 0)
    assert len(lab.requests("instances.stop")) == 3


async def test_incident_01_a_vm_that_no_stop_ever_stops_is_never_called_off(tmp_path: Path):
    async with a_lab(tmp_path) as lab:
        await lab.inject(on="instances.stop", times=None, operation_without_effect={})
        receipt = await lab.run("main:run", policy=replace(IMPATIENT, down=seconds(2)))
        assert (receipt.exit_code, receipt.cleanup) == (7, "owed")
        await lab.all_is_well(still_on=["gpu-vm"])


async def test_incident_02_a_network_that_loses_every_stop_is_told_as_a_clean_up_that_is_owed(tmp_path: Path):
    async with a_lab(tmp_path) as lab:
        await lab.inject(on="instances.stop", times=None, lose_request={})
        receipt = await lab.run("main:run", policy=replace(IMPATIENT, down=seconds(2)))
        assert (receipt.exit_code, receipt.cleanup) == (7, "owed")
        assert "may still be on" in receipt.detail
        assert lab.requests("instances.stop") == [], "Google never heard of one"
        await lab.all_is_well(still_on=["gpu-vm"])


async def test_incident_02_a_network_that_is_gone_for_a_while_delays_the_end_and_nothing_else(lab: Lab):
    await lab.inject(on="instances.*", skip=12, for_seconds=2, lose_request={})
    policy = replace(IMPATIENT, cloud_calls=replace(IMPATIENT.cloud_calls, tries=1000, within=seconds(60)))
    await ended(lab, await lab.run("main:run", policy=policy), 0)


async def test_incident_06_a_start_that_was_reported_as_failed_and_took_place_is_undone(lab: Lab):
    await lab.inject(on="instances.start", lose_reply={})
    await lab.inject(on="instances.start", skip=1, times=2, reply={"status": 503})
    policy = replace(IMPATIENT, cloud_calls=replace(IMPATIENT.cloud_calls, tries=3))
    await ended(lab, await lab.run("main:run", policy=policy), 3)
    assert [entry["status"] for entry in lab.requests("instances.start")] == [200, 503, 503]
    assert "RUNNING" in lab.states()


@pytest.mark.parametrize("details", [False, True])
async def test_incident_08_a_stockout_that_shows_in_the_operation_of_a_start_is_exit_3(lab: Lab, details: bool):
    await lab.inject(stockout={"details": details})
    receipt = await lab.run("main:run")
    await ended(lab, receipt, 3)
    assert "Google has no such machine free here now" in receipt.detail
    assert len(lab.requests("instances.start")) == 1, "asked again at once it would say the same"
    assert "RUNNING" not in lab.states()


@pytest.mark.parametrize("way", ["reply", "operation"])
async def test_incident_13_a_quota_of_zero_is_final_and_nobody_waits_for_it(lab: Lab, way: str):
    words = {"message": "Quota 'GPUS_ALL_REGIONS' exceeded.  Limit: 0.0 globally.", "status": 403}
    if way == "reply":
        await lab.inject(on="instances.start", reply={"reason": "quotaExceeded", **words})
    else:
        await lab.inject(on="instances.start", operation_error={"code": "QUOTA_EXCEEDED", **words})
    receipt = await lab.run("main:run")
    await ended(lab, receipt, 3)
    assert "ask for more" in receipt.detail
    assert len(lab.requests("instances.start")) == 1


async def test_incident_17_a_run_does_not_join_a_vm_that_is_being_stopped(tmp_path: Path):
    async with a_lab(tmp_path, a_world(status="RUNNING"), latency=Latency(stopping=(1, 1))) as lab:
        await lab.post(f"{HERE}/stop")
        assert (await lab.vm())["status"] == "STOPPING"
        await ended(lab, await lab.run("main:run"), 0)
        assert lab.states()[:4] == ["RUNNING", "STOPPING", "TERMINATED", "PROVISIONING"]
        await lab.all_is_well()


async def test_incident_22_a_vm_that_somebody_stopped_is_seen_off_though_reads_lag_behind(lab: Lab):
    running = asyncio.create_task(lab.run("main:for_ever", policy=replace(IMPATIENT, log_poll=seconds(0.2))))
    await lab.until(in_phase(lab, "job"))
    await lab.inject(on="instances.get", times=3, stale=AN_HOUR)
    await lab.post(f"{HERE}/stop")
    await ended(lab, await running, 5)
