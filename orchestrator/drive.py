"""Drive: look, think, act; up the ladder until the run has finished, down it until nothing is left on."""

import asyncio

from orchestrator.account import receipt_of, verdict_on
from orchestrator.claims import misused_key
from orchestrator.collect import refuse_unwritable
from orchestrator.errors import AgentSilent, BadResource, BadUsage, Conflict, MayflyError
from orchestrator.events import Ended, Note
from orchestrator.goal import Down, goal_of, verdict_of
from orchestrator.ladder import Move, next_move
from orchestrator.look import look_down, look_up, still_running
from orchestrator.moves import climb, descend
from orchestrator.ports import World
from orchestrator.run import Outcome, Receipt, Run, Verdict
from orchestrator.seen import Seen
from orchestrator.spans import written
from orchestrator.trip import Trip


async def drive(run: Run, world: World, called_off: asyncio.Event) -> Receipt:
    """One run, from the lease to the lease given back.

    Setting `called_off` (SIGTERM, Ctrl-C) turns the trip round wherever it is. Raises BadUsage; every other ending is
    a receipt.
    """
    _refuse_what_would_fail_later(run)
    trip = Trip(run, world, called_off)
    renewing = asyncio.create_task(trip.keeper.renew_for_ever())
    try:
        verdict = await _up_until_turned_round(trip)
        clean = not trip.touched or await come_down(trip, verdict)
    finally:
        renewing.cancel()
    receipt = receipt_of(trip, verdict, clean=clean)
    trip.tell(Ended(receipt))
    return receipt


def _refuse_what_would_fail_later(run: Run) -> None:
    if run.out is not None:
        refuse_unwritable(run.out)


async def _up_until_turned_round(trip: Trip) -> Verdict:
    going_up = asyncio.create_task(_go_up(trip))
    signal, loss = asyncio.create_task(trip.called_off.wait()), asyncio.create_task(trip.keeper.lost.wait())
    try:
        await asyncio.wait({going_up, signal, loss}, return_when=asyncio.FIRST_COMPLETED)
        if going_up.done():
            return going_up.result()
        going_up.cancel()
        await asyncio.wait({going_up}, timeout=trip.world.policy.settle_after_sigterm.total_seconds())
        trip.in_flight = going_up
        return verdict_of(trip.view) or _turned_round(trip)
    finally:
        signal.cancel()
        loss.cancel()


def _turned_round(trip: Trip) -> Verdict:
    if not trip.keeper.lost.is_set():
        return Verdict(Outcome.TERMINATED, "Called off by a signal.")
    outcome = Outcome.INTERRUPTED if trip.invoked or trip.unread else Outcome.BUSY
    return Verdict(outcome, f"Somebody else took the lease on {trip.run.instance}; it was left to them.")


async def _go_up(trip: Trip) -> Verdict:
    """The verdict of the run, or of what stood in its way."""
    try:
        return await _climb_until_finished(trip)
    except Exception as error:  # a bug of ours must not leave a VM on either
        if not trip.touched and not isinstance(error, MayflyError):
            raise
        if not trip.held and isinstance(error, BadUsage):
            raise
        return verdict_on(error, trip)


async def _climb_until_finished(trip: Trip) -> Verdict:
    clock, climb_within = trip.world.clock, trip.world.policy.climb
    began, seen = clock.monotonic(), None
    while True:
        seen = trip.saw(seen or await look_up(trip))
        if not trip.held:
            trip.settle_key(seen.machine.lease)
            if (misused := misused_key(seen.machine.lease, trip.run)) is not None:
                raise misused
        goal = goal_of(seen, trip.run)
        if isinstance(goal, Down):
            return goal.verdict
        move = next_move(seen, goal)
        if move is not Move.FOLLOW and clock.monotonic() - began > climb_within.total_seconds():
            raise BadResource(
                f"{trip.run.instance} did not get to work within {written(climb_within)}; the last try was: {move}."
            )
        seen = await _climb_or_look_again(move, seen, trip)
        if move is Move.FOLLOW or not trip.held:  # at work, or in line: neither is climbing
            began = clock.monotonic()


async def _climb_or_look_again(move: Move | None, seen: Seen, trip: Trip) -> Seen | None:
    assert move is not None  # noqa: S101 - going up, there is always a next move
    try:
        return await climb(move, seen, trip)
    except Conflict:
        trip.conflicts += 1
        if trip.conflicts > trip.world.policy.lease_conflicts:
            raise
        return None
    except AgentSilent:
        if await still_running(seen, trip):
            raise
        return None  # the VM went off before it could answer: the next look tells what that means


async def come_down(trip: Trip, verdict: Verdict) -> bool:
    """Whether everything was seen undone, within `policy.down`, or `policy.after_sigterm` once a signal has come."""
    policy = trip.world.policy
    going_down = asyncio.create_task(_go_down(trip, verdict))
    signal = asyncio.create_task(trip.called_off.wait())
    await asyncio.wait({going_down, signal}, timeout=policy.down.total_seconds(), return_when=asyncio.FIRST_COMPLETED)
    if not going_down.done() and trip.called_off.is_set():
        await asyncio.wait({going_down}, timeout=policy.after_sigterm.total_seconds())
    signal.cancel()
    if going_down.done():
        going_down.result()  # a bug in us must not look like a clean ending
        return not trip.left_on
    going_down.cancel()
    return False


async def _go_down(trip: Trip, verdict: Verdict) -> None:
    """Ends when nothing is left to undo. Knows no defeat: whatever fails is tried again until our caller gives up."""
    collect = trip.run.out is not None and verdict_of(trip.view) is not None
    while True:
        try:
            seen = await look_down(trip)
            if seen is None:
                return
            collect = collect and not trip.called_off.is_set()  # after a signal there is time for the stop alone
            move = next_move(seen, Down(trip.run, verdict, collect=collect))
            if move is None:
                return
            collect = collect and move is not Move.COLLECT_OUTPUT  # tried once: its failure must not keep the VM on
            await descend(move, seen, trip, verdict)
            trip.in_the_way = ""
        except Exception as error:  # noqa: BLE001 - a bug of ours must not keep a VM on either
            trip.in_the_way = str(error) or repr(error)
            trip.tell(Note("WARNING", f"Coming down: {trip.in_the_way} Trying again."))
            await trip.world.clock.sleep(trip.world.policy.off_poll)
