"""ADDRESS_POLICY=release: an IP that is reserved for the time of a run, and given back after it."""

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from orchestrator.policy import seconds
from orchestrator.run import Outcome
from orchestrator.swept import Standing
from tests.journeys.lab import IMPATIENT, Lab
from tests.journeys.making import a_making_lab
from tests.journeys.sweeping import killed_at, run_out, sweep

RELEASED: dict[str, Any] = {"address_policy": "release", "static_name": "for-a-run"}
RESERVED_AND_GIVEN_BACK = ["addresses.insert", "addresses.delete"]
# A run that reserved an address is on its way to attach it for no longer than this.
QUICK = replace(IMPATIENT, start=seconds(0.1), boot=seconds(0.1), down=seconds(0.1), request=seconds(2))


def changes(lab: Lab) -> list[str]:
    return [request["verb"] for request in lab.requests("addresses.insert", "addresses.delete")]


async def addresses(lab: Lab) -> list[str]:
    async with httpx.AsyncClient() as client:
        url = f"{lab.emulator.url}/compute/v1/projects/demo/regions/us-central1/addresses"
        return [address["name"] for address in (await client.get(url)).json().get("items", [])]


async def test_an_address_is_reserved_for_the_run_and_given_back(lab: Lab):
    receipt = await lab.run("main:run", **RELEASED)
    assert (receipt.exit_code, receipt.cleanup) == (0, "confirmed"), receipt.detail
    names = [phase.name for phase in receipt.phases]
    assert (names.index("reserve") < names.index("attach"), names[-3:]) == (True, ["detach", "give-back", "release"])
    assert receipt.address is not None
    assert receipt.address["ip"]
    assert changes(lab) == RESERVED_AND_GIVEN_BACK
    assert await addresses(lab) == ["gpu-ip"]


async def test_a_vm_that_is_made_for_the_run_is_born_with_it(tmp_path: Path):
    async with a_making_lab(tmp_path) as lab:
        receipt = await lab.run("main:run", **RELEASED)
        assert (receipt.exit_code, receipt.cleanup) == (0, "confirmed"), receipt.detail
        assert changes(lab) == RESERVED_AND_GIVEN_BACK
        assert await addresses(lab) == ["gpu-ip"]
        await lab.all_is_well()


async def test_an_address_that_its_user_reserved_is_refused_and_never_deleted(lab: Lab):
    receipt = await lab.run("main:run", address_policy="release", static_name="gpu-ip")
    assert (receipt.outcome, receipt.exit_code) == (Outcome.NO_MACHINE, 3)
    assert "is yours" in receipt.detail
    assert changes(lab) == []


async def test_an_address_that_its_user_reserves_meanwhile_is_used_and_left_to_him(lab: Lab):
    async def reserve() -> None:
        await lab.post("compute/v1/projects/demo/regions/us-central1/addresses", {"name": "for-a-run"})

    receipt = await lab.run("main:run", bugs={"addresses.reserve": [reserve]}, **RELEASED)
    assert (receipt.exit_code, receipt.cleanup) == (0, "confirmed"), receipt.detail
    assert "addresses.delete" not in changes(lab)
    assert sorted(await addresses(lab)) == ["for-a-run", "gpu-ip"]


@pytest.mark.parametrize("verb", ["addresses.insert", "addresses.delete"])
async def test_a_reply_that_is_lost_changes_nothing(lab: Lab, verb: str):
    await lab.inject(on=verb, times=1, lose_reply={})
    receipt = await lab.run("main:run", **RELEASED)
    assert (receipt.exit_code, receipt.cleanup) == (0, "confirmed"), receipt.detail
    assert await addresses(lab) == ["gpu-ip"]


async def test_one_that_cannot_be_reserved_is_exit_3_and_nothing_is_left(lab: Lab):
    await lab.inject(on="addresses.insert", times=1, reply={"status": 403, "reason": "quotaExceeded"})
    receipt = await lab.run("main:run", **RELEASED)
    assert (receipt.exit_code, receipt.cleanup) == (3, "confirmed"), receipt.detail
    assert lab.requests("instances.start") == []


@pytest.mark.parametrize("phase", ["attach", "boot", "detach", "give-back"])
async def test_what_a_dead_run_reserved_is_given_back_by_the_sweep_of_its_vm(lab: Lab, phase: str):
    await killed_at(lab, phase, **RELEASED)
    await run_out(lab, deadline_too=True)
    receipt = await sweep(lab)
    assert receipt.exit_code == 0, receipt.findings
    assert await addresses(lab) == ["gpu-ip"]


async def test_one_whose_vm_is_gone_is_given_back_once_no_run_can_be_on_its_way_to_it(tmp_path: Path):
    async with a_making_lab(tmp_path) as lab:
        await killed_at(lab, "create", **RELEASED)
        [held] = [one for one in (await sweep(lab)).findings if one.kind == "address"]
        assert (held.standing, held.owed) == (Standing.HELD, False)
        while not (planned := await sweep(lab, policy=QUICK, dry_run=True)).owed:
            await asyncio.sleep(0.1)
        assert [(one.name, one.moves) for one in planned.findings if one.owed] == [("for-a-run", ("give-back",))]
        assert sorted(await addresses(lab)) == ["for-a-run", "gpu-ip"]
        receipt = await sweep(lab, policy=QUICK)
        assert (receipt.exit_code, receipt.acted) == (0, True)
        assert await addresses(lab) == ["gpu-ip"]
        await lab.all_is_well()
