"""A sweep, by the cloud's own history: what it touches, in which order, and what it says it left."""

import asyncio
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest

from gcp_emulator.seed import DEMO_INSTANCE, DEMO_ZONE
from orchestrator.agent_client import AgentClient
from orchestrator.agent_credentials import ApiKey
from orchestrator.errors import BadUsage
from orchestrator.events import PhaseStarted
from orchestrator.lease import AddressPolicy, Found, Lease, Phase
from orchestrator.policy import seconds
from orchestrator.run import Reach
from orchestrator.swept import Finding, Standing, SweepReceipt
from tests.simulation.universe import BYSTANDER
from tests.unit.orchestrator.stage import Orchestrator, Stage, a_run, staged
from tests.unit.orchestrator.test_moves import (
    UNAVAILABLE,
    L,
    begin_by_hand,
    switched_on,
    takes,
    theirs,
)

FORBIDDEN = {"status": 403, "reason": "forbidden", "message": "Required permission."}
CHANGED = {"status": 412, "reason": "conditionNotMet", "message": "Supplied fingerprint does not match."}
GONE = {"status": 404, "reason": "notFound", "message": "There is no VM."}
HERE = f"{DEMO_ZONE}/{DEMO_INSTANCE}"


async def abandoned(stage: Stage, **lease: Any) -> Lease:
    """The VM is on with its address, and whoever had started it is dead."""
    await switched_on(stage)
    left = theirs(stage, **{"address": "gpu-ip", "phase": Phase.CLAIMED, "execution": "nightly", "task": 3, **lease})
    stage.write_lease(left)
    return left


def the_vm(receipt: SweepReceipt) -> Finding:
    [finding] = [one for one in receipt.findings if one.kind == "vm"]
    return finding


def done_by_us(stage: Stage) -> list[str]:
    """Without what was done by hand to set the stage."""
    return [verb for verb in stage.changes() if verb not in {"addAccessConfig", "start"}]


@staged
async def test_what_was_left_is_claimed_stopped_detached_and_given_back_in_this_order(stage: Stage) -> None:
    left = await abandoned(stage)
    began = stage.now
    receipt = await stage.sweep()
    assert (receipt.exit_code, receipt.unseen, receipt.called_off, receipt.dry_run) == (0, (), False, False)
    assert (receipt.project, receipt.zone, receipt.started_at) == ("demo", None, began)
    finding = the_vm(receipt)
    assert (finding.standing, finding.status, finding.acted, finding.owed) == (
        Standing.ABANDONED,
        "TERMINATED",
        True,
        False,
    )
    assert (finding.name, finding.place, finding.id) == ("gpu-vm", DEMO_ZONE, stage.universe.machine().id)
    assert finding.why.endswith("somebody (run sunday) is gone. It was put right, and seen so.")
    assert finding.moves == tuple(phase.name for phase in finding.phases) == ("claim", "stop", "detach", "release")
    assert done_by_us(stage) == ["stop", "deleteAccessConfig"]
    claim, mark, free = stage.leases()
    assert (claim.epoch, claim.nonce, claim.holder, claim.phase) == (
        left.epoch + 1,
        "sweeper",
        "a sweep",
        Phase.STOPPING,
    )
    assert (claim.key, claim.address, claim.execution, claim.task) == ("sunday", "gpu-ip", "", 0)
    assert mark == replace(claim, expires_at=mark.expires_at)
    assert free == Lease(epoch=left.epoch + 1)
    assert (stage.status, stage.universe.machine().external_ip) == ("TERMINATED", None)


@staged
async def test_each_event_says_of_which_vm_it_speaks(stage: Stage) -> None:
    await abandoned(stage)
    await stage.sweep()
    assert stage.phases() == [f"{HERE} {name}" for name in ("claim", "stop", "detach", "release")]
    said = [event.sentence for event in stage.told if isinstance(event, PhaseStarted)]
    assert said[0] == "Claiming the lease that was left on gpu-vm"


@staged
async def test_a_vm_that_is_off_is_given_back_with_its_address_off(stage: Stage) -> None:
    await stage.drive(a_run(address_policy=AddressPolicy.KEEP))
    stage.write_lease(theirs(stage, address="gpu-ip"))
    before = stage.changes()
    finding = the_vm(await stage.sweep())
    assert (finding.moves, finding.owed) == (("claim", "detach", "release"), False)
    assert stage.changes() == [*before, "deleteAccessConfig"]


@staged
async def test_its_lease_is_renewed_while_a_stop_takes_long(stage: Stage) -> None:
    await abandoned(stage)
    stage.policy = replace(stage.policy, lease_renewal=seconds(1))
    assert (await stage.sweep()).exit_code == 0
    stopping = [lease.expires_at for lease in stage.leases() if lease.phase is Phase.STOPPING]
    assert len(stopping) > 3
    await stage.pass_seconds(5)
    assert stage.leases()[-1].phase is Phase.FREE, "and no longer than that"


@staged
async def test_a_dry_run_says_what_it_would_do_and_changes_nothing(stage: Stage) -> None:
    left = await abandoned(stage)
    receipt = await stage.sweep(dry_run=True)
    finding = the_vm(receipt)
    assert (finding.moves, finding.acted, finding.owed) == (("claim", "stop", "detach", "release"), False, True)
    assert (receipt.exit_code, receipt.dry_run, receipt.acted) == (7, True, False)
    assert (done_by_us(stage), stage.leases(), stage.lease.epoch) == ([], [], left.epoch)


@staged
async def test_what_is_at_rest_costs_one_request(stage: Stage) -> None:
    receipt = await stage.sweep()
    finding = the_vm(receipt)
    assert (finding.standing, finding.owed, finding.acted, finding.moves) == (Standing.AT_REST, False, False, ())
    assert (finding.why, finding.status) == ("It is off, and nobody holds it.", "TERMINATED")
    assert (receipt.exit_code, stage.requests("get")) == (0, [])


@pytest.mark.parametrize(("left", "standing"), [(1, Standing.HELD), (0, Standing.ABANDONED)])
@staged
async def test_a_lease_is_its_holders_until_l_after_its_end(stage: Stage, left: int, standing: Standing) -> None:
    stage.write_lease(theirs(stage, expires_at=stage.now - L + seconds(left)))
    finding = the_vm(await stage.sweep())
    assert (finding.standing, finding.acted) == (standing, standing is Standing.ABANDONED)


@staged
async def test_what_only_a_person_can_put_right_is_owed(stage: Stage) -> None:
    stage.write_lease(theirs(stage))
    stage.change_vm(status="SUSPENDED")
    receipt = await stage.sweep()
    assert (the_vm(receipt).standing, the_vm(receipt).owed, receipt.exit_code) == (Standing.STUCK, True, 7)
    assert stage.leases() == []


@staged
async def test_a_vm_that_was_on_before_the_run_stays_on(stage: Stage) -> None:
    await switched_on(stage)
    ip = stage.universe.machine().external_ip
    stage.write_lease(theirs(stage, found=Found(running=True, ip=ip), address="gpu-ip"))
    finding = the_vm(await stage.sweep())
    assert (finding.moves, finding.owed, finding.status) == (("claim", "release"), False, "RUNNING")
    assert done_by_us(stage) == []


# --- live work ---------------------------------------------------------------------------------------------------


async def an_orphan(stage: Stage, monkeypatch: pytest.MonkeyPatch, **run: Any) -> Lease:
    """A run goes on though its orchestrator is dead and its lease ran out."""
    takes(monkeypatch, 1000)
    dead = stage.orchestrator()
    dead.begin(a_run(**run))
    await stage.until(lambda: stage.jobs)
    await stage.pass_seconds(1)
    dead.killed()
    await stage.pass_seconds(180 + 31 - 30)
    stage.write_lease(replace(stage.lease, expires_at=stage.now - L))
    stage.told.clear()
    return stage.lease


@staged
async def test_a_live_run_is_left_alone_and_its_agent_hears_of_no_epoch(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = await an_orphan(stage, monkeypatch)
    before = len(stage.leases())
    receipt = await stage.sweep()
    finding = the_vm(receipt)
    assert (finding.standing, finding.owed, finding.acted, receipt.exit_code) == (Standing.LIVE, False, False, 0)
    assert "Run monday is at work on it until" in finding.why
    assert (done_by_us(stage).count("stop"), len(stage.leases()), stage.lease) == (0, before, left)
    ledger = stage.universe.guest().ledger
    assert ledger is not None
    assert ledger.epoch == left.epoch
    assert stage.universe.live_keys() != []


@staged
async def test_a_run_that_begins_between_the_question_and_the_claim_goes_on_under_its_old_lease(stage: Stage) -> None:
    left = await abandoned(stage)
    begun: list[asyncio.Future[None]] = []

    def begins(_: Orchestrator) -> None:
        begun.append(asyncio.ensure_future(begin_by_hand(stage, "sunday", left.epoch)))

    stage.on_phase[f"{HERE} claim"] = begins
    receipt = await stage.sweep()
    finding = the_vm(receipt)
    assert (finding.standing, finding.owed, finding.acted, receipt.exit_code) == (Standing.LIVE, False, True, 0)
    assert finding.moves == ("claim",)
    assert done_by_us(stage) == []
    claim, back = stage.leases()
    assert claim.phase is Phase.STOPPING
    assert back == replace(left, epoch=claim.epoch, expires_at=back.expires_at)
    assert stage.universe.live_keys() != []


@staged
async def test_a_claim_older_than_what_the_agent_has_heard_stops_nothing(stage: Stage) -> None:
    left = await abandoned(stage)
    person = stage.orchestrator("somebody later")
    vm = await person.world.machines.look(DEMO_INSTANCE)
    await person.world.agent(vm, vm.internal_ip).greet(left.epoch + 1000)
    receipt = await stage.sweep()
    assert (the_vm(receipt).owed, receipt.exit_code, done_by_us(stage)) == (True, 7, [])
    assert the_vm(receipt).standing is Standing.ABANDONED
    assert "is over" in the_vm(receipt).why


@pytest.mark.parametrize(("left", "standing"), [(60, Standing.LIVE), (-1, Standing.ABANDONED)])
@staged
async def test_a_silent_agent_may_have_its_run_until_the_deadline_in_the_lease(
    stage: Stage, left: int, standing: Standing
) -> None:
    await abandoned(stage, phase=Phase.INVOKING)
    stage.universe.guest().process.pause(3000)  # type: ignore[union-attr]
    deadline = stage.now + seconds(left)
    stage.write_lease(replace(stage.lease, run_deadline=deadline))
    finding = the_vm(await stage.sweep())
    assert finding.standing is standing
    assert ("stop" in stage.changes()) is (standing is Standing.ABANDONED)


@staged
async def test_an_agent_that_does_not_know_our_key_counts_as_silent_and_that_is_told(stage: Stage) -> None:
    await abandoned(stage)
    actor = stage.orchestrator("sweep")
    world = actor.world
    world.agent = lambda _, ip: AgentClient(
        f"http://{ip}:8000", ApiKey("another-key"), world.policy, world.clock, transport=actor._door
    )
    assert (await stage.sweep(by=actor)).exit_code == 0
    assert "WARNING The agent on gpu-vm counts as silent: " in stage.notes()
    assert "stop" in stage.changes()


@pytest.mark.parametrize(("reach", "standing"), [(Reach.INTERNAL, Standing.LIVE), (Reach.EXTERNAL, Standing.ABANDONED)])
@staged
async def test_an_agent_is_asked_at_the_address_that_was_ordered(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, reach: Reach, standing: Standing
) -> None:
    left = await an_orphan(stage, monkeypatch, reach=Reach.INTERNAL, address=None)
    stage.write_lease(replace(left, run_deadline=None))
    assert stage.universe.machine().external_ip is None
    finding = the_vm(await stage.sweep(reach=reach))
    assert (finding.standing, finding.owed) == (standing, False)


@staged
async def test_a_vm_that_is_off_has_no_run_whatever_its_deadline(stage: Stage) -> None:
    stage.write_lease(theirs(stage, phase=Phase.INVOKING, run_deadline=stage.now + seconds(3600)))
    finding = the_vm(await stage.sweep())
    assert (finding.standing, finding.moves, finding.owed) == (Standing.ABANDONED, ("claim", "release"), False)


@staged
async def test_an_agent_is_asked_from_outside_by_its_external_address(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = await an_orphan(stage, monkeypatch)
    stage.write_lease(replace(left, run_deadline=None))
    assert the_vm(await stage.sweep(reach=Reach.EXTERNAL)).standing is Standing.LIVE


@staged
async def test_a_vm_that_is_on_its_way_up_is_not_asked_and_is_stopped(stage: Stage) -> None:
    stage.write_lease(theirs(stage))
    stage.by_hand("start")
    receipt = await stage.sweep()
    assert (the_vm(receipt).moves, receipt.exit_code) == (("claim", "stop", "release"), 0)
    assert stage.jobs == []


# --- the claim ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("conflicts", "put_right"), [(6, True), (8, False)])
@staged
async def test_a_claim_that_meets_other_writers_is_made_again_after_a_look_each_eight_looks_in_all(
    stage: Stage, conflicts: int, put_right: bool
) -> None:
    stage.write_lease(theirs(stage))
    stage.fault(on="instances.setMetadata", times=conflicts, reply=CHANGED)
    receipt = await stage.sweep()
    finding = the_vm(receipt)
    assert (finding.standing, finding.owed, finding.acted) == (Standing.ABANDONED, not put_right, put_right)
    assert receipt.exit_code == (0 if put_right else 7)
    if not put_right:
        assert len(stage.requests("get")) == 8
        assert stage.lease.nonce == "theirs"


@staged
async def test_a_claim_of_which_no_answer_came_holds_if_the_next_look_shows_it(stage: Stage) -> None:
    stage.write_lease(theirs(stage))
    stage.fault(on="instances.setMetadata", times=3, late={"seconds": 40})
    receipt = await stage.sweep()
    assert (the_vm(receipt).owed, receipt.exit_code) == (False, 0)
    assert stage.lease.phase is Phase.FREE


@staged
async def test_a_vm_that_somebody_takes_before_its_stop_is_his(stage: Stage) -> None:
    await abandoned(stage)
    another = theirs(stage, nonce="a third", holder="a third", expires_at=stage.now + seconds(600))
    stage.on_phase[f"{HERE} stop"] = lambda _: stage.write_lease(another)
    stage.fault(on="instances.stop", reply=UNAVAILABLE)
    receipt = await stage.sweep()
    finding = the_vm(receipt)
    assert (finding.standing, finding.owed, finding.acted) == (Standing.HELD, False, True)
    assert "a third (run sunday) holds its lease until" in finding.why
    assert (receipt.exit_code, stage.requests("stop")) == (0, [])


# --- what goes wrong ---------------------------------------------------------------------------------------------


@staged
async def test_a_vm_that_is_gone_when_we_come_is_no_failure(stage: Stage) -> None:
    stage.write_lease(theirs(stage))
    stage.fault(on="instances.get", reply=GONE)
    receipt = await stage.sweep()
    finding = the_vm(receipt)
    assert (finding.standing, finding.owed, receipt.exit_code) == (Standing.GONE, False, 0)
    assert finding.why == "It was deleted meanwhile."


@staged
async def test_a_vm_that_cannot_be_looked_at_is_owed_with_the_reason(stage: Stage) -> None:
    stage.write_lease(theirs(stage))
    stage.fault(on="instances.get", reply=FORBIDDEN)
    receipt = await stage.sweep()
    finding = the_vm(receipt)
    assert (finding.standing, finding.owed, receipt.exit_code) == (Standing.ABANDONED, True, 7)
    assert finding.why.startswith("It is off, but somebody (run sunday) never gave its lease back. ")
    assert "Required permission." in finding.why
    assert (finding.moves, finding.acted) == ((), False), "nothing was done about it"


@staged
async def test_a_bug_that_meets_one_vm_keeps_nobody_from_the_others(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    two_vms(stage)
    actor = stage.orchestrator("sweep")
    look = actor.world.machines.look

    async def fails(name: str) -> Any:
        if name == BYSTANDER:
            raise ZeroDivisionError("a bug")
        return await look(name)

    monkeypatch.setattr(actor.world.machines, "look", fails)
    receipt = await stage.sweep(by=actor)
    findings = {finding.name: finding for finding in receipt.findings}
    assert not findings[DEMO_INSTANCE].owed
    assert findings[BYSTANDER].owed
    assert findings[BYSTANDER].standing is Standing.ABANDONED
    assert "A bug in Mayfly: ZeroDivisionError('a bug')." in findings[BYSTANDER].why


@staged
async def test_a_vm_that_is_not_seen_off_is_owed_and_said_to_cost_money(stage: Stage) -> None:
    await abandoned(stage)
    stage.fault(on="instances.stop", times=None, reply=FORBIDDEN)
    receipt = await stage.sweep()
    finding = the_vm(receipt)
    assert (finding.owed, finding.acted, receipt.exit_code, finding.status) == (True, True, 7, "RUNNING")
    assert (
        "is gone. The clean-up was not seen done; it was not seen off: it may still be on, and cost money."
        in finding.why
    )
    assert 720 <= stage.universe.loop.time() < 760


@staged
async def test_a_vm_that_is_off_with_its_address_on_is_owed_and_said_to_be_off(stage: Stage) -> None:
    await abandoned(stage)
    stage.fault(on="instances.deleteAccessConfig", times=None, reply=FORBIDDEN)
    finding = the_vm(await stage.sweep())
    assert (finding.owed, finding.status) == (True, "TERMINATED")
    assert "The clean-up was not seen done; it is off. Cannot take" in finding.why
    assert finding.why.endswith("Required permission."), "what stood in the way"


@staged
async def test_a_list_that_cannot_be_had_is_unseen_and_unseen_is_not_off(stage: Stage) -> None:
    stage.write_lease(theirs(stage))
    stage.fault(on="instances.aggregatedList", reply=FORBIDDEN)
    receipt = await stage.sweep()
    assert (receipt.findings, receipt.exit_code, stage.leases()) == ((), 7, [])
    [why] = receipt.unseen
    assert "Required permission." in why


@staged
async def test_a_project_that_is_none_is_a_mistake_of_the_user(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    async def refuses(_: object) -> None:
        raise BadUsage("no such project")

    monkeypatch.setattr("tests.unit.orchestrator.stage.StagedInventory.machines", refuses)
    with pytest.raises(BadUsage):
        await stage.sweep()


# --- one zone ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("zone", "swept"), [(DEMO_ZONE, True), ("us-central1-b", False)])
@staged
async def test_a_zone_that_is_named_is_the_only_one(stage: Stage, zone: str, swept: bool) -> None:
    stage.write_lease(theirs(stage))
    receipt = await stage.sweep(zone=zone)
    assert (bool(receipt.findings), stage.leases() != [], receipt.zone) == (swept, swept, zone)


@pytest.mark.parametrize(
    ("zone", "unseen"),
    [
        (None, ("us-central1-a", "us-central1-b", "the whole project: why")),
        (DEMO_ZONE, ("us-central1-a", "the whole project: why")),
    ],
)
@staged
async def test_what_was_unseen_counts_where_it_may_hide_something(
    stage: Stage, zone: str | None, unseen: tuple[str, ...]
) -> None:
    stage.unseen = ("us-central1-a", "us-central1-b", "the whole project: why")
    receipt = await stage.sweep(zone=zone)
    assert (receipt.unseen, receipt.exit_code) == (unseen, 7)


@pytest.mark.parametrize(("zone", "told"), [(None, True), (DEMO_ZONE, True), ("europe-west4-a", False)])
@staged
async def test_a_reserved_address_that_nothing_uses_is_told(stage: Stage, zone: str | None, told: bool) -> None:
    stage.label_address()
    receipt = await stage.sweep(zone=zone)
    found = [(one.name, one.standing, one.place, one.owed) for one in receipt.findings if one.kind == "address"]
    assert found == ([("gpu-ip", Standing.UNUSED, "us-central1", False)] if told else [])
    assert receipt.exit_code == 0


@staged
async def test_an_address_that_a_vm_uses_is_no_finding(stage: Stage) -> None:
    stage.label_address()
    await switched_on(stage)
    assert [one.kind for one in (await stage.sweep()).findings] == ["vm"]


@staged
async def test_addresses_that_cannot_be_listed_are_a_warning_and_no_failure(stage: Stage) -> None:
    stage.fault(on="addresses.aggregatedList", reply=FORBIDDEN)
    receipt = await stage.sweep()
    assert (receipt.exit_code, [one.kind for one in receipt.findings]) == (0, ["vm"])
    assert "WARNING The reserved addresses could not be listed: " in stage.notes()
    assert "Required permission." in stage.notes()


# --- many, and the signal ----------------------------------------------------------------------------------------


def two_vms(stage: Stage) -> None:
    """Both were left, off."""
    for name in (DEMO_INSTANCE, BYSTANDER):
        lease = {"mayfly-lease": theirs(stage).to_json(), "deployed-by": "somebody"}
        stage.change_vm(name, labels={"mayfly": "managed"}, metadata=lease)


@pytest.mark.parametrize("at_once", [1, 2])
@staged
async def test_as_many_are_swept_at_once_as_the_policy_says(stage: Stage, at_once: int) -> None:
    two_vms(stage)
    stage.policy = replace(stage.policy, sweep_at_once=at_once)
    receipt = await stage.sweep()
    assert (receipt.exit_code, len(receipt.findings)) == (0, 2)
    vms = [name.split()[0] for name in stage.phases()]
    changes_of_vm = sum(one != other for one, other in pairwise(vms))
    assert (changes_of_vm == 1) is (at_once == 1), stage.phases()


@staged
async def test_called_off_before_it_has_listed_it_says_so_and_touches_nothing(stage: Stage) -> None:
    stage.write_lease(theirs(stage))
    actor = stage.orchestrator("sweep")
    stage.universe.loop.outside(1, actor.sigterm)
    stage.fault(on="instances.aggregatedList", late={"seconds": 20})
    receipt = await stage.sweep(by=actor)
    assert (receipt.exit_code, receipt.called_off, receipt.findings) == (143, True, ())
    assert receipt.unseen == ("the VMs: called off before they were listed",)
    assert stage.universe.loop.time() < 1.1
    assert stage.leases() == []


@staged
async def test_called_off_before_the_claim_it_begins_nothing_new(stage: Stage) -> None:
    stage.write_lease(theirs(stage))
    actor = stage.orchestrator("sweep")
    stage.universe.loop.outside(1, actor.sigterm)
    stage.fault(on="instances.get", late={"seconds": 5})
    receipt = await stage.sweep(by=actor)
    finding = the_vm(receipt)
    assert (finding.standing, finding.owed, finding.acted) == (Standing.ABANDONED, True, False)
    assert (receipt.exit_code, stage.leases()) == (143, [])


@staged
async def test_called_off_under_its_claim_it_gets_the_stop_out_and_leaves_in_time(stage: Stage) -> None:
    await abandoned(stage)
    actor = stage.orchestrator("sweep")
    began = stage.universe.loop.time()

    def called_off(_: Orchestrator) -> None:
        actor.sigterm()

    stage.on_phase[f"{HERE} claim"] = called_off
    stage.fault(on="instances.deleteAccessConfig", times=None, reply=FORBIDDEN)
    receipt = await stage.sweep(by=actor)
    assert (receipt.exit_code, the_vm(receipt).owed) == (143, True)
    assert len(stage.requests("stop")) == 1
    assert 8 < stage.universe.loop.time() - began < 10


@staged
async def test_called_off_it_waits_for_nobody_who_hangs(stage: Stage) -> None:
    stage.write_lease(theirs(stage))
    actor = stage.orchestrator("sweep")
    stage.universe.loop.outside(1, actor.sigterm)
    stage.fault(on="instances.get", late={"seconds": 29})
    receipt = await stage.sweep(by=actor)
    finding = the_vm(receipt)
    assert (receipt.exit_code, finding.owed, finding.acted) == (143, True, False)
    assert 9 < stage.universe.loop.time() < 10.5


@staged
async def test_called_off_it_asks_for_no_addresses(stage: Stage) -> None:
    stage.label_address()
    actor = stage.orchestrator("sweep")
    stage.fault(on="addresses.aggregatedList", late={"seconds": 20})
    stage.universe.loop.outside(1, actor.sigterm)
    receipt = await stage.sweep(by=actor)
    assert (receipt.exit_code, [one.kind for one in receipt.findings]) == (143, ["vm"])
    assert stage.universe.loop.time() < 1.1


class Killed(BaseException):
    """Nobody catches it."""


@staged
async def test_what_ends_the_whole_process_is_not_swallowed(stage: Stage) -> None:
    stage.write_lease(theirs(stage))

    def kill(_: Orchestrator) -> None:
        raise Killed

    stage.on_phase[f"{HERE} claim"] = kill
    with pytest.raises(Killed):
        await stage.sweep()
