"""The static address goes from the VM, or another takes its place, just before the run is asked for."""

import shlex
from collections.abc import AsyncIterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from gcp_emulator.seed import AddressSeed, Seed
from orchestrator.run import Outcome
from tests.journeys.endings import ended
from tests.journeys.lab import Lab, a_lab, a_world, starts_the_agent

ZONE = "compute/v1/projects/demo/zones/us-central1-a"


# An address that is not there is waited for: here, not for four seconds.
HASTY = "from vm_agent import policy; policy.EGRESS_SECONDS = 0.3; from vm_agent.__main__ import main; main()"


def a_hasty_world() -> Seed:
    script = starts_the_agent()
    assert script.count("-m vm_agent") == 1
    return a_world(script.replace("-m vm_agent", f"-c {shlex.quote(HASTY)}"))


@pytest.fixture
async def lab(tmp_path: Path) -> AsyncIterator[Lab]:
    async with a_lab(tmp_path / "disks", a_hasty_world()) as lab:
        yield lab
        await lab.all_is_well()


async def change(lab: Lab, verb: str, body: Any = None, **query: str) -> None:
    """As a colleague would with gcloud: asked for, and waited for."""
    async with httpx.AsyncClient(base_url=lab.emulator.url, timeout=30) as client:
        asked = await client.post(
            f"{ZONE}/instances/gpu-vm/{verb}", params={"networkInterface": "nic0", **query}, json=body
        )
        await client.post(f"{ZONE}/operations/{asked.raise_for_status().json()['name']}/wait")


async def take_the_address_off(lab: Lab) -> None:
    (config,) = (await lab.vm())["networkInterfaces"][0]["accessConfigs"]
    await change(lab, "deleteAccessConfig", accessConfig=config["name"])


async def put_another_on(lab: Lab) -> None:
    await take_the_address_off(lab)
    await change(
        lab, "addAccessConfig", {"type": "ONE_TO_ONE_NAT", "natIP": (await lab.address("other-ip"))["address"]}
    )


@pytest.mark.parametrize(("reach", "outcome"), [("internal", Outcome.AGENT_FAULT), ("external", Outcome.INTERRUPTED)])
async def test_a_vm_that_has_lost_its_address_runs_nothing(lab: Lab, reach: str, outcome: Outcome):
    """Where the agent is called at that very address, nobody is there any more to say so: then it is exit 5."""
    bugs = {"agent.start": [partial(take_the_address_off, lab)]}
    receipt = await lab.run("main:outlast", agent_reach=reach, bugs=bugs)
    assert receipt.outcome is outcome
    if reach == "internal":
        ip = (await lab.address())["address"]
        assert f"to go out by {ip}, but the metadata server shows none" in receipt.detail
    await ended(lab, receipt, outcome.exit)
    assert lab.output == ""
    assert list(lab.disk.glob("var/lib/mayfly/runs/*")) == []
    await lab.all_is_well()


async def test_a_vm_with_another_address_runs_nothing_and_the_message_has_both(tmp_path: Path):
    world = a_hasty_world()
    async with a_lab(tmp_path, replace(world, addresses=(*world.addresses, AddressSeed("other-ip")))) as lab:
        bugs = {"agent.start": [partial(put_another_on, lab)]}
        receipt = await lab.run("main:outlast", agent_reach="internal", bugs=bugs)
        ours, theirs = (await lab.address())["address"], (await lab.address("other-ip"))["address"]
        assert (receipt.outcome, receipt.exit_code) == (Outcome.AGENT_FAULT, 4)
        assert f"go out by {ours}, but the metadata server shows {theirs}: nothing was run" in receipt.detail
        assert (await lab.vm())["status"] == "TERMINATED"
        assert (await lab.address("other-ip"))["status"] == "IN_USE", (
            "what a colleague put there is not ours to take off"
        )
        assert list(lab.disk.glob("var/lib/mayfly/runs/*")) == []
        await lab.all_is_well()


async def test_the_same_run_begins_once_the_address_is_back(lab: Lab):
    bugs = {"agent.start": [partial(take_the_address_off, lab)]}
    refused = await lab.run("main:run", key="k", agent_reach="internal", bugs=bugs)
    begun = await lab.run("main:run", key="k", agent_reach="internal")
    assert (refused.exit_code, begun.exit_code) == (4, 0)
    await ended(lab, begun, 0)
    await lab.all_is_well()
