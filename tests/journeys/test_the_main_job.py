"""From the lease to the lease given back: what a user's run does, and what the cloud saw of it."""

import hashlib
from datetime import timedelta
from pathlib import Path

import pytest

from orchestrator.lease import Phase
from orchestrator.run import Outcome
from tests.journeys.lab import IMPATIENT, MUTATIONS, Lab
from vm_agent.protocol import CommandJob, Mode


async def test_a_run_goes_up_the_ladder_and_comes_down_again(lab: Lab):
    receipt = await lab.run("main:run")

    assert (receipt.outcome, receipt.exit_code, receipt.cleanup) == (Outcome.SUCCEEDED, 0, "confirmed")
    assert receipt.result == {"order": "placed"}
    assert lab.output == "trading for real\n"
    verbs = [entry["verb"] for entry in lab.requests(*MUTATIONS)]
    verbs[5:7] = sorted(verbs[5:7])  # these two go out together, and either may arrive first
    assert verbs == [
        "instances.setMetadata",  # the lease, claimed
        "instances.setScheduling",  # the deadline
        "instances.addAccessConfig",
        "instances.start",
        "instances.setMetadata",  # about to invoke
        "instances.setMetadata",  # stopping, and how the run ended
        "instances.stop",
        "instances.deleteAccessConfig",
        "instances.setMetadata",  # free
    ]
    assert lab.states() == ["PROVISIONING", "STAGING", "RUNNING", "STOPPING", "TERMINATED"]


async def test_afterwards_the_vm_is_off_the_address_free_and_the_lease_given_back(lab: Lab):
    await lab.run("main:run")
    assert (await lab.vm())["status"] == "TERMINATED"
    assert (await lab.address())["status"] == "RESERVED"
    lease = await lab.lease()
    assert lease is not None
    assert lease.phase is Phase.FREE


async def test_the_deadline_that_google_enforces_is_armed_before_the_start(lab: Lab):
    await lab.run("main:run", timeout="60s")
    scheduling = (await lab.vm())["scheduling"]
    limit = IMPATIENT.boot + timedelta(seconds=60) + IMPATIENT.boot_margin
    assert scheduling["maxRunDuration"]["seconds"] == str(int(limit.total_seconds()))
    assert scheduling["instanceTerminationAction"] == "STOP"
    assert scheduling["automaticRestart"] is False


async def test_a_limit_in_fractions_of_a_second_is_armed_once(lab: Lab):
    """Google's limit is in whole seconds: written too short, it would never be what was asked for."""
    assert (await lab.run("main:run", timeout="60.4s")).exit_code == 0
    assert len(lab.requests("instances.setScheduling")) == 1


async def test_the_receipt_tells_what_was_used(lab: Lab):
    receipt = await lab.run("main:run", key="monday", price_per_hour=3.6, currency="EUR")
    assert receipt.run_key == "monday"
    names = ["lease", "deadline", "attach", "start", "boot", "invoke", "job", "stop", "detach", "release"]
    assert [phase.name for phase in receipt.phases] == names
    vm = receipt.vm
    assert vm is not None
    assert vm.billed_seconds is not None
    assert vm.idle_seconds is not None
    assert 0 < vm.idle_seconds < vm.billed_seconds
    assert vm.cost == pytest.approx(vm.billed_seconds * 3.6 / 3600)
    assert vm.currency == "EUR"
    assert vm.id == (await lab.vm())["id"]
    assert receipt.address == {"name": "gpu-ip", "ip": (await lab.address())["address"], "policy": "detach"}


async def test_the_rehearsal_runs_test_and_nothing_else(lab: Lab):
    receipt = await lab.run(mode=Mode.TEST)
    assert (receipt.mode, receipt.exit_code) == (Mode.TEST, 0)
    assert receipt.result == {"order": "rehearsed"}
    assert lab.output == "rehearsing\n"


async def test_incident_24_a_job_that_raises_is_exit_1_with_its_traceback_in_the_log_and_everything_off(
    lab: Lab, tmp_path: Path
):
    receipt = await lab.run("main:fail", out=tmp_path / "out")
    assert (receipt.outcome, receipt.exit_code, receipt.cleanup) == (Outcome.FAILED, 1, "confirmed")
    assert "ValueError: no such coin" in receipt.detail
    log = Path(receipt.artifacts[0].saved_to).read_text()
    assert "about to fail" in log
    assert "Traceback" in log
    assert "ValueError: no such coin" in log


async def test_a_job_past_its_deadline_is_ended_and_exit_8(lab: Lab):
    receipt = await lab.run("main:for_ever", timeout="1s")
    assert (receipt.outcome, receipt.exit_code, receipt.cleanup) == (Outcome.TIMED_OUT, 8, "confirmed")


async def test_a_command_is_a_job_too(lab: Lab):
    receipt = await lab.run(CommandJob(command=["sh", "-c", "echo from the VM; exit 3"]))
    assert (receipt.outcome, receipt.exit_code) == (Outcome.FAILED, 1)
    assert "3" in receipt.detail
    assert lab.output == "from the VM\n"


async def test_artifacts_and_log_are_copied_out_before_the_vm_stops(lab: Lab, tmp_path: Path):
    receipt = await lab.run("main:with_artifacts", out=tmp_path / "out")
    copied = {file.path: file for file in receipt.artifacts}
    assert set(copied) == {"log.txt", "deep/model.bin", "notes.txt"}
    for file in copied.values():
        content = Path(file.saved_to).read_bytes()
        assert len(content) == file.size
        assert hashlib.sha256(content).hexdigest() == file.sha256
    assert Path(copied["deep/model.bin"].saved_to).read_bytes() == bytes(range(256)) * 4096
    assert Path(copied["log.txt"].saved_to).read_text() == "written\n"
    assert lab.states()[-1] == "TERMINATED"


async def test_a_second_run_uses_the_same_vm_under_a_higher_epoch(lab: Lab):
    await lab.run("main:run")
    first = await lab.lease()
    receipt = await lab.run("main:run")
    second = await lab.lease()
    assert receipt.exit_code == 0
    assert first is not None
    assert second is not None
    assert second.epoch > first.epoch
    assert len(lab.requests("instances.start")) == 2
    assert len(lab.requests("instances.setScheduling")) == 1, "an armed deadline costs nothing"
    assert [known.outcome for known in second.outcomes] == ["succeeded", "succeeded"]


async def test_the_policy_keep_leaves_the_address_on_the_stopped_vm(lab: Lab):
    receipt = await lab.run("main:run", address_policy="keep")
    assert (receipt.exit_code, receipt.cleanup) == (0, "confirmed")
    assert (await lab.address())["status"] == "IN_USE"
    again = await lab.run("main:run", address_policy="keep")
    assert again.exit_code == 0
    assert len(lab.requests("instances.addAccessConfig")) == 1


async def test_an_agent_that_dies_under_its_run_leaves_the_outcome_unknown_and_exit_5(lab: Lab):
    receipt = await lab.run("main:kill_the_agent")
    assert (receipt.outcome, receipt.exit_code, receipt.cleanup) == (Outcome.INTERRUPTED, 5, "confirmed")


async def test_a_vm_without_a_static_ip_is_reached_from_inside(lab: Lab):
    receipt = await lab.run("main:run", static_name=None, agent_reach="internal")
    assert receipt.exit_code == 0
    assert lab.requests("instances.addAccessConfig") == []
