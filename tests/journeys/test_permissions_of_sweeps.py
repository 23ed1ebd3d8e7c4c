"""As tests/journeys/test_permissions.py, for the sweeper: what is listed suffices, and what is missing is told."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gcp_emulator.seed import Seed
from mayfly.deploy import roles
from orchestrator.errors import MayflyError
from orchestrator.events import Note
from orchestrator.lease import Phase
from orchestrator.policy import Policy, seconds
from tests.journeys.allowed import ON_BUCKET, ON_VM_ACCOUNT, PROJECT, VM_ACCOUNT, Allowed
from tests.journeys.lab import IMPATIENT, Lab, a_lab, a_world
from tests.journeys.making import a_making_lab, a_world_with_a_template
from tests.journeys.sweeping import killed_at, left_lease, run_out, sweep

SWEEP = {PROJECT: roles.SWEEPER, ON_VM_ACCOUNT: roles.ACTING}
SWEEP_OF_MADE_VMS = {**SWEEP, ON_BUCKET: roles.STATE}
NO_AGENT = "#!/bin/bash\nexit 1\n"
SOON = replace(IMPATIENT, down=seconds(2))


async def told_by(lab: Lab, policy: Policy = SOON, **settings: Any) -> tuple[int, str]:
    """Sweep; the exit code, and everything that was said."""
    lab.told.clear()
    try:
        receipt = await sweep(lab, policy=policy, **settings)
    except MayflyError as error:
        return error.exit, str(error)
    notes = [event.message for event in lab.told if isinstance(event, Note)]
    return receipt.exit_code, "\n".join([*notes, *receipt.unseen, *(finding.why for finding in receipt.findings)])


async def abandoned(lab: Lab) -> None:
    """A run that died with its VM on and its address attached, and nobody answers there."""
    await left_lease(lab, "gpu-vm", phase=Phase.INVOKING, asked=True, address="gpu-ip")


def a_running_vm() -> Seed:
    return a_world(NO_AGENT, status="RUNNING", address="gpu-ip", service_account=VM_ACCOUNT)


@pytest.fixture
async def lab(tmp_path: Path) -> AsyncIterator[Lab]:
    async with a_lab(tmp_path, a_running_vm()) as lab:
        await abandoned(lab)
        yield lab


async def test_a_sweep_needs_no_more_than_what_is_listed(lab: Lab):
    allowed = Allowed(lab)
    await allowed.only(SWEEP)
    exit_code, told = await told_by(lab)
    assert exit_code == 0, told
    assert allowed.refused() == set()
    await lab.all_is_well()


NEEDED_FOR = {
    "compute.instances.list": "instances.aggregatedList",
    "compute.instances.get": "instances.get",
    "compute.instances.setMetadata": "instances.setMetadata",
    "iam.serviceAccounts.actAs": "instances.setMetadata",
    "compute.instances.stop": "instances.stop",
    "compute.instances.deleteAccessConfig": "instances.deleteAccessConfig",
    "compute.addresses.get": "addresses.get",
    "compute.zoneOperations.get": "zoneOperations.wait",
}


@pytest.mark.parametrize("permission", NEEDED_FOR)
async def test_without_one_of_them_its_step_fails_and_the_sweep_names_it(lab: Lab, permission: str):
    allowed = Allowed(lab)
    await allowed.only(SWEEP, without=permission)
    exit_code, told = await told_by(lab)
    assert (exit_code, permission in told) == (7, True), told
    assert allowed.refused() == {NEEDED_FOR[permission]}
    off = permission in {"compute.addresses.get", "compute.instances.deleteAccessConfig"}
    await lab.all_is_well(still_on=[] if off else ["gpu-vm"])


async def test_without_leave_to_list_addresses_vms_are_swept_all_the_same_and_the_permission_is_named(lab: Lab):
    allowed = Allowed(lab)
    await allowed.only(SWEEP, without="compute.addresses.list")
    exit_code, told = await told_by(lab)
    assert (exit_code, "compute.addresses.list" in told) == (0, True), told
    assert allowed.refused() == {"addresses.aggregatedList"}
    await lab.all_is_well()


@pytest.mark.parametrize("without", [None, "compute.instances.getGuestAttributes"])
async def test_whether_a_run_is_alive_only_its_agents_certificate_tells(tmp_path: Path, without: str | None):
    async with a_lab(tmp_path, a_world(service_account=VM_ACCOUNT)) as lab:
        await killed_at(lab, "stop")
        await run_out(lab)
        allowed = Allowed(lab)
        await allowed.only(SWEEP, without=without)
        exit_code, told = await told_by(lab)
        assert exit_code == 0, told
        assert without is None or without in told
        assert allowed.refused() == (set() if without is None else {"instances.getGuestAttributes"})
        # Whom nobody can ask may be at work until the run's deadline: it is left alone.
        await lab.all_is_well(still_on=["gpu-vm"] if without else [])


@pytest.mark.parametrize(
    ("without", "verb"),
    [
        (None, None),
        ("compute.instances.delete", "instances.delete"),
        ("storage.objects.get", "objects.get"),
        ("storage.objects.list", "objects.get"),
        ("storage.objects.create", "objects.insert"),
        ("storage.objects.delete", "objects.insert"),
    ],
)
async def test_a_vm_that_a_dead_run_made_takes_what_is_listed_for_it(tmp_path: Path, without: str | None, verb: str):
    scopes = ["https://www.googleapis.com/auth/cloud-platform"]
    world = a_world_with_a_template(NO_AGENT, serviceAccounts=[{"email": VM_ACCOUNT, "scopes": scopes}])
    async with a_making_lab(tmp_path, world) as lab:
        await killed_at(lab, "boot")
        await run_out(lab, "gpu-worker", deadline_too=True)
        if without == "storage.objects.list":
            await lab.write_lease(None)
        allowed = Allowed(lab)
        await allowed.only(SWEEP_OF_MADE_VMS, without=without)
        exit_code, told = await told_by(lab, storage_emulator_host=lab.emulator.url)
        assert exit_code == (0 if without is None else 7), told
        assert without is None or without in told
        assert allowed.refused() == ({verb} if verb else set())
        await lab.all_is_well(still_on=["gpu-worker"] if verb else [])


@pytest.mark.parametrize("without", [None, "compute.addresses.delete", "compute.regionOperations.get"])
async def test_an_address_that_a_dead_run_reserved_takes_what_is_listed_for_it(tmp_path: Path, without: str | None):
    async with a_lab(tmp_path, a_world(NO_AGENT, service_account=VM_ACCOUNT)) as lab:
        await killed_at(lab, "boot", address_policy="release", static_name="for-a-run")
        await run_out(lab, deadline_too=True)
        allowed = Allowed(lab)
        await allowed.only(SWEEP, without=without)
        exit_code, told = await told_by(lab)
        # A release that cannot be followed is looked for again, and seen done.
        assert exit_code == (7 if without == "compute.addresses.delete" else 0), told
        assert without is None or without in told
        assert len(allowed.refused()) == (0 if without is None else 1)
        await lab.all_is_well()


def test_each_permission_of_the_list_was_taken_away_once():
    others = {"compute.addresses.list", "compute.instances.getGuestAttributes", "compute.instances.delete"}
    others |= {"compute.addresses.delete", "compute.regionOperations.get"}
    assert {*NEEDED_FOR, *others} == {*roles.SWEEPER, *roles.ACTING}
