"""A VM that is made from a template for one run, and deleted after it: the same promises, on the same ladder."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator.errors import BadUsage
from orchestrator.lease import Phase
from orchestrator.policy import Patience, seconds
from orchestrator.run import Outcome
from orchestrator.settings_reading import read_settings
from tests.journeys.lab import IMPATIENT
from tests.journeys.making import WORKER, MakingLab, a_making_lab
from tests.journeys.sweeping import killed_at, run_out, sweep
from tests.journeys.test_run_key import DEAD_HAND, HASTY, kill, killed, tries
from vm_agent.protocol import Mode

# An agent goes before its VM does; in production it may be silent for 20 s before that means anything.
WAITS_FOR_A_DYING_VM = replace(IMPATIENT, agent_calls=Patience(100, seconds(6), seconds(0.1), seconds(0.2)))
MADE_AND_DELETED = ["instances.insert", "instances.delete"]


@pytest.fixture
async def lab(tmp_path: Path) -> AsyncIterator[MakingLab]:
    async with a_making_lab(tmp_path / "disks") as lab:
        yield lab
        await lab.all_is_well()


def changes(lab: MakingLab) -> list[str]:
    """What was asked of the cloud that makes or ends a VM, in order."""
    verbs = ("instances.insert", "instances.delete", "instances.start", "instances.stop")
    return [request["verb"] for request in lab.requests(*verbs)]


async def is_given_back(lab: MakingLab) -> bool:
    lease = await lab.lease()
    free = lease is not None and lease.phase is Phase.FREE
    return free and WORKER not in await lab.vms() and (await lab.address())["status"] == "RESERVED"


async def test_a_vm_is_made_for_the_run_and_deleted_after_it(lab: MakingLab):
    receipt = await lab.run("main:run", price_per_hour=3600.0)
    assert (receipt.exit_code, receipt.result, receipt.cleanup) == (0, {"order": "placed"}, "confirmed")
    assert changes(lab) == MADE_AND_DELETED
    assert await is_given_back(lab)
    assert [phase.name for phase in receipt.phases] == ["lease", "create", "boot", "invoke", "job", "delete", "release"]
    assert receipt.vm is not None
    assert receipt.vm.id.isdigit()
    assert receipt.vm.billed_seconds is not None
    assert receipt.vm.cost == pytest.approx(receipt.vm.billed_seconds, abs=1e-6)


async def test_it_is_born_with_its_limit_its_labels_and_the_address(lab: MakingLab):
    """There is no moment in which it runs unarmed: it is all in the one request that makes it."""
    await lab.run("main:run", timeout="10m")
    [insert] = lab.requests("instances.insert")
    made = insert["body"]
    limit = int(made["scheduling"]["maxRunDuration"]["seconds"])
    assert 600 < limit < 1200
    assert made["scheduling"]["instanceTerminationAction"] == "DELETE"
    assert made["labels"]["mayfly"] == "managed"
    assert made["networkInterfaces"][0]["accessConfigs"][0]["natIP"] == (await lab.address())["address"]
    assert lab.requests("instances.addAccessConfig", "instances.setScheduling") == []


async def test_a_run_that_is_remembered_is_answered_without_making_a_vm(lab: MakingLab):
    first = await lab.run("main:run", key="monday")
    again = await lab.run("main:run", key="monday")
    assert (again.exit_code, again.result, again.answered_from_memory) == (0, first.result, True)
    assert changes(lab) == MADE_AND_DELETED


async def test_a_rehearsal_is_a_run_of_its_own(lab: MakingLab):
    await lab.run("main:run", key="monday")
    receipt = await lab.run("main:test", key="monday", mode=Mode.TEST)
    assert (receipt.exit_code, receipt.result) == (0, {"order": "rehearsed"})
    assert changes(lab) == MADE_AND_DELETED * 2


async def test_a_retry_goes_on_with_the_run_of_the_dead_one_on_the_vm_that_it_made(lab: MakingLab):
    until = lab.disk / "go-on"
    order: dict[str, Any] = {"params": {"until": str(until)}}
    await killed(lab, "job", **order, **tries("nightly-1", 0))
    running = asyncio.create_task(lab.run("main:outlast", policy=HASTY, **order, **tries("nightly-1", 1)))
    await lab.until(lambda: "at work" in lab.output)
    until.touch()
    assert (await running).exit_code == 0
    assert changes(lab) == MADE_AND_DELETED
    assert await is_given_back(lab)


@pytest.mark.parametrize("phase", ["lease", "create", "boot", "invoke", "delete", "release"])
async def test_a_retry_after_a_death_in_any_phase_begins_the_job_at_most_once(lab: MakingLab, phase: str):
    await killed_at(lab, phase, key="monday", **tries("nightly-1", 0))
    receipt = await lab.run("main:run", key="monday", policy=HASTY, **tries("nightly-1", 1))
    assert receipt.cleanup == "confirmed", receipt.detail
    assert receipt.exit_code == 0, receipt.detail
    assert len(changes(lab)) == 2
    assert await is_given_back(lab)


async def test_a_death_between_the_insert_and_its_reply_leaves_a_vm_that_the_retry_uses(lab: MakingLab):
    await lab.inject(on="instances.insert", times=1, late={"seconds": 1})
    running = asyncio.create_task(lab.run("main:run", policy=DEAD_HAND, **tries("nightly-1", 0)))
    await lab.until(lambda: bool(lab.requests("instances.insert")))
    await kill(running)
    receipt = await lab.run("main:run", policy=HASTY, **tries("nightly-1", 1))
    assert receipt.exit_code == 0, receipt.detail
    assert changes(lab) == MADE_AND_DELETED


async def test_a_vm_that_is_gone_with_its_run_is_interrupted_and_not_made_again(lab: MakingLab):
    receipt = await lab.run("main:power_off", key="monday")
    assert (receipt.outcome, receipt.exit_code, receipt.cleanup) == (Outcome.INTERRUPTED, 5, "confirmed")
    again = await lab.run("main:power_off", key="monday")
    assert (again.exit_code, again.answered_from_memory) == (5, True)
    assert changes(lab) == MADE_AND_DELETED


async def test_one_that_may_be_begun_again_is_on_a_new_vm_three_times_at_most(lab: MakingLab):
    receipt = await lab.run("main:power_off", on_interrupt="rerun", policy=WAITS_FOR_A_DYING_VM)
    assert (receipt.outcome, receipt.attempts, receipt.cleanup) == (Outcome.INTERRUPTED, 3, "confirmed"), receipt.detail
    assert changes(lab) == MADE_AND_DELETED * 3


async def test_the_attempts_of_dead_orchestrators_count_too(lab: MakingLab):
    """Each dies under its run, and somebody deletes the VM: with it goes the ledger that knew of the attempt."""
    order: dict[str, Any] = {"params": {"until": str(lab.disk / "never")}, "on_interrupt": "rerun"}
    for attempt in range(3):
        await killed(lab, "job", **order, **tries("nightly-1", attempt))
        await lab.delete_by_hand()
    receipt = await lab.run("main:outlast", policy=HASTY, **order, **tries("nightly-1", 3))
    assert (receipt.outcome, receipt.exit_code, receipt.attempts) == (Outcome.INTERRUPTED, 5, 3)
    assert changes(lab) == MADE_AND_DELETED * 3


async def test_a_vm_of_that_name_that_somebody_made_is_left_alone(lab: MakingLab):
    await lab.make_by_hand(mayfly="managed")
    receipt = await lab.run("main:run")
    assert (receipt.exit_code, receipt.vm) == (3, None)
    assert "was not made for a run of ours" in receipt.detail
    assert changes(lab) == ["instances.insert"]
    await lab.delete_by_hand()


async def test_a_vm_of_that_name_that_somebody_makes_meanwhile_is_left_alone(lab: MakingLab):
    receipt = await lab.run("main:run", bugs={"creation.create": [lab.make_by_hand]})
    assert (receipt.exit_code, receipt.cleanup) == (3, "confirmed"), receipt.detail
    assert "instances.delete" not in changes(lab)
    assert set(await lab.vms()) == {"gpu-vm", WORKER}
    await lab.delete_by_hand()


async def test_a_leftover_of_an_earlier_run_that_is_off_makes_way(lab: MakingLab):
    """Its dead-man turned it off, and nobody was left to delete it."""
    await killed(lab, "job", params={"until": str(lab.disk / "never")}, key="monday")
    await lab.switch_off(WORKER)
    await run_out(lab, WORKER, deadline_too=True)
    receipt = await lab.run("main:run", key="tuesday")
    assert (receipt.exit_code, receipt.cleanup) == (0, "confirmed"), receipt.detail
    assert changes(lab) == ["instances.insert", "instances.stop", "instances.delete", *MADE_AND_DELETED]


async def test_a_stockout_leaves_nothing_behind(lab: MakingLab):
    await lab.inject(on="instances.insert", times=1, stockout={"details": False})
    receipt = await lab.run("main:run")
    assert (receipt.exit_code, receipt.cleanup) == (3, "confirmed"), receipt.detail
    assert await is_given_back(lab)


@pytest.mark.parametrize("named", [{"template": "no-such"}, {"state_url": "gs://no-such-bucket"}])
async def test_a_template_or_bucket_that_is_not_there_is_a_clear_error(lab: MakingLab, named: dict[str, str]):
    receipt = await lab.run("main:run", **named)
    assert receipt.exit_code == 3
    assert "no-such" in receipt.detail
    assert changes(lab) == []


async def test_a_signal_while_it_is_made_deletes_it(lab: MakingLab):
    await lab.inject(on="instances.insert", times=1, late={"seconds": 0.5})
    called_off = asyncio.Event()
    running = asyncio.create_task(lab.run("main:run", called_off=called_off))
    await lab.until(lambda: bool(lab.requests("instances.insert")))
    called_off.set()
    receipt = await running
    assert (receipt.exit_code, receipt.cleanup) == (143, "confirmed"), receipt.detail
    assert await is_given_back(lab)


async def test_a_reply_that_is_lost_makes_no_second_vm(lab: MakingLab):
    await lab.inject(on="instances.insert", times=1, lose_reply={})
    receipt = await lab.run("main:run")
    assert receipt.exit_code == 0, receipt.detail
    ids = {entry["resource"] for entry in lab.emulator.history() if entry["kind"] == "state"}
    assert len([one for one in ids if one.endswith(WORKER)]) == 1
    assert await is_given_back(lab)


# --- the sweep ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("phase", ["boot", "invoke", "delete"])
async def test_what_a_dead_orchestrator_made_is_swept(lab: MakingLab, phase: str):
    await killed_at(lab, phase)
    held = await sweep(lab, storage_emulator_host=lab.emulator.url)
    assert [(one.name, str(one.standing)) for one in held.findings if one.name == WORKER] == [(WORKER, "held")]
    await run_out(lab, WORKER, deadline_too=True)
    receipt = await sweep(lab, storage_emulator_host=lab.emulator.url)
    [vm] = [one for one in receipt.findings if one.name == WORKER]
    assert (vm.owed, list(vm.moves), receipt.exit_code) == (False, ["claim", "delete", "release"], 0), vm.why
    assert await is_given_back(lab)


async def test_a_sweep_that_deletes_a_vm_remembers_how_its_run_had_ended(lab: MakingLab):
    """The ledger goes with the VM, so it is asked while it is there."""
    await killed_at(lab, "delete", key="monday")
    await run_out(lab, WORKER, deadline_too=True)
    assert (await sweep(lab, storage_emulator_host=lab.emulator.url)).exit_code == 0
    receipt = await lab.run("main:run", key="monday")
    assert (receipt.exit_code, receipt.result, receipt.answered_from_memory) == (0, {"order": "placed"}, True)
    assert changes(lab) == MADE_AND_DELETED


async def test_a_sweep_that_deletes_a_vm_remembers_that_its_run_was_cut(lab: MakingLab):
    await killed(lab, "job", params={"until": str(lab.disk / "never")}, key="monday")
    await lab.switch_off(WORKER)
    await run_out(lab, WORKER, deadline_too=True)
    assert (await sweep(lab, storage_emulator_host=lab.emulator.url)).exit_code == 0
    receipt = await lab.run("main:outlast", params={"until": str(lab.disk / "never")}, key="monday")
    assert (receipt.exit_code, receipt.answered_from_memory) == (5, True)


async def test_a_live_run_on_a_vm_that_was_made_for_it_is_not_swept(lab: MakingLab):
    until = lab.disk / "go-on"
    await killed(lab, "job", params={"until": str(until)}, **tries("nightly-1", 0))
    await run_out(lab, WORKER, deadline_too=True)
    receipt = await sweep(lab, storage_emulator_host=lab.emulator.url)
    assert [str(one.standing) for one in receipt.findings if one.name == WORKER] == ["live"]
    assert "instances.delete" not in changes(lab)
    until.touch()
    async with asyncio.timeout(30):
        while (await sweep(lab, storage_emulator_host=lab.emulator.url)).findings:
            if WORKER not in await lab.vms():
                break
    assert await is_given_back(lab)


async def test_metadata_that_name_another_lease_make_a_sweep_touch_nothing(lab: MakingLab):
    await killed_at(lab, "boot")
    await lab.write_metadata("mayfly-state", "gs://mayfly-state/somebody/else/lease.json")
    await run_out(lab, WORKER, deadline_too=True)
    receipt = await sweep(lab, storage_emulator_host=lab.emulator.url)
    [vm] = [one for one in receipt.findings if one.name == WORKER]
    assert (vm.owed, receipt.exit_code) == (True, 7)
    assert "metadata were changed" in vm.why
    assert "instances.delete" not in changes(lab)
    await lab.delete_by_hand()


# --- settings ----------------------------------------------------------------------------------------------------

WRONG = {
    "a template without a place for the lease": {"state_url": ""},
    "a place that is none": {"state_url": "s3://bucket"},
    "an address that stays on a VM that is gone": {"address_policy": "keep"},
    "a VM that is both made and found": {"on_running": "adopt"},
}


@pytest.mark.parametrize("case", WRONG)
def test_what_does_not_go_with_a_template_is_refused(case: str):
    right = {"template": "t", "state_url": "gs://bucket", "project_id": "demo", "zone": "us-central1-a"}
    right |= {"instance": WORKER, "static_name": "gpu-ip"}
    assert read_settings(**right).template == "t"
    wrong = {name: value for name, value in (right | WRONG[case]).items() if value}
    with pytest.raises(BadUsage, match=r"STATE_URL|TEMPLATE"):
        read_settings(**wrong)
