"""What is wrong before anything is started: the exit code, the sentence, and that nothing was touched."""

import asyncio
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from gcp_emulator.seed import AddressSeed, InstanceSeed, SecretSeed, Seed
from orchestrator.errors import BadUsage, Forbidden, NotFound
from orchestrator.lease import Lease, Phase
from orchestrator.policy import minutes
from orchestrator.run import Outcome
from orchestrator.settings import Auth
from tests.journeys.lab import IMPATIENT, MUTATIONS, Lab, a_lab, a_world, in_phase


def leased(value: str, **vm: str) -> Seed:
    """The usual world, with this in its VM's metadata as the lease."""
    world = a_world(**vm)
    machine = world.instances[0]
    metadata = {**machine.metadata, "mayfly-lease": value}
    return replace(world, instances=(replace(machine, metadata=metadata),))


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"instance": "no-such-vm"}, "no-such-vm"),
        ({"static_name": "no-such-ip"}, "no-such-ip"),
        ({"zone": "us-central1-f"}, "us-central1-f"),
        ({"project_id": "no-such-project"}, "no-such-project"),
    ],
)
async def test_a_wrong_name_is_exit_3_and_nothing_is_touched(lab: Lab, wrong: dict[str, str], sentence: str):
    receipt = await lab.run("main:run", agent_key="k", **wrong)
    assert (receipt.outcome, receipt.exit_code) == (Outcome.NO_MACHINE, 3)
    assert sentence in receipt.detail
    assert lab.requests(*MUTATIONS) == []


async def test_what_would_fail_only_at_the_end_is_refused_at_the_start(lab: Lab):
    with pytest.raises(BadUsage):
        await lab.run("main:run", out=Path("/dev/null/out"))
    assert lab.requests() == lab.requests("secrets.versions.access")


async def test_a_zone_that_does_not_exist_is_exit_3(lab: Lab):
    receipt = await lab.run("main:run", zone="us-central1-z")
    assert receipt.exit_code == 3
    assert "us-central1-z" in receipt.detail
    assert lab.requests(*MUTATIONS) == []


async def test_a_vm_that_runs_for_somebody_else_is_exit_6_and_left_alone(tmp_path: Path):
    async with a_lab(tmp_path, a_world(status="RUNNING")) as lab:
        receipt = await lab.run("main:run")
        assert (receipt.outcome, receipt.exit_code) == (Outcome.BUSY, 6)
        assert "ON_RUNNING=adopt" in receipt.detail
        assert lab.requests(*MUTATIONS) == []
        await lab.all_is_well(still_on=["gpu-vm"])


async def test_a_vm_that_is_adopted_is_used_and_left_running_as_it_was(tmp_path: Path):
    async with a_lab(tmp_path, a_world(status="RUNNING", address="gpu-ip")) as lab:
        receipt = await lab.run("main:run", on_running="adopt")
        assert (receipt.exit_code, receipt.cleanup) == (0, "confirmed")
        assert lab.requests("instances.start", "instances.stop", "instances.deleteAccessConfig") == []
        assert (await lab.address())["status"] == "IN_USE"
        await lab.all_is_well(still_on=["gpu-vm"])


async def test_a_job_that_is_called_off_on_an_adopted_vm_is_said_to_be_at_work_still(tmp_path: Path):
    async with a_lab(tmp_path, a_world(status="RUNNING", address="gpu-ip")) as lab:
        called_off = asyncio.Event()
        running = asyncio.create_task(lab.run("main:for_ever", on_running="adopt", called_off=called_off))
        await lab.until(in_phase(lab, "job"))
        called_off.set()
        receipt = await running
        assert (receipt.exit_code, receipt.cleanup) == (143, "confirmed")
        assert "the job may be at work" in receipt.detail
        await lab.all_is_well(still_on=["gpu-vm"])


async def test_an_address_that_another_vm_uses_is_exit_3_and_never_taken_from_it(tmp_path: Path):
    world = a_world()
    world = replace(world, instances=(*world.instances, InstanceSeed("other-vm", address="gpu-ip")))
    async with a_lab(tmp_path, world) as lab:
        receipt = await lab.run("main:run")
        assert (receipt.outcome, receipt.exit_code) == (Outcome.NO_MACHINE, 3)
        assert "other-vm" in receipt.detail
        assert lab.requests(*MUTATIONS) == []
        await lab.all_is_well()


async def test_a_lease_that_another_run_holds_is_exit_6_and_says_whose_it_is(tmp_path: Path):
    theirs = Lease(
        epoch=1,
        nonce="theirs",
        key="sunday",
        holder="a colleague",
        phase=Phase.CLAIMED,
        expires_at=datetime.now(UTC) + timedelta(minutes=2),
    )
    async with a_lab(tmp_path, leased(theirs.to_json())) as lab:
        receipt = await lab.run("main:run")
        assert (receipt.outcome, receipt.exit_code) == (Outcome.BUSY, 6)
        assert "a colleague" in receipt.detail
        assert "sunday" in receipt.detail
        assert lab.requests(*MUTATIONS) == []
        await lab.all_is_well()


async def test_a_lease_that_a_dead_run_left_is_taken_over(tmp_path: Path):
    dead = Lease(
        epoch=1,
        nonce="theirs",
        key="sunday",
        holder="a dead laptop",
        phase=Phase.INVOKING,
        expires_at=datetime.now(UTC) - timedelta(minutes=2),
        run_deadline=datetime.now(UTC) - timedelta(minutes=1),
    )
    async with a_lab(tmp_path, leased(dead.to_json(), status="RUNNING", address="gpu-ip")) as lab:
        receipt = await lab.run("main:run", policy=replace(IMPATIENT, start=minutes(5)))
        assert (receipt.exit_code, receipt.cleanup) == (0, "confirmed")
        assert [entry["verb"] for entry in lab.requests("instances.start", "instances.stop")] == [
            "instances.stop",  # it ran unarmed
            "instances.start",
            "instances.stop",
        ]
        await lab.all_is_well()


@pytest.mark.parametrize("denied", [True, False])
async def test_an_agent_key_that_cannot_be_read_is_an_error_that_names_it(tmp_path: Path, denied: bool):
    secrets = (SecretSeed("mayfly-agent-key", versions=("k",), denied=True),) if denied else ()
    async with a_lab(tmp_path, replace(a_world(), secrets=secrets)) as lab:
        with pytest.raises(Forbidden if denied else NotFound, match="mayfly-agent-key"):
            await lab.run("main:run", auth=Auth.API_KEY)
        assert lab.requests(*MUTATIONS) == []
        await lab.all_is_well()


async def test_an_address_without_reservation_in_this_region_is_exit_3(tmp_path: Path):
    world = replace(a_world(), addresses=(AddressSeed("gpu-ip", region="us-east1"),))
    async with a_lab(tmp_path, world) as lab:
        receipt = await lab.run("main:run")
        assert receipt.exit_code == 3
        assert "gpu-ip" in receipt.detail
        await lab.all_is_well()


async def test_a_lease_value_that_somebody_broke_is_replaced(tmp_path: Path):
    async with a_lab(tmp_path, leased(json.dumps({"epoch": "broken"}))) as lab:
        assert (await lab.run("main:run")).exit_code == 0
        await lab.all_is_well()
