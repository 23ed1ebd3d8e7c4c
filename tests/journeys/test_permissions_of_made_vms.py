"""As tests/journeys/test_permissions.py, for runs that make their VM from a template, and release their address."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mayfly.deploy import roles
from orchestrator.errors import Exit
from orchestrator.policy import seconds
from tests.journeys.allowed import ON_BUCKET, ON_VM_ACCOUNT, PROJECT, VM_ACCOUNT, Allowed
from tests.journeys.lab import IMPATIENT, a_lab, a_world
from tests.journeys.making import WORKER, MakingLab, a_making_lab, a_world_with_a_template

MAKE = {PROJECT: roles.ORCHESTRATOR_TEMPLATE, ON_VM_ACCOUNT: roles.ACTING, ON_BUCKET: roles.STATE}
SCOPES = ["https://www.googleapis.com/auth/cloud-platform"]


def world(script: str | None = None) -> Any:
    properties: dict[str, Any] = {
        "serviceAccounts": [{"email": VM_ACCOUNT, "scopes": SCOPES}],
        "tags": {"items": ["mayfly"]},
        "disks": [
            {
                "boot": True,
                "autoDelete": True,
                "initializeParams": {"sourceImage": "projects/demo/global/images/family/mine"},
            }
        ],
    }
    return a_world_with_a_template(script, **properties)


@pytest.fixture
async def lab(tmp_path: Path) -> AsyncIterator[MakingLab]:
    async with a_making_lab(tmp_path, world()) as lab:
        yield lab


async def test_a_run_that_makes_its_vm_needs_no_more_than_what_is_listed(lab: MakingLab):
    allowed = Allowed(lab)
    await allowed.only(MAKE)
    receipt = await lab.run("main:run")
    assert (receipt.exit_code, receipt.cleanup) == (0, "confirmed"), receipt.detail
    assert allowed.refused() == set()
    await lab.all_is_well()


BEFORE_THE_VM = {
    "compute.instances.get": "instances.get",
    "compute.addresses.get": "addresses.get",
    "storage.objects.get": "objects.get",
    "storage.objects.list": "objects.get",
    "storage.objects.create": "objects.insert",
    "storage.objects.delete": "objects.insert",
    "compute.instanceTemplates.get": "instanceTemplates.get",
    "compute.instanceTemplates.useReadOnly": "instances.insert",
    "compute.instances.create": "instances.insert",
    "compute.disks.create": "instances.insert",
    "compute.images.useReadOnly": "instances.insert",
    "compute.instances.setMetadata": "instances.insert",
    "compute.instances.setLabels": "instances.insert",
    "compute.instances.setTags": "instances.insert",
    "compute.instances.setServiceAccount": "instances.insert",
    "iam.serviceAccounts.actAs": "instances.insert",
    "compute.subnetworks.use": "instances.insert",
    "compute.subnetworks.useExternalIp": "instances.insert",
    "compute.addresses.use": "instances.insert",
}


@pytest.mark.parametrize("permission", BEFORE_THE_VM)
async def test_without_what_it_takes_to_make_a_vm_none_is_made_and_the_permission_named(
    lab: MakingLab, permission: str
):
    allowed = Allowed(lab)
    await allowed.only(MAKE, without=permission)
    receipt = await lab.run("main:run", policy=replace(IMPATIENT, down=seconds(2)))
    # A lease that was taken cannot be given back without leave to replace its object.
    owed = permission == "storage.objects.delete"
    assert receipt.exit_code == (Exit.CLEANUP_OWED if owed else Exit.NO_MACHINE), receipt.detail
    assert permission in receipt.detail
    assert allowed.refused() == {BEFORE_THE_VM[permission]}
    assert await lab.vms() == {name: vm for name, vm in (await lab.vms()).items() if name == "gpu-vm"}
    await lab.all_is_well()


@pytest.mark.parametrize(
    ("permission", "exit_code", "left"),
    [
        ("compute.instances.getGuestAttributes", Exit.NO_MACHINE, []),
        ("compute.instances.delete", Exit.CLEANUP_OWED, [WORKER]),
    ],
)
async def test_without_the_rest_a_made_vm_is_of_no_use_or_stays_and_the_receipt_says_why(
    lab: MakingLab, permission: str, exit_code: Exit, left: list[str]
):
    allowed = Allowed(lab)
    await allowed.only(MAKE, without=permission)
    receipt = await lab.run("main:run", policy=replace(IMPATIENT, down=seconds(3)))
    assert receipt.exit_code == exit_code, receipt.detail
    assert permission in receipt.detail
    assert allowed.refused() == {permission.removeprefix("compute.")}
    await lab.all_is_well(still_on=left)


async def test_without_leave_to_read_the_console_a_failed_boot_says_that_it_could_not_be_read(tmp_path: Path):
    async with a_making_lab(tmp_path, world("#!/bin/bash\nexit 1\n")) as lab:
        allowed = Allowed(lab)
        await allowed.only(MAKE, without="compute.instances.getSerialPortOutput")
        receipt = await lab.run("main:run", policy=replace(IMPATIENT, boot=seconds(2)))
        assert (receipt.exit_code, receipt.cleanup) == (4, "confirmed"), receipt.detail
        assert "compute.instances.getSerialPortOutput" in receipt.detail
        assert allowed.refused() == {"instances.getSerialPortOutput"}
        await lab.all_is_well()


async def test_without_leave_to_follow_operations_nothing_is_known_and_the_run_says_so(lab: MakingLab):
    allowed = Allowed(lab)
    await allowed.only(MAKE, without="compute.zoneOperations.get")
    receipt = await lab.run("main:run", policy=replace(IMPATIENT, down=seconds(5)))
    assert receipt.exit_code != 0
    assert "compute.zoneOperations.get" in receipt.detail
    assert allowed.refused() == {"zoneOperations.wait"}
    await lab.all_is_well()


def test_each_permission_of_the_list_was_taken_away_once():
    others = {"compute.zoneOperations.get", "compute.instances.getSerialPortOutput"}
    others |= {"compute.instances.getGuestAttributes", "compute.instances.delete"}
    assert {*BEFORE_THE_VM, *others} == {*roles.ORCHESTRATOR_TEMPLATE, *roles.ACTING, *roles.STATE}


RELEASE = {PROJECT: [*roles.ORCHESTRATOR, *roles.RELEASE], ON_VM_ACCOUNT: roles.ACTING}


@pytest.mark.parametrize("without", [None, *roles.RELEASE])
async def test_an_address_for_one_run_takes_what_is_listed_for_it(tmp_path: Path, without: str | None):
    async with a_lab(tmp_path, a_world("#!/bin/bash\nexit 1\n", service_account=VM_ACCOUNT)) as lab:
        allowed = Allowed(lab)
        await allowed.only(RELEASE, without=without)
        impatient = replace(IMPATIENT, boot=seconds(1), down=seconds(2))
        receipt = await lab.run("main:run", address_policy="release", static_name="run-ip", policy=impatient)
        assert receipt.exit_code == (4 if without is None else 7 if without.endswith("delete") else 3), receipt.detail
        assert without is None or without in receipt.detail
        assert bool(allowed.refused()) is (without is not None)
        await lab.all_is_well()
