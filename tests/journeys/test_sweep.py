"""Sweeps: what a dead orchestrator left behind is put right, whoever it was, and as often as it takes."""

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from gcp_emulator.seed import InstanceSeed, Seed
from orchestrator.events import Event, PhaseStarted
from orchestrator.lease import AddressPolicy, Lease, Phase, read_lease
from orchestrator.policy import seconds
from orchestrator.swept import Standing, SweepReceipt
from tests.journeys.by_hand import BY_HAND, a_person
from tests.journeys.lab import IMPATIENT, Lab, a_lab, a_world
from tests.journeys.sweeping import Killed, abandoned_at, all_is_given_back, killed_at, left_lease, run_out, sweep

RUNGS = {
    "lease": ("deadline", []),
    "deadline": ("attach", []),
    "address": ("start", ["detach"]),
    "machine": ("boot", ["stop", "detach"]),
    "agent": ("invoke", ["stop", "detach"]),
    "job done": ("stop", ["stop", "detach"]),
    "machine off": ("detach", ["detach"]),
    "address off": ("release", []),
}


@pytest.mark.parametrize("rung", RUNGS)
async def test_what_an_orchestrator_left_that_died_on_a_rung_is_put_right(lab: Lab, rung: str):
    phase, moves = RUNGS[rung]
    await abandoned_at(lab, phase)
    receipt = await sweep(lab)
    [vm] = receipt.findings
    assert (vm.standing, vm.owed, receipt.exit_code) == (Standing.ABANDONED, False, 0)
    assert list(vm.moves) == ["claim", *moves, "release"]
    assert (await lab.vm())["status"] == "TERMINATED"
    assert (await lab.address())["status"] == "RESERVED"
    lease = await lab.lease()
    assert lease is not None
    assert lease.phase is Phase.FREE


def standings(receipt: SweepReceipt) -> dict[str, Standing]:
    return {finding.name: finding.standing for finding in receipt.findings}


async def test_a_lease_runs_out_by_itself_and_then_its_vm_is_swept(lab: Lab):
    """In real time: nobody renews, TTL and L pass, and only then is anything touched."""
    policy = replace(IMPATIENT, lease_ttl=seconds(3), lease_renewal=seconds(60), request=seconds(3))
    await killed_at(lab, "boot", policy=policy)
    while (receipt := await sweep(lab, policy=policy)).findings[0].standing is Standing.HELD:
        assert lab.requests("instances.stop") == []
        await asyncio.sleep(0.2)
    assert (receipt.exit_code, receipt.findings[0].moves) == (0, ("claim", "stop", "detach", "release"))
    claim = lease_in(lab.requests("instances.setMetadata")[-3])
    assert claim.phase is Phase.STOPPING
    assert await all_is_given_back(lab)


def lease_in(request: dict[str, Any]) -> Lease:
    lease = read_lease({item["key"]: item["value"] for item in request["body"]["items"]}["mayfly-lease"])
    assert lease is not None
    return lease


async def test_the_claim_comes_first_and_keeps_what_is_owed_in_writing(lab: Lab):
    before = await abandoned_at(lab, "boot")
    known = len(lab.requests())
    await sweep(lab)
    changes = [entry for entry in lab.requests()[known:] if entry["method"] == "POST"]
    assert changes[0]["verb"] == "instances.setMetadata"
    claim = lease_in(changes[0])
    assert (claim.phase, claim.epoch > before.epoch, claim.nonce != before.nonce) == (Phase.STOPPING, True, True)
    same = ("key", "address", "address_policy", "found", "run_deadline", "outcomes")
    assert [getattr(claim, name) for name in same] == [getattr(before, name) for name in same]


async def test_incident_19_the_lease_is_given_back_last_and_only_once_the_vm_was_seen_off(lab: Lab):
    await abandoned_at(lab, "boot")
    await sweep(lab)
    entries = lab.emulator.history()
    off = max(n for n, one in enumerate(entries) if one["kind"] == "state" and one["to"] == "TERMINATED")
    writes = [n for n, one in enumerate(entries) if one.get("verb") == "instances.setMetadata"]
    given_back = lease_in(entries[max(n for n in writes if entries[n]["kind"] == "request")])
    assert given_back.phase is Phase.FREE
    assert max(writes) > off


async def test_incident_19_a_sweep_that_dies_half_way_is_finished_by_the_next(lab: Lab):
    await abandoned_at(lab, "boot")
    for phase in ("stop", "detach", "release"):

        def kill(event: Event, last: str = phase) -> None:
            if isinstance(event, PhaseStarted) and event.name.endswith(f" {last}"):
                raise Killed

        with pytest.raises(Killed):
            await sweep(lab, tell=kill)
        lease = await lab.lease()
        assert lease is not None
        assert lease.phase is Phase.STOPPING, "what is owed stays in writing until all is done"
        await run_out(lab)
    receipt = await sweep(lab)
    assert (receipt.exit_code, receipt.findings[0].moves) == (0, ("claim", "release"))
    assert await all_is_given_back(lab)


async def test_incident_18_nobody_asks_whether_the_owner_still_exists(lab: Lab):
    """The execution is long deleted, and the sweep has never heard of its VM: the label and the lease are enough."""
    await killed_at(lab, "boot")
    await run_out(lab, execution="an-execution-that-was-deleted", holder="Cloud Run execution that was deleted")
    receipt = await sweep(lab, instance="another-vm", zone="asia-northeast3-a", static_name="another-ip")
    assert receipt.exit_code == 0
    assert await all_is_given_back(lab)


async def test_incident_07_an_address_left_on_a_vm_that_is_off_is_taken_off(lab: Lab):
    await abandoned_at(lab, "detach")
    assert (await lab.address())["status"] == "IN_USE"
    stops = len(lab.requests("instances.stop"))
    receipt = await sweep(lab)
    assert receipt.findings[0].moves == ("claim", "detach", "release")
    assert len(lab.requests("instances.stop")) == stops, "it was off"
    assert await all_is_given_back(lab)


async def test_incident_07_an_address_that_is_gone_when_it_is_taken_off_is_off(lab: Lab):
    await abandoned_at(lab, "detach")
    await lab.inject(on="instances.deleteAccessConfig", reply={"status": 404, "reason": "notFound"})
    receipt = await sweep(lab)
    assert receipt.exit_code == 0
    assert len(lab.requests("instances.deleteAccessConfig")) == 2, "it was looked at again, for 404 may be a lie"
    assert await all_is_given_back(lab)


async def test_incident_21_a_vm_that_is_gone_when_we_come_is_no_failure_and_holds_up_nobody(tmp_path: Path):
    async with a_lab(tmp_path, two_vms()) as lab:
        await abandoned_at(lab, "boot")
        await left_lease(lab, "other-vm")
        missing = {"status": 404, "reason": "notFound", "message": "The resource was not found"}
        await lab.inject(on="instances.get", resource="*/other-vm", times=1, reply=missing)
        receipt = await sweep(lab)
        assert standings(receipt) == {"gpu-vm": Standing.ABANDONED, "other-vm": Standing.GONE}
        assert receipt.exit_code == 0
        assert await all_is_given_back(lab)
        assert (await sweep(lab)).exit_code == 0
        await lab.all_is_well()


def two_vms(**other: Any) -> Seed:
    seed = a_world()
    machine = InstanceSeed("other-vm", labels={"mayfly": "managed"}, status="RUNNING")
    return replace(seed, instances=(*seed.instances, replace(machine, **other)))


async def test_one_vm_that_does_not_stop_keeps_no_other_from_its_turn_and_is_owed(tmp_path: Path):
    async with a_lab(tmp_path, two_vms()) as lab:
        await abandoned_at(lab, "boot")
        await left_lease(lab, "other-vm")
        await lab.inject(on="instances.stop", resource="*/other-vm/*", times=None, reply={"status": 503})
        receipt = await sweep(lab, policy=replace(IMPATIENT, down=seconds(3)))
        owed = {finding.name: finding.owed for finding in receipt.findings}
        assert (owed, receipt.exit_code) == ({"gpu-vm": False, "other-vm": True}, 7)
        assert await all_is_given_back(lab)
        async with httpx.AsyncClient() as client:
            await client.delete(f"{lab.emulator.url}/_emulator/faults")
        await run_out(lab, "other-vm")
        assert (await sweep(lab)).exit_code == 0, "the next sweep finishes it"
        await lab.all_is_well()


async def test_of_two_sweeps_at_once_one_acts(lab: Lab):
    await abandoned_at(lab, "boot")
    first, second = await asyncio.gather(sweep(lab), sweep(lab))
    assert sorted(one.findings[0].standing for one in (first, second)) in (
        [Standing.ABANDONED, Standing.HELD],
        [Standing.ABANDONED, Standing.AT_REST],  # the second came when the first was through
    )
    assert (first.exit_code, second.exit_code) == (0, 0)
    assert [first.acted, second.acted].count(True) == 1, "nobody is told twice"
    assert len(lab.requests("instances.stop")) == 1
    assert await all_is_given_back(lab)


async def test_a_sweep_and_a_new_orchestrator_never_both_have_the_vm(lab: Lab):
    """Whoever claims first: the other leaves it alone. What the run started, the sweep did not stop."""
    await abandoned_at(lab, "boot")
    swept, receipt = await asyncio.gather(sweep(lab), lab.run("main:run", key="tuesday"))
    assert receipt.exit_code in {0, 6}
    assert swept.exit_code == 0
    assert lab.output.count("trading for real") == (1 if receipt.exit_code == 0 else 0)
    assert (await lab.run("main:run", key="wednesday")).exit_code == 0
    assert await all_is_given_back(lab)


async def test_a_claim_that_meets_other_writers_is_tried_again(lab: Lab):
    await abandoned_at(lab, "boot")
    stale = {"status": 412, "reason": "conditionNotMet", "message": "Supplied fingerprint does not match"}
    await lab.inject(on="instances.setMetadata", times=2, reply=stale)
    error = {"code": "CONDITION_NOT_MET", "message": "fingerprint", "status": 412}
    await lab.inject(on="instances.setMetadata", operation_error=error)
    assert (await sweep(lab)).exit_code == 0
    assert await all_is_given_back(lab)


async def test_an_address_is_kept_where_the_policy_says_so(lab: Lab):
    await abandoned_at(lab, "boot", address_policy=AddressPolicy.KEEP)
    receipt = await sweep(lab)
    assert receipt.findings[0].moves == ("claim", "stop", "release")
    assert (await lab.address())["status"] == "IN_USE"


async def test_what_earlier_runs_ended_with_is_still_known(lab: Lab):
    assert (await lab.run("main:run", key="monday")).exit_code == 0
    await abandoned_at(lab, "boot", key="tuesday")
    await sweep(lab)
    lease = await lab.lease()
    assert lease is not None
    assert [outcome.key for outcome in lease.outcomes] == ["monday"]


async def test_a_dry_run_says_what_a_sweep_would_do_and_changes_nothing(lab: Lab):
    await abandoned_at(lab, "boot")
    known = len(lab.requests())
    dry = await sweep(lab, dry_run=True)
    assert {entry["method"] for entry in lab.requests()[known:]} == {"GET"}
    wet = await sweep(lab)
    assert dry.findings[0].moves == wet.findings[0].moves
    assert (dry.exit_code, wet.exit_code) == (7, 0)


async def test_a_claim_that_is_older_than_what_the_agent_has_heard_stops_nothing(lab: Lab):
    """Somebody newer has spoken to it, whatever the metadata says: it is his."""
    await abandoned_at(lab, "invoke")
    async with a_person(lab, **BY_HAND, **{"Mayfly-Epoch": "99999999999"}) as client:
        (await client.get("/")).raise_for_status()
    receipt = await sweep(lab)
    assert (receipt.exit_code, receipt.findings[0].owed) == (7, True)
    assert lab.requests("instances.stop") == []
    await run_out(lab, epoch=100_000_000_000)
    assert (await sweep(lab)).exit_code == 0
