"""A rung that does not hold: the reason in seconds, the exit code, and everything undone."""

from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from orchestrator.policy import seconds
from orchestrator.run import Outcome, Receipt
from orchestrator.settings import Auth
from tests.contract.wires import Asked, passed_on, serving
from tests.journeys.lab import IMPATIENT, Lab, a_lab, a_world, starts_the_agent

REPORTS_A_FAILURE = r"""#!/bin/bash
lease=$(curl -fsS -H 'Metadata-Flavor: Google' "http://$GCE_METADATA_HOST/computeMetadata/v1/instance/attributes/mayfly-lease")
epoch=$(printf '%s' "$lease" | sed -n 's/.*"epoch":\([0-9]*\).*/\1/p')
echo "uv: no solution found"
curl -fsS -X PUT -H 'Metadata-Flavor: Google' \
  --data '{"epoch": '"$epoch"', "stage": "dependencies", "status": "failed", "detail": "uv sync: no solution"}' \
  "http://$GCE_METADATA_HOST/computeMetadata/v1/instance/guest-attributes/mayfly/boot"
exit 1
"""
STALE_FAILURE = REPORTS_A_FAILURE.replace("'\"$epoch\"'", "1").replace("exit 1\n", "") + starts_the_agent()


def undone(receipt: Receipt) -> bool:
    """The clean-up is confirmed, whatever the run came to."""
    return receipt.cleanup == "confirmed"


async def test_a_startup_script_that_fails_is_exit_4_with_stage_reason_and_console(tmp_path: Path):
    async with a_lab(tmp_path, a_world(REPORTS_A_FAILURE)) as lab:
        receipt = await lab.run("main:run")
        assert (receipt.outcome, receipt.exit_code) == (Outcome.AGENT_FAULT, 4)
        assert "stage dependencies" in receipt.detail
        assert "uv sync: no solution" in receipt.detail
        assert "uv: no solution found" in receipt.detail, "the tail of the serial console"
        assert undone(receipt)
        await lab.all_is_well()


async def test_a_failure_report_of_an_older_boot_is_not_believed(tmp_path: Path):
    async with a_lab(tmp_path, a_world(STALE_FAILURE)) as lab:
        assert (await lab.run("main:run")).exit_code == 0
        await lab.all_is_well()


async def test_an_agent_that_never_comes_up_is_exit_4(tmp_path: Path):
    async with a_lab(tmp_path, a_world("#!/bin/bash\necho no agent here\n")) as lab:
        receipt = await lab.run("main:run", policy=replace(IMPATIENT, boot=seconds(1.5)))
        assert (receipt.outcome, receipt.exit_code) == (Outcome.AGENT_FAULT, 4)
        assert "No agent answered on gpu-vm:8000" in receipt.detail
        assert "no agent here" in receipt.detail
        assert undone(receipt)
        await lab.all_is_well()


async def test_a_vm_that_powers_itself_off_while_it_boots_is_exit_4_at_once(tmp_path: Path):
    async with a_lab(tmp_path, a_world('#!/bin/bash\necho giving up\n"$MAYFLY_POWEROFF"\n')) as lab:
        receipt = await lab.run("main:run")
        assert (receipt.outcome, receipt.exit_code) == (Outcome.AGENT_FAULT, 4)
        assert undone(receipt)
        await lab.all_is_well()


async def test_a_vm_that_goes_off_while_it_boots_is_noticed_without_leave_to_read_its_report(tmp_path: Path):
    async with a_lab(tmp_path, a_world('#!/bin/bash\n"$MAYFLY_POWEROFF"\n')) as lab:
        denied = {"status": 403, "reason": "forbidden", "message": "Required 'compute.instances.getGuestAttributes'"}
        await lab.inject(on="instances.getGuestAttributes", times=None, reply=denied)
        receipt = await lab.run("main:run")
        assert (receipt.outcome, receipt.exit_code) == (Outcome.AGENT_FAULT, 4)
        assert "while it booted" in receipt.detail
        assert undone(receipt)
        await lab.all_is_well()


async def test_a_change_that_google_forgets_is_not_asked_for_for_ever(lab: Lab):
    async def forget_the_deadline(asked: Asked) -> bytes:
        return (await passed_on(asked, lab.emulator.port)).replace(b'"STOP"', b'"NONE"')

    async with serving(forget_the_deadline) as url:
        policy = replace(IMPATIENT, start=seconds(1), boot=seconds(1), down=seconds(5))
        receipt = await lab.run("main:run", compute_emulator_host=urlsplit(url).netloc, policy=policy)
    assert (receipt.outcome, receipt.exit_code) == (Outcome.NO_MACHINE, 3)
    assert "arm-deadline" in receipt.detail
    assert undone(receipt)
    assert lab.requests("instances.start") == []


async def test_a_key_that_the_agent_does_not_know_is_exit_4(tmp_path: Path):
    async with a_lab(tmp_path, a_world(starts_the_agent("another-key"))) as lab:
        receipt = await lab.run("main:run", auth=Auth.API_KEY)
        assert (receipt.outcome, receipt.exit_code) == (Outcome.AGENT_FAULT, 4)
        assert "AGENT_KEY" in receipt.detail
        assert "the-journeys-key" not in receipt.detail
        assert undone(receipt)
        await lab.all_is_well()


async def test_a_gpu_that_is_required_and_missing_is_exit_4_with_the_reason(tmp_path: Path):
    async with a_lab(tmp_path, a_world(starts_the_agent(MAYFLY_REQUIRE_GPU="1"))) as lab:
        receipt = await lab.run("main:run", policy=replace(IMPATIENT, boot=seconds(4)))
        assert (receipt.outcome, receipt.exit_code) == (Outcome.AGENT_FAULT, 4)
        assert "gpu" in receipt.detail.lower()
        assert undone(receipt)
        await lab.all_is_well()


async def test_a_stockout_is_exit_3_and_leaves_nothing_behind(lab: Lab):
    message = "The zone 'projects/demo/zones/us-central1-a' does not have enough resources available"
    fault = {"code": "ZONE_RESOURCE_POOL_EXHAUSTED", "message": message, "status": 503}
    await lab.inject(on="instances.start", operation_error=fault)
    receipt = await lab.run("main:run")
    assert (receipt.outcome, receipt.exit_code) == (Outcome.NO_MACHINE, 3)
    assert "us-central1-a" in receipt.detail
    assert undone(receipt)
    assert (await lab.address())["status"] == "RESERVED"
    assert "RUNNING" not in lab.states()


@pytest.mark.parametrize(
    ("verb", "permission"),
    [
        ("instances.setMetadata", "compute.instances.setMetadata"),
        ("instances.setScheduling", "compute.instances.setScheduling"),
        ("instances.addAccessConfig", "compute.instances.addAccessConfig"),
        ("instances.start", "compute.instances.start"),
    ],
)
async def test_a_permission_that_is_missing_is_exit_3_and_named(lab: Lab, verb: str, permission: str):
    message = f"Required '{permission}' permission for 'projects/demo/zones/us-central1-a/instances/gpu-vm'"
    await lab.inject(on=verb, reply={"status": 403, "reason": "forbidden", "message": message})
    receipt = await lab.run("main:run")
    assert (receipt.outcome, receipt.exit_code) == (Outcome.NO_MACHINE, 3)
    assert permission in receipt.detail
    assert undone(receipt)
    assert (await lab.address())["status"] == "RESERVED"


@pytest.mark.parametrize(
    "verb",
    [
        "instances.get",
        "addresses.get",
        "instances.setMetadata",
        "instances.setScheduling",
        "instances.addAccessConfig",
        "instances.start",
        "instances.stop",
        "instances.deleteAccessConfig",
        "zoneOperations.wait",
        "instances.getGuestAttributes",
        "secrets.versions.access",
    ],
)
async def test_a_moment_of_trouble_at_google_is_waited_out(lab: Lab, verb: str):
    await lab.inject(on=verb, times=2, reply={"status": 503, "reason": "backendError", "message": "Try again."})
    receipt = await lab.run("main:run", auth="api-key" if verb.startswith("secrets.") else "id-token")
    assert (receipt.exit_code, receipt.cleanup) == (0, "confirmed")


async def test_a_clean_up_that_cannot_be_confirmed_is_exit_7_and_loud(tmp_path: Path):
    async with a_lab(tmp_path) as lab:
        await lab.inject(
            on="instances.stop", times=None, reply={"status": 500, "reason": "backendError", "message": "No."}
        )
        receipt = await lab.run("main:run", policy=replace(IMPATIENT, down=seconds(2)))
        assert (receipt.outcome, receipt.exit_code, receipt.cleanup) == (Outcome.CLEANUP_OWED, 7, "owed")
        assert "may still be on" in receipt.detail
        await lab.all_is_well(still_on=["gpu-vm"])
