"""The lease while it is held: renewed, kept through other people's writes, and given up only to another holder."""

from dataclasses import replace
from typing import Any

import pytest

from orchestrator.errors import Conflict, LeaseLost
from orchestrator.lease import Lease, Phase
from orchestrator.lease_keeper import LeaseKeeper
from orchestrator.policy import seconds
from orchestrator.run import Outcome
from tests.unit.orchestrator.stage import Orchestrator, Stage, a_run, staged
from tests.unit.orchestrator.test_moves import UNAVAILABLE, takes, theirs

CHANGED = {"status": 412, "reason": "conditionNotMet", "message": "Supplied fingerprint does not match."}


def renewals(stage: Stage) -> list[float]:
    """When each lease that was written runs out, in seconds from the beginning."""
    began = stage.universe.now - seconds(stage.universe.loop.time())
    return [(lease.expires_at - began).total_seconds() for lease in stage.leases() if lease.expires_at]


async def keeper_on(stage: Stage, **lease: Any) -> LeaseKeeper:
    """A keeper that holds the lease on the VM that is off."""
    keeper = LeaseKeeper(a_run(), stage.orchestrator().world, stage.told.append)
    machine = await keeper.look()
    claim = Lease(epoch=7, nonce="ours", phase=Phase.CLAIMED, expires_at=stage.now + seconds(180))
    await keeper.claim(machine, replace(claim, **lease))
    return keeper


@staged
async def test_the_lease_is_renewed_each_minute_for_three(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    takes(monkeypatch, 200)
    assert (await stage.drive()).exit_code == 0
    claim, mark, *renewed, stop = renewals(stage)
    assert (claim, mark) == (180, 185)
    assert renewed == [240, 300, 360]
    assert stop > 360
    assert {lease.phase for lease in stage.leases()[2:-2]} == {Phase.INVOKING}, "a renewal changes nothing else"


@staged
async def test_a_renewal_that_fails_is_told_and_tried_again(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    takes(monkeypatch, 200)
    stage.fault(on="instances.setMetadata", skip=2, times=8, reply=UNAVAILABLE)
    assert (await stage.drive()).exit_code == 0
    assert stage.notes().count("WARNING The lease on gpu-vm was not renewed: ") == 1
    assert "Later." in stage.notes()
    assert len([moment for moment in renewals(stage) if moment > 185]) >= 3


@staged
async def test_other_writers_are_merged_with(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody writes an ssh key between our look and our write: it stays, and so does our lease."""
    takes(monkeypatch, 100)
    keeper = await keeper_on(stage)
    for number in range(3):
        stage.write_lease(stage.lease, **{f"ssh-{number}": "a key"})
        stage.fault(on="instances.setMetadata", reply=CHANGED)
        await keeper.amend(lambda lease, now: replace(lease, expires_at=now + seconds(180)))
    assert {"ssh-0", "ssh-1", "ssh-2", "deployed-by"} <= stage.universe.machine().metadata.keys()
    assert stage.lease.nonce == "ours"


@pytest.mark.parametrize(("conflicts", "written"), [(7, True), (8, False)])
@staged
async def test_a_write_is_tried_eight_times_each_from_a_fresh_look(stage: Stage, conflicts: int, written: bool) -> None:
    keeper = await keeper_on(stage)
    looks = len(stage.requests("get"))
    stage.fault(on="instances.setMetadata", times=conflicts, reply=CHANGED)
    if written:
        await keeper.amend(lambda lease, _: replace(lease, phase=Phase.INVOKING))
        assert stage.lease.phase is Phase.INVOKING
    else:
        with pytest.raises(Conflict, match="metadata of gpu-vm"):
            await keeper.amend(lambda lease, _: replace(lease, phase=Phase.INVOKING))
        assert stage.lease.phase is Phase.CLAIMED
    assert len(stage.requests("get")) - looks == 8


@staged
async def test_a_lease_that_was_wiped_is_still_ours_and_is_written_anew(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    takes(monkeypatch, 100)
    stage.on_phase["job"] = lambda _: stage.write_lease(None)
    receipt = await stage.drive()
    assert (receipt.exit_code, receipt.cleanup) == (0, "confirmed")
    anew = stage.leases()[2]
    assert (anew.epoch, anew.nonce, anew.phase, anew.asked) == (stage.lease.epoch, "ours", Phase.INVOKING, True)
    assert anew.found == stage.leases()[0].found


@staged
async def test_what_was_wiped_comes_back_as_it_was_written_last(stage: Stage) -> None:
    keeper = await keeper_on(stage)
    await keeper.amend(lambda lease, _: replace(lease, phase=Phase.INVOKING, holder="again"))
    stage.write_lease(None)
    seen = (await keeper.look()).lease
    assert seen is not None
    assert (seen.phase, seen.holder) == (Phase.INVOKING, "again")


@staged
async def test_before_the_claim_and_once_it_is_given_back_nothing_is_ours(stage: Stage) -> None:
    keeper = LeaseKeeper(a_run(), stage.orchestrator().world, stage.told.append)
    assert (await keeper.look()).lease is None
    with pytest.raises(LeaseLost, match="took the lease on gpu-vm"):
        await keeper.amend(lambda lease, _: lease)
    keeper = await keeper_on(stage)
    await keeper.release(lambda lease, _: replace(lease, holder="last words", outcomes=()))
    assert stage.lease == Lease(epoch=7)
    stage.write_lease(None)
    assert (await keeper.look()).lease is None, "a value wiped now is nobody's"


@staged
async def test_a_claim_that_was_refused_is_none(stage: Stage) -> None:
    keeper = LeaseKeeper(a_run(), stage.orchestrator().world, stage.told.append)
    machine = await keeper.look()
    stage.write_lease(None, somebody="was quicker")
    with pytest.raises(Conflict):
        await keeper.claim(machine, Lease(epoch=7, nonce="ours"))
    assert (await keeper.look()).lease is None
    assert stage.leases() == []


@pytest.mark.parametrize("nonce", ["theirs", ""])
@staged
async def test_a_lease_with_another_nonce_is_lost_and_left_to_its_holder(stage: Stage, nonce: str) -> None:
    keeper = await keeper_on(stage)
    another = replace(theirs(stage, nonce=nonce), expires_at=None)
    stage.write_lease(another)
    with pytest.raises(LeaseLost, match="it was left to them"):
        await keeper.amend(lambda lease, _: replace(lease, phase=Phase.STOPPING))
    assert stage.lease == another


@staged
async def test_a_run_whose_lease_is_lost_turns_round_and_touches_nothing_more(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    takes(monkeypatch, 200)
    another = theirs(stage, expires_at=stage.now + seconds(3600))
    stage.on_phase["job"] = lambda _: stage.write_lease(another)
    receipt = await stage.drive()
    assert (receipt.exit_code, receipt.outcome) == (7, Outcome.CLEANUP_OWED), "it started the VM, and sees it on"
    assert "The run itself: interrupted. Somebody else took the lease on gpu-vm" in receipt.detail
    assert 60 <= stage.universe.loop.time() < 70, "found out by the next renewal"
    assert stage.changes() == ["setScheduling", "addAccessConfig", "start"]
    assert stage.lease == another


@staged
async def test_who_has_waited_in_line_renews_from_its_claim_on(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """And until then it has nothing to renew."""
    takes(monkeypatch, 150)
    stage.write_lease(theirs(stage, expires_at=stage.now + seconds(100)))
    receipt = await stage.drive(a_run(wait_for_lease=seconds(600)))
    assert receipt.exit_code == 0
    claim, _mark, *renewed, _stop = renewals(stage)
    assert claim >= 100 + 30 + 180
    assert renewed == [360, 420], "at the third and the fourth minute"
    assert {lease.nonce for lease in stage.leases()} == {"ours", ""}


@staged
async def test_a_lease_that_is_being_given_back_is_not_lost(stage: Stage) -> None:
    """The renewal comes after the release: it finds the lease free, and that is as it should be."""
    stage.policy = replace(stage.policy, lease_renewal=seconds(0.05))
    receipt = await stage.drive()
    assert (receipt.exit_code, receipt.cleanup) == (0, "confirmed")
    assert not stage.notes()
    assert stage.lease.phase is Phase.FREE


@staged
async def test_one_write_at_a_time_and_none_is_lost(stage: Stage) -> None:
    """A renewal and the mark of a phase meet: both are in the lease at the end."""
    stage.policy = replace(stage.policy, lease_renewal=seconds(1))
    actor = stage.orchestrator()
    actor.begin(a_run())
    await stage.until(lambda: actor.receipt is not None)
    assert actor.receipt is not None
    assert actor.receipt.exit_code == 0
    moments = renewals(stage)
    assert moments == sorted(moments), "no write undoes another's time"
    phases = [lease.phase for lease in stage.leases()]
    order = [Phase.CLAIMED, Phase.INVOKING, Phase.STOPPING, Phase.FREE]
    assert [phase for number, phase in enumerate(phases) if phase not in phases[:number]] == order
    assert phases == sorted(phases, key=order.index), "nor another's phase"
    refused = [
        entry for entry in stage._entries() if entry["verb"] == "instances.setMetadata" and entry["status"] != 200
    ]
    assert refused == [], "writes of one process do not even meet"


@staged
async def test_a_bug_in_a_renewal_does_not_end_the_renewing(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    takes(monkeypatch, 200)
    bugs = [ZeroDivisionError("a bug")]

    def planted(actor: Orchestrator) -> None:
        write = actor.world.leases.write

        async def fails(*asked: Any) -> None:
            if bugs:
                raise bugs.pop()
            await write(*asked)

        monkeypatch.setattr(actor.world.leases, "write", fails)

    stage.on_phase["job"] = planted
    assert (await stage.drive()).exit_code == 0
    assert "ZeroDivisionError" in stage.notes()
    assert len([moment for moment in renewals(stage) if moment > 185]) >= 3
