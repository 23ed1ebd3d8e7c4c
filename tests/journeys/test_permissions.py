"""The permissions of docs/security.md suffice, and none is superfluous: without it the step it is for fails, by name.

Orchestrator and Google's library are the real ones; the emulator asks for what Google's reference says. A knob is where
that is silent: the lists are for the stricter reading.
"""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from gcp_emulator.seed import Seed
from mayfly.deploy import roles
from orchestrator.errors import Exit, Forbidden
from orchestrator.policy import seconds
from tests.journeys.allowed import ON_SECRET, ON_VM_ACCOUNT, PROJECT, VM_ACCOUNT, Allowed
from tests.journeys.lab import IMPATIENT, Lab, a_lab, a_world

RUN = {PROJECT: roles.ORCHESTRATOR, ON_VM_ACCOUNT: roles.ACTING}


def world(script: str | None = None) -> Seed:
    """The usual one, but that its VM runs as an account of its own."""
    return a_world(script, service_account=VM_ACCOUNT)


@pytest.fixture
async def lab(tmp_path: Path) -> AsyncIterator[Lab]:
    async with a_lab(tmp_path, world()) as lab:
        yield lab


async def test_a_run_needs_no_more_than_what_is_listed(lab: Lab):
    allowed = Allowed(lab)
    await allowed.only(RUN)
    receipt = await lab.run("main:run")
    assert (receipt.exit_code, receipt.cleanup) == (0, "confirmed"), receipt.detail
    assert allowed.refused() == set()
    await lab.all_is_well()


BEFORE_THE_START = {
    "compute.instances.get": "instances.get",
    "compute.addresses.get": "addresses.get",
    "compute.instances.setMetadata": "instances.setMetadata",
    "iam.serviceAccounts.actAs": "instances.setMetadata",
    "compute.instances.setScheduling": "instances.setScheduling",
    "compute.instances.addAccessConfig": "instances.addAccessConfig",
    "compute.subnetworks.useExternalIp": "instances.addAccessConfig",
    "compute.addresses.use": "instances.addAccessConfig",
    "compute.instances.start": "instances.start",
}


@pytest.mark.parametrize("permission", BEFORE_THE_START)
async def test_without_what_it_takes_to_start_a_run_ends_before_it_and_names_it(lab: Lab, permission: str):
    allowed = Allowed(lab)
    await allowed.only(RUN, without=permission)
    receipt = await lab.run("main:run")
    assert receipt.exit_code == Exit.NO_MACHINE, receipt.detail
    assert permission in receipt.detail
    assert allowed.refused() == {BEFORE_THE_START[permission]}
    assert "RUNNING" not in lab.states()
    await lab.all_is_well()


async def test_without_leave_to_follow_operations_nothing_is_known_and_the_run_says_so(lab: Lab):
    allowed = Allowed(lab)
    await allowed.only(RUN, without="compute.zoneOperations.get")
    receipt = await lab.run("main:run")
    assert (receipt.exit_code, "compute.zoneOperations.get" in receipt.detail) == (3, True), receipt.detail
    await lab.all_is_well()


async def test_without_leave_to_read_guest_attributes_no_agent_is_believed(lab: Lab):
    allowed = Allowed(lab)
    await allowed.only(RUN, without="compute.instances.getGuestAttributes")
    receipt = await lab.run("main:run")
    assert (receipt.exit_code, receipt.cleanup) == (3, "confirmed"), receipt.detail
    assert "compute.instances.getGuestAttributes" in receipt.detail
    assert allowed.refused() == {"instances.getGuestAttributes"}
    await lab.all_is_well()


async def test_without_leave_to_read_the_console_a_failed_boot_says_that_it_could_not_be_read(tmp_path: Path):
    async with a_lab(tmp_path, world("#!/bin/bash\nexit 1\n")) as lab:
        allowed = Allowed(lab)
        await allowed.only(RUN, without="compute.instances.getSerialPortOutput")
        policy = replace(IMPATIENT, boot=seconds(2))
        receipt = await lab.run("main:run", policy=policy)
        assert (receipt.exit_code, receipt.cleanup) == (4, "confirmed"), receipt.detail
        assert "compute.instances.getSerialPortOutput" in receipt.detail
        assert allowed.refused() == {"instances.getSerialPortOutput"}
        await lab.all_is_well()


@pytest.mark.parametrize(
    ("permission", "verb", "left_on"),
    [
        ("compute.instances.stop", "instances.stop", ["gpu-vm"]),
        ("compute.instances.deleteAccessConfig", "instances.deleteAccessConfig", []),
    ],
)
async def test_without_what_it_takes_to_come_down_the_clean_up_is_owed_and_says_why(
    lab: Lab, permission: str, verb: str, left_on: list[str]
):
    allowed = Allowed(lab)
    await allowed.only(RUN, without=permission)
    receipt = await lab.run("main:run", policy=replace(IMPATIENT, down=seconds(2)))
    assert (receipt.exit_code, receipt.cleanup) == (7, "owed"), receipt.detail
    assert permission in receipt.detail
    assert allowed.refused() == {verb}
    await lab.all_is_well(still_on=left_on)


@pytest.mark.parametrize("without", [None, *roles.KEY])
async def test_a_key_that_agents_know_us_by_takes_leave_to_read_it(lab: Lab, without: str | None):
    allowed = Allowed(lab)
    await allowed.only({**RUN, ON_SECRET: roles.KEY}, without=without)
    if without is None:
        assert (await lab.run("main:run", auth="api-key")).exit_code == 0
        assert allowed.refused() == set()
    else:
        with pytest.raises(Forbidden, match=without):
            await lab.run("main:run", auth="api-key")
        assert allowed.refused() == {"secrets.versions.access"}
    await lab.all_is_well()


def test_each_permission_of_the_list_was_taken_away_once():
    others = {"compute.zoneOperations.get", "compute.instances.getGuestAttributes", "compute.instances.stop"}
    others |= {"compute.instances.getSerialPortOutput", "compute.instances.deleteAccessConfig"}
    assert {*BEFORE_THE_START, *others} == {*roles.ORCHESTRATOR, *roles.ACTING}
