"""VMs that are made for one run, and addresses that are reserved for one: by the cloud's history, on virtual time."""

from dataclasses import replace
from datetime import timedelta
from functools import partial

import pytest

from gcp_emulator.seed import DEMO_BUCKET
from orchestrator.lease import AddressPolicy, Phase
from orchestrator.run import Outcome
from orchestrator.seen import RESERVED_FOR_A_RUN, run_label
from orchestrator.swept import Standing
from tests.simulation.schedule import Schedule
from tests.unit.orchestrator.stage import Orchestrator, Stage, a_run, staged

making = partial(staged, schedule=Schedule(made=True))
MADE = a_run(ephemeral=True)
RELEASED = a_run(address="for-a-run", address_policy=AddressPolicy.RELEASE)
LEASE_DEAD = 211.0  # TTL, L and a moment


def die(actor: Orchestrator) -> None:
    actor.killed()


def call_off(actor: Orchestrator) -> None:
    actor.sigterm()


async def left_at(stage: Stage, phase: str, run: object = MADE) -> Orchestrator:
    """An orchestrator that is killed as that phase begins."""
    actor = stage.orchestrator("dead")
    stage.on_phase[phase] = die
    actor.begin(run)  # type: ignore[arg-type]
    await stage.until(lambda: phase in stage.phases())
    return actor


@making
async def test_a_vm_is_made_with_everything_in_one_request_and_deleted(stage: Stage) -> None:
    receipt = await stage.drive(MADE)
    assert (receipt.outcome, receipt.cleanup, receipt.attempts) == (Outcome.SUCCEEDED, "confirmed", 1)
    assert stage.changes() == ["insert", "delete"]
    [made] = [entry["body"] for entry in stage.requests("insert")]
    assert made["labels"] == {"mayfly": "managed", "mayfly-run": run_label("monday")}
    assert made["scheduling"]["maxRunDuration"] == {"seconds": "1200"}
    assert made["networkInterfaces"][0]["accessConfigs"][0]["natIP"]
    assert stage.stored_leases() == 4, "claimed, invoking, stopping, free"
    assert stage.lease.phase is Phase.FREE
    assert stage.universe.machine() is None


@making
async def test_each_move_is_told_in_a_sentence_with_its_names(stage: Stage) -> None:
    await stage.drive(MADE)
    said = {event.name: event.sentence for event in stage.told if hasattr(event, "sentence")}
    assert said["create"] == "Making gpu-vm in us-central1-a, with a limit of 20m"
    assert said["delete"] == "Deleting gpu-vm"


@making
async def test_the_end_is_remembered_before_the_vm_that_knew_it_is_deleted(stage: Stage) -> None:
    """Who dies over the deletion leaves the answer, and no question."""
    await stage.drive(MADE)
    entries = stage._entries()
    stopping = [at for at, entry in enumerate(entries) if entry["verb"] == "objects.insert"][2]
    deleted = next(at for at, entry in enumerate(entries) if entry["verb"] == "instances.delete")
    assert stopping < deleted


@making
async def test_a_bucket_that_is_slow_does_not_keep_the_vm_on(stage: Stage) -> None:
    stage.fault(on="objects.insert", skip=2, late={"seconds": 20})
    receipt = await stage.drive(MADE)
    assert (receipt.exit_code, receipt.cleanup) == (0, "confirmed")
    [deleted] = [told.at for told in stage.universe.trace if told.text.endswith("EraseDisk")]
    [ended] = [phase for phase in receipt.phases if phase.name == "job"]
    assert deleted < stage.seconds(ended.started) + ended.seconds + 10, "long before the bucket answers"


@making
async def test_a_signal_does_not_wait_for_the_mark(stage: Stage) -> None:
    actor = stage.orchestrator()
    stage.on_phase["job"] = call_off
    stage.fault(on="objects.insert", skip=2, late={"seconds": 5})
    receipt = await stage.drive(MADE, by=actor)
    assert (receipt.exit_code, receipt.cleanup) == (143, "confirmed")


@making
async def test_an_insert_whose_reply_is_lost_makes_one_vm(stage: Stage) -> None:
    stage.fault(on="instances.insert", late={"seconds": 40})
    assert (await stage.drive(MADE)).exit_code == 0
    assert stage.changes() == ["insert", "insert", "delete"]
    requested = {entry["query"]["requestId"] for entry in stage.requests("insert")}
    assert len(requested) == 1, "one request, tried twice"


def taken_soon(stage: Stage, _: Orchestrator) -> None:
    """In a moment the lease is another's."""

    def take() -> None:
        [stored] = stage.universe.cloud.world.buckets[DEMO_BUCKET].objects.values()
        stored.content = replace(stage.lease, nonce="theirs", epoch=9_999_999_999).to_json().encode()
        stored.generation += 1

    stage.universe.loop.outside(stage.universe.loop.time() + 0.15, take)


@pytest.mark.parametrize(("verb", "phase"), [("insert", "create"), ("delete", "delete")])
@making
async def test_no_further_try_goes_out_once_the_lease_is_anothers(stage: Stage, verb: str, phase: str) -> None:
    stage.fault(on=f"instances.{verb}", reply={"status": 503, "reason": "backendError"})
    stage.on_phase[phase] = partial(taken_soon, stage)
    receipt = await stage.drive(MADE)
    assert receipt.exit_code in {6, 7}
    assert stage.requests(verb) == []


@making
async def test_an_insert_of_which_nobody_heard_is_waited_for_as_long_as_it_can_land(stage: Stage) -> None:
    """It times out as its run is called off, and lands ten seconds later."""
    stage.policy = replace(stage.policy, after_sigterm=stage.policy.down)
    stage.fault(on="instances.insert", late={"seconds": 40, "effect": "at_the_end"})

    def called_off(actor: Orchestrator) -> None:
        stage.universe.loop.outside(stage.universe.loop.time() + 28, actor.sigterm)

    stage.on_phase["create"] = called_off
    receipt = await stage.drive(MADE)
    assert (receipt.exit_code, receipt.cleanup) == (143, "confirmed")
    assert stage.changes() == ["insert", "delete"]
    assert stage.universe.machine() is None
    assert stage.lease.phase is Phase.FREE


@making
async def test_a_stockout_is_no_vm_and_leaves_nothing(stage: Stage) -> None:
    stage.fault(stockout={"details": False})
    receipt = await stage.drive(MADE)
    assert (receipt.outcome, receipt.cleanup) == (Outcome.NO_MACHINE, "confirmed")
    assert stage.lease.phase is Phase.FREE
    assert stage.lease.outcomes == (), "nothing was asked for, so the key may be tried again"


@making
async def test_one_that_is_called_off_at_work_is_remembered_as_cut(stage: Stage) -> None:
    stage.on_phase["job"] = call_off
    receipt = await stage.drive(MADE)
    assert (receipt.exit_code, receipt.cleanup) == (143, "confirmed")
    [known] = stage.lease.outcomes
    assert (known.outcome, known.exit_code, known.attempts) == ("interrupted", 5, 1)
    again = await stage.drive(replace(MADE, nonce="again"))
    assert (again.exit_code, again.answered_from_memory) == (5, True)
    assert len(stage.jobs) == 1


@making
async def test_one_that_is_called_off_while_it_boots_may_be_tried_again(stage: Stage) -> None:
    stage.on_phase["boot"] = call_off
    assert (await stage.drive(MADE)).exit_code == 143
    assert stage.lease.outcomes == ()
    assert (await stage.drive(replace(MADE, nonce="again"))).exit_code == 0


@making
async def test_what_the_attempts_of_dead_orchestrators_cost_is_counted(stage: Stage) -> None:
    """Each dies at work, and its VM is deleted by hand: the ledger that knew of the attempt is gone."""
    run = replace(MADE, attempts_most=2)
    for attempt in (1, 2):
        await left_at(stage, "job", replace(run, nonce=f"dead-{attempt}"))
        await stage.until(lambda attempt=attempt: len(stage.jobs) == attempt)
        stage.told.clear()
        await stage.delete_by_hand()
        await stage.pass_seconds(LEASE_DEAD)
    receipt = await stage.drive(replace(run, nonce="last"))
    assert (receipt.outcome, receipt.attempts, receipt.cleanup) == (Outcome.INTERRUPTED, 2, "confirmed")
    assert stage.lease.outcomes[-1].attempts == 2
    assert len(stage.jobs) == 2


@making
async def test_a_sweep_deletes_what_is_left_and_remembers_that_the_run_was_cut(stage: Stage) -> None:
    await left_at(stage, "job")
    stage.universe.guest().lose_agent()
    await stage.pass_seconds(1200)
    receipt = await stage.sweep()
    [vm] = [one for one in receipt.findings if one.kind == "vm"]
    assert (vm.standing, vm.owed, vm.moves) == (Standing.ABANDONED, False, ("claim", "delete", "release"))
    [known] = stage.lease.outcomes
    assert (known.key, known.mode, known.outcome, known.meaning) == ("monday", "run", "interrupted", MADE.meaning)


@making
async def test_a_sweep_asks_the_ledger_before_it_deletes_it(stage: Stage) -> None:
    await left_at(stage, "delete")
    await stage.pass_seconds(150)
    stage.age_lease(timedelta(seconds=LEASE_DEAD))
    assert stage.status == "RUNNING", "its dead-man waits for 180 s"
    assert (await stage.sweep()).exit_code == 0
    [known] = stage.lease.outcomes
    assert (known.outcome, known.result) == ("succeeded", {"worked": "run-1"})


@making
async def test_a_run_that_the_ledger_never_heard_of_may_be_tried_again_after_a_sweep(stage: Stage) -> None:
    """Its orchestrator died between the word in the lease and the word to the agent."""
    await left_at(stage, "boot")
    await stage.until(lambda: stage.universe.guest().app is not None)
    asked = replace(stage.lease, phase=Phase.INVOKING, asked=True)
    [stored] = stage.universe.cloud.world.buckets[DEMO_BUCKET].objects.values()
    stored.content = asked.to_json().encode()
    stage.age_lease(timedelta(seconds=LEASE_DEAD))
    assert (await stage.sweep()).exit_code == 0
    assert stage.universe.machine() is None
    assert stage.lease.outcomes == ()


# --- an address for the time of a run ----------------------------------------------------------------------------


@staged
async def test_an_address_is_reserved_marked_and_given_back(stage: Stage) -> None:
    receipt = await stage.drive(RELEASED)
    assert (receipt.exit_code, receipt.cleanup) == (0, "confirmed")
    changes = stage.changes()
    assert changes[1] == "addresses.insert"
    assert changes[-1] == "addresses.delete"
    [reserved] = [entry["body"] for entry in stage._entries() if entry["verb"] == "addresses.insert"]
    assert reserved == {"name": "for-a-run", "description": RESERVED_FOR_A_RUN}
    assert stage.address_names() == ["gpu-ip"]
    said = {event.name: event.sentence for event in stage.told if hasattr(event, "sentence")}
    assert said["reserve"] == "Reserving the address for-a-run"
    assert said["give-back"].startswith("Giving the address for-a-run (127.")


@staged
async def test_a_sweep_gives_back_what_a_run_reserved_that_never_came_to_its_vm(stage: Stage) -> None:
    await left_at(stage, "attach", RELEASED)
    stage.write_lease(None)
    [held] = [one for one in (await stage.sweep()).findings if one.kind == "address"]
    assert (held.standing, held.owed, held.acted) == (Standing.HELD, False, False)
    await stage.pass_seconds((stage.policy.climb + stage.policy.request).total_seconds())
    planned = await stage.sweep(dry_run=True)
    assert [(one.name, one.moves, one.owed) for one in planned.findings if one.kind == "address"] == [
        ("for-a-run", ("give-back",), True)
    ]
    assert "for-a-run" in stage.address_names()
    [given] = [one for one in (await stage.sweep()).findings if one.kind == "address"]
    assert (given.owed, given.acted) == (False, True)
    assert given.why.endswith("It was given back.")
    assert stage.address_names() == ["gpu-ip"]


@staged
async def test_an_address_that_cannot_be_given_back_is_owed_with_the_reason(stage: Stage) -> None:
    await left_at(stage, "attach", RELEASED)
    stage.write_lease(None)
    await stage.pass_seconds((stage.policy.climb + stage.policy.request).total_seconds())
    stage.fault(on="addresses.delete", times=None, reply={"status": 403, "reason": "forbidden", "message": "No."})
    receipt = await stage.sweep()
    [kept] = [one for one in receipt.findings if one.kind == "address"]
    assert (kept.owed, kept.acted, receipt.exit_code) == (True, True, 7)
    assert "No." in kept.why
