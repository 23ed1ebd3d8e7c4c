"""What others do to the lease while a run goes on."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from orchestrator.lease import Phase
from orchestrator.policy import seconds
from orchestrator.run import Outcome
from tests.journeys.lab import IMPATIENT, Lab, a_lab

RENEWS_OFTEN = replace(IMPATIENT, lease_renewal=seconds(0.2))


async def is_held(lab: Lab) -> bool:
    lease = await lab.lease()
    return lease is not None and lease.phase is Phase.INVOKING


async def test_a_lease_that_was_wiped_off_the_vm_is_written_again(lab: Lab):
    """A tool that writes all metadata anew takes nothing from us: to take a lease, one has to write one's own."""
    until = lab.disk / "go-on"
    running = asyncio.create_task(lab.run("main:outlast", params={"until": str(until)}, policy=RENEWS_OFTEN))
    await lab.until(lambda: "at work" in lab.output)
    await lab.write_lease(None)
    async with asyncio.timeout(30):
        while not await is_held(lab):
            await asyncio.sleep(0.05)
    until.touch()
    receipt = await running
    assert (receipt.exit_code, receipt.cleanup) == (0, "confirmed")
    assert (await lab.vm())["status"] == "TERMINATED"


async def test_a_vm_whose_lease_was_wiped_for_good_is_stopped_all_the_same(lab: Lab):
    until = lab.disk / "go-on"
    running = asyncio.create_task(lab.run("main:outlast", params={"until": str(until)}))
    await lab.until(lambda: "at work" in lab.output)
    await lab.write_lease(None)
    until.touch()
    receipt = await running
    assert (receipt.exit_code, receipt.cleanup) == (0, "confirmed")
    assert (await lab.vm())["status"] == "TERMINATED"


async def test_a_lease_that_somebody_took_leaves_the_vm_to_him_and_our_clean_up_owed(tmp_path: Path):
    """We started the VM and did not see it off: that it is his business now is no confirmation."""
    async with a_lab(tmp_path) as lab:
        running = asyncio.create_task(lab.run("main:for_ever", policy=RENEWS_OFTEN))
        await lab.until(lambda: bool(lab.requests("instances.start")))
        async with asyncio.timeout(30):
            while not await is_held(lab):
                await asyncio.sleep(0.05)
        ours = await lab.lease()
        assert ours is not None
        await lab.write_lease(replace(ours, epoch=ours.epoch + 1, nonce="theirs", key="sunday").to_json())
        receipt = await running
        assert (receipt.outcome, receipt.exit_code, receipt.cleanup) == (Outcome.CLEANUP_OWED, 7, "owed")
        assert lab.requests("instances.stop") == []
        theirs = await lab.lease()
        assert theirs is not None
        assert theirs.nonce == "theirs"
        await lab.all_is_well(still_on=["gpu-vm"])


async def test_a_lease_that_ran_out_under_us_is_taken_anew_before_the_stop_goes_out(lab: Lab):
    """After a pause longer than its span, say: whoever looks now may take the VM, and our stop would hit him."""
    until = lab.disk / "go-on"
    never = replace(IMPATIENT, lease_renewal=seconds(3600))
    running = asyncio.create_task(lab.run("main:outlast", params={"until": str(until)}, policy=never))
    await lab.until(lambda: "at work" in lab.output)
    lease = await lab.lease()
    assert lease is not None
    await lab.write_lease(replace(lease, expires_at=datetime.now(UTC) - timedelta(hours=1)).to_json())
    begun = len(lab.requests("instances.stop", "instances.setMetadata"))
    until.touch()
    receipt = await running
    assert (receipt.exit_code, receipt.cleanup) == (0, "confirmed")
    verbs = [entry["verb"] for entry in lab.requests("instances.stop", "instances.setMetadata")[begun:]]
    assert verbs[0] == "instances.setMetadata"
    assert "instances.stop" in verbs


async def test_how_a_run_ended_is_remembered_though_its_vm_needed_no_stop(lab: Lab):
    receipt = await lab.run("main:power_off", key="monday")
    assert (receipt.outcome, receipt.exit_code, receipt.cleanup) == (Outcome.INTERRUPTED, 5, "confirmed")
    lease = await lab.lease()
    assert lease is not None
    known = lease.recall("monday", "run")
    assert known is not None
    assert known.exit_code == 5
