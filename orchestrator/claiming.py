"""Claiming: writing the first lease of ours, and standing in line for it."""

from datetime import timedelta

from orchestrator.claims import as_found, is_same_run, refusal
from orchestrator.errors import MayflyError, Taken
from orchestrator.events import Note
from orchestrator.goal import attempts_lost, lost_with_its_vm
from orchestrator.lease import Lease, Phase, Remembered, Window, next_epoch
from orchestrator.run import Outcome, Run
from orchestrator.seen import Machine, Seen
from orchestrator.trip import Trip


async def claim(seen: Seen, trip: Trip) -> None:
    """Take the lease, or wait for it where that is asked for. Raises what stands in the way."""
    run, policy = trip.run, trip.world.policy
    if (reason := refusal(seen, run, policy)) is not None:
        await _stand_in_line(reason, trip)
        return
    before, now = seen.machine.lease, seen.machine.seen_at
    asked = before is not None and is_same_run(before, run) and (before.asked or before.phase is Phase.INVOKING)
    outcomes = before.outcomes if before else ()
    if before is not None and lost_with_its_vm(seen, run) and attempts_lost(before, run) < run.attempts_most:
        asked, outcomes = False, _one_more_lost(before, seen, trip).outcomes
    lease = Lease(
        epoch=next_epoch(before, now),
        nonce=run.nonce,
        key=run.key,
        mode=run.mode,
        meaning=run.meaning,
        holder=run.holder,
        phase=Phase.STOPPING if _stop_is_owed(seen.machine, run) else Phase.CLAIMED,
        asked=asked,
        execution=run.execution,
        task=run.task,
        task_attempt=run.task_attempt,
        address=run.address,
        address_policy=run.address_policy,
        expires_at=now + policy.lease_ttl,
        found=as_found(seen.machine, run, policy),
        outcomes=outcomes,
        windows=before.windows if before else (),
    )
    if run.windowed and run.execution:
        lease = lease.with_window(Window(run.execution, run.task, run.key), policy.remembered_outcomes)
    trip.touched = True
    trip.takes_over(lease)
    await trip.keeper.claim(seen.machine, lease)


def _one_more_lost(before: Lease, seen: Seen, trip: Trip) -> Lease:
    """Its VM is gone, and all that ran on it: the next attempt may begin, and is the next."""
    run, now = trip.run, seen.machine.seen_at
    trip.view, trip.invoked = None, False
    outcome = Outcome.INTERRUPTED
    attempts = attempts_lost(before, run)
    lost = Remembered(run.key, outcome, int(outcome.exit), now, None, run.mode, run.meaning, attempts)
    return before.remembering(lost, trip.world.policy.remembered_outcomes)


async def _stand_in_line(reason: MayflyError, trip: Trip) -> None:
    """Behind another run for as long as the user said; behind the same run until it has ended or is seen dead."""
    clock, run = trip.world.clock, trip.run
    waited = timedelta(seconds=clock.monotonic() - trip.began)
    if not isinstance(reason, Taken) or trip.held or not (reason.same_run or waited < run.wait_for_lease):
        raise reason
    if str(reason) != trip.waits_for:
        trip.waits_for = str(reason)
        trip.tell(Note("INFO", f"{reason} Waiting for it."))
    trip.conflicts = 0  # to lose against the others in line is no sign that something is wrong
    pause = trip.world.policy.lease_poll
    await clock.sleep(pause if reason.same_run else min(pause, run.wait_for_lease - waited))


def _stop_is_owed(machine: Machine, run: Run) -> bool:
    """Somebody sent a stop, or meant to, and died over it: nothing is started before the VM was seen off."""
    lease, down = machine.lease, machine.down(ephemeral=run.ephemeral)
    return lease is not None and lease.phase is Phase.STOPPING and not down and not lease.found.running
