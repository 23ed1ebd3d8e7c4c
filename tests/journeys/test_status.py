"""`mayfly status`, `logs` and `cancel`, while a run is on, and when it is over."""

import asyncio
from datetime import datetime
from pathlib import Path

import pytest

from mayfly.cancelling import cancel
from mayfly.logs import local_log
from mayfly.standing import standing_of
from mayfly.status_view import as_lines
from orchestrator.errors import Busy, NotFound
from orchestrator.run import Outcome
from tests.journeys.cloud_run import config_of
from tests.journeys.command import begin, mayfly
from tests.journeys.lab import MUTATIONS, Lab, a_lab, in_phase
from tests.journeys.sweeping import abandoned_at


async def test_a_run_is_shown_while_it_is_on_and_remembered_when_it_is_over(
    tmp_path: Path, capsysbinary: pytest.CaptureFixture[bytes]
):
    released, out, here = tmp_path / "released", tmp_path / "out", tmp_path / "cwd"
    async with a_lab(tmp_path / "disks", readable=[tmp_path]) as lab:
        working = lab.run("main:outlast", key="monday", params={"until": str(released)}, out=out)
        running = asyncio.create_task(working)
        await lab.until(lambda: "at work" in lab.output)
        changes = len(lab.requests(*MUTATIONS))

        shown = await mayfly(lab, here, "status", "--json")
        standing, lease = shown.receipt, await lab.lease()
        assert (shown.code, standing["vm"]["status"]) == (0, "RUNNING")
        assert standing["vm"]["ip"] == standing["address"]["ip"] == (await lab.address())["address"]
        assert (standing["run"]["key"], standing["run"]["state"], standing["agent"]) == ("monday", "RUNNING", "ok")
        assert lease is not None
        assert (standing["lease"]["key"], standing["lease"]["holder"]) == ("monday", lease.holder)
        assert datetime.fromisoformat(standing["lease"]["expires_at"]) == lease.expires_at
        assert lease.nonce not in shown.said, "with the nonce anybody could pass for the holder"

        with pytest.raises(NotFound, match="knows nothing of the log of run tuesday"):
            await local_log(config_of(lab, out=out), "tuesday", follow=False)
        with pytest.raises(Busy, match="for run monday; nothing was touched"):
            await cancel(config_of(lab), "tuesday", print)
        assert len(lab.requests(*MUTATIONS)) == changes, "they only look"

        following = await begin(lab, here, "logs", "monday", "--follow")
        assert following.stdout is not None
        assert await asyncio.wait_for(following.stdout.readline(), 60) == b"at work\n"
        released.touch()
        assert (await running).outcome is Outcome.SUCCEEDED
        assert (await following.communicate(), following.returncode) == ((b"", b""), 0)
        capsysbinary.readouterr()
        await local_log(config_of(lab, out=out), "monday", follow=False)
        assert capsysbinary.readouterr().out == b"at work\n"
        after = await standing_of(config_of(lab))
        told = "\n".join(as_lines(after, lab.settings()))
        for line in ("gpu-vm in us-central1-a: TERMINATED since", "on no VM", "lease   free", "run     none"):
            assert line in told
        assert "succeeded (exit 0)  monday" in told
        await lab.all_is_well()


async def test_a_run_that_this_machine_holds_is_cancelled_at_its_agent_and_comes_down(lab: Lab, tmp_path: Path):
    running = asyncio.create_task(lab.run("main:for_ever", key="monday"))
    await lab.until(in_phase(lab, "start"))  # its agent does not have it yet: it is waited for
    cancelled = await mayfly(lab, tmp_path / "cwd", "cancel", "monday")
    receipt = await running
    assert (receipt.outcome, receipt.exit_code, receipt.cleanup) == (Outcome.CANCELLED, 1, "confirmed")
    assert cancelled.code == 0
    assert cancelled.receipt == {
        "run_key": "monday",
        "how": "agent",
        "vm": "TERMINATED",
        "outcome": "cancelled",
        "detail": "Run monday is over, and is remembered as cancelled; gpu-vm is off, and its lease was given back.",
    }
    assert [note["message"] for note in cancelled.notes][-1].startswith("Run monday was cancelled at its agent.")
    stops = lab.requests("instances.stop")
    assert len(stops) == 1, "only who holds the lease stops the VM"

    again = await cancel(config_of(lab), "monday", print)
    assert (again.key, again.said.endswith("UTC: cancelled.")) == (None, True)
    assert len(lab.requests("instances.stop")) == 1


async def test_where_no_run_is_live_there_is_nothing_to_cancel(lab: Lab):
    at_rest = await cancel(config_of(lab), None, print)
    assert (at_rest.key, at_rest.said) == (None, "No run is live on gpu-vm.")
    await abandoned_at(lab, "boot")
    left = await cancel(config_of(lab), None, print)
    assert "left its lease behind: `mayfly sweep` puts that right" in left.said
    assert lab.requests("instances.stop") == [], "only a claim on its lease allows that"
    await lab.write_lease(None)
    by_hand = await cancel(config_of(lab), None, print)
    assert "It is RUNNING, though, without a lease" in by_hand.said
    await lab.switch_off()


async def test_what_was_never_copied_is_not_to_be_had_once_the_vm_is_off(lab: Lab):
    with pytest.raises(NotFound, match="gpu-vm is off, and with it the log of run monday; OUT is not set"):
        await local_log(config_of(lab), "monday", follow=False)
