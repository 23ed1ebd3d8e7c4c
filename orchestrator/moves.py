"""The moves: the only code that changes anything in the cloud. What each does is one screen; when, is `ladder`."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import Any

from orchestrator.boot import until_ready
from orchestrator.claiming import claim
from orchestrator.collect import collect
from orchestrator.errors import AgentRefused, BadResource, Busy, LeaseLost, NoMachine
from orchestrator.follow import follow
from orchestrator.ladder import Move, ours_to_stop
from orchestrator.lease import Lease, Phase, Remembered
from orchestrator.look import agent_ip
from orchestrator.ports import Addresses, Creation
from orchestrator.run import Outcome, Run, Verdict
from orchestrator.seen import Address, Seen
from orchestrator.spans import written
from orchestrator.together import together
from orchestrator.trip import Trip
from vm_agent.protocol import StartRequest

# Outcomes that another try of the same key would only repeat: it is answered from memory instead.
_FINAL = {Outcome.SUCCEEDED, Outcome.FAILED, Outcome.CANCELLED, Outcome.INTERRUPTED, Outcome.TIMED_OUT}


async def climb(move: Move, seen: Seen, trip: Trip) -> Seen | None:
    """Make one move up. What it saw on the way, if that is news enough to decide on; else None: look again."""
    name, sentence, act = _UP[move]
    with trip.phase(name, sentence.format(run=trip.run, address=seen.address, limit=written(trip.run.max_run))):
        return await act(seen, trip)


async def descend(move: Move, seen: Seen, trip: Trip, verdict: Verdict) -> None:
    """Make one move down; `verdict` is why."""
    name, sentence, act = _DOWN[move]
    with trip.phase(name, sentence.format(run=trip.run, address=seen.address, limit=written(trip.run.max_run))):
        await act(seen, trip, verdict)


async def _arm(seen: Seen, trip: Trip) -> None:
    await trip.world.machines.arm(seen.machine, trip.run.max_run)


async def _reserve(seen: Seen, trip: Trip) -> None:
    assert seen.address is not None  # noqa: S101 - as below
    await trip.world.addresses.reserve(seen.address.name)


async def _attach(seen: Seen, trip: Trip) -> None:
    assert seen.address is not None  # noqa: S101 - the rung holds where no address is asked for
    await trip.world.addresses.attach(seen.machine, seen.address)


async def _start(seen: Seen, trip: Trip) -> None:
    await _begin(trip.world.machines.start(seen.machine, partial(_still_ours, seen, trip)), seen, trip)


async def _create(seen: Seen, trip: Trip) -> None:
    again = partial(_still_ours, seen, trip)
    await _begin(_creation(trip).create(seen.machine, seen.address, trip.run.max_run, again), seen, trip)


async def _begin(starting: Awaitable[None], seen: Seen, trip: Trip) -> None:
    trip.before_start, trip.start_unsettled, trip.left_on = seen.machine, True, True
    try:
        await starting
    except NoMachine:
        trip.start_unsettled = False  # a clear no; after anything else it may land yet
        raise
    finally:
        trip.lands_by = trip.world.clock.monotonic() + trip.world.policy.request.total_seconds()
    trip.start_unsettled = False


async def _still_ours(seen: Seen, trip: Trip) -> None:
    """Each try of a start or stop needs a look of its own: L is the life of one request, and no longer."""
    machine = await trip.keeper.look()
    lease, same = machine.lease, seen.machine.gone or machine.id == seen.machine.id
    if not same or lease is None or lease.nonce != trip.run.nonce:
        raise LeaseLost(f"Somebody else took the lease on {machine.name}; it was left to them.")


async def _take_off(seen: Seen, trip: Trip) -> None:
    """Stop it, or delete it if it was made for a run: not what only has its name."""
    again = partial(_still_ours, seen, trip)
    if trip.run.ephemeral and seen.machine.made_for_one_run:
        await _creation(trip).delete(seen.machine, again)
    elif not trip.run.ephemeral:
        await trip.world.machines.stop(seen.machine, again)


def _creation(trip: Trip) -> Creation:
    assert trip.world.creation is not None  # noqa: S101 - where VMs are made for their run, there is one
    return trip.world.creation


async def _await(_seen: Seen, trip: Trip) -> None:
    await trip.world.clock.sleep(trip.world.policy.off_poll)


async def _greet(seen: Seen, trip: Trip) -> None:
    """The mark is written while the VM boots: nobody waits for it, and no agent is asked without it."""
    await together(trip.keeper.amend(lambda lease, now: _invoking(lease, now, trip)), until_ready(seen, trip))


def _invoking(lease: Lease, now: datetime, trip: Trip) -> Lease:
    policy = trip.world.policy
    deadline, expires_at = now + policy.boot + trip.run.timeout + policy.grace, now + policy.lease_ttl
    return replace(lease, phase=Phase.INVOKING, asked=True, run_deadline=deadline, expires_at=expires_at)


async def _invoke(seen: Seen, trip: Trip) -> Seen:
    run = trip.run
    timeout_seconds = run.timeout.total_seconds()
    order = StartRequest(
        job=run.job,
        params=run.params,
        timeout_seconds=timeout_seconds,
        attempt=_next_attempt(seen, run),
        egress_ip=seen.address.ip if seen.address else None,
    )
    trip.log_offset = 0
    agent = trip.world.agent(agent_ip(run, seen))
    trip.invoked = True
    try:
        return replace(seen, run=await agent.start(run.key, seen.epoch, run.mode, order))
    except (AgentRefused, Busy):
        trip.invoked = False  # a clear no; anything else may have been a yes that we did not hear
        raise


def _next_attempt(seen: Seen, run: Run) -> int:
    """After the last that the ledger knows, or that is remembered: the disk with the ledger may be a new one."""
    known = seen.machine.lease.recall(run.key, run.mode) if seen.machine.lease else None
    return max(seen.run.attempt if seen.run else 0, known.attempts if known else 0) + 1


async def _follow(seen: Seen, trip: Trip) -> Seen | None:
    view = await follow(seen, trip)
    return replace(seen, run=view) if view is not None else None


async def _settle(seen: Seen, trip: Trip, _verdict: Verdict) -> None:
    """What is on its way may be a start: a stop goes after it at once, and again, until it has landed."""
    assert trip.in_flight is not None  # noqa: S101 - else there is nothing to settle
    if ours_to_stop(seen, trip.run) and not seen.machine.going_off:
        await _take_off(seen, trip)
    await asyncio.wait({trip.in_flight}, timeout=trip.world.policy.off_poll.total_seconds())


async def _collect(seen: Seen, trip: Trip, _verdict: Verdict) -> None:
    await collect(seen, trip)


async def _stop(seen: Seen, trip: Trip, verdict: Verdict) -> None:
    """The stop goes out together with the mark: whoever finds one knows of the other. Neither waits for its twin."""
    clock, poll = trip.world.clock, trip.world.policy.off_poll
    not_there = trip.run.ephemeral and not seen.machine.made_for_one_run
    if not_there:  # nothing to delete, but what was asked for may still land
        trip.start_unsettled = clock.monotonic() < trip.lands_by
    if seen.machine.going_off or not_there:
        return await clock.sleep(poll)
    mark = asyncio.ensure_future(trip.keeper.amend(lambda lease, now: _stopping(lease, now, trip, verdict)))
    if seen.machine.lease is not None and not seen.machine.lease.held(seen.machine.seen_at):
        await mark  # it ran out under us (a pause, a lost network): whoever looks now may take it, so that comes first
        return None
    if trip.run.ephemeral and not trip.called_off.is_set():  # what knew the end goes with the VM: a moment's start
        await asyncio.wait({mark}, timeout=trip.world.policy.mark_ahead.total_seconds())
    stopped, marked = await asyncio.gather(_take_off(seen, trip), mark, return_exceptions=True)
    if stopped is None:
        trip.start_unsettled = False  # Google does one after the other
    for ended in (stopped, marked):
        if isinstance(ended, BaseException):
            raise ended
    return None


def _stopping(lease: Lease, now: datetime, trip: Trip, verdict: Verdict) -> Lease:
    marked = replace(lease, phase=Phase.STOPPING, expires_at=now + trip.world.policy.lease_ttl)
    return _remembering(marked, now, trip, verdict)


def _remembering(lease: Lease, now: datetime, trip: Trip, verdict: Verdict) -> Lease:
    policy = trip.world.policy
    run, outcome, told_before = trip.run, verdict.outcome, verdict.attempts is not None
    if told_before:
        return lease
    if outcome not in _FINAL or not verdict.settled:
        if not (run.ephemeral and trip.may_have_begun):
            return lease
        outcome = Outcome.INTERRUPTED  # with its VM goes the ledger: nobody will ever learn more
    result = _if_small(verdict.result, policy.remembered_result_bytes)
    ended = Remembered(run.key, outcome, int(outcome.exit), now, result, run.mode, run.meaning, trip.attempt)
    return replace(lease.remembering(ended, policy.remembered_outcomes), asked=False)


def _if_small(result: Any, most: int) -> Any:
    return result if len(json.dumps(result).encode()) <= most else None


async def _detach(seen: Seen, trip: Trip, _verdict: Verdict) -> None:
    await trip.world.addresses.detach(seen.machine)


async def _give_back(seen: Seen, trip: Trip, _verdict: Verdict) -> None:
    assert seen.address is not None  # noqa: S101 - else there is nothing to release
    await give_back(seen.address, trip.world.addresses)


async def give_back(address: Address, addresses: Addresses) -> None:
    """Release what was reserved for a run, and nothing else."""
    if not address.reserved_for_a_run:
        raise BadResource(f"The address {address.name} was not reserved for a run: it is not ours to release.")
    await addresses.release(address)


async def _release(_seen: Seen, trip: Trip, verdict: Verdict) -> None:
    """A VM that needed no stop was not marked: what is to be remembered is written here, at the latest."""
    await trip.keeper.release(lambda lease, now: _remembering(lease, now, trip, verdict))


_UP: dict[Move, tuple[str, str, Callable[[Seen, Trip], Awaitable[Seen | None]]]] = {
    Move.CLAIM_LEASE: ("lease", "Taking the lease on {run.instance}", claim),
    Move.ARM_DEADLINE: ("deadline", "Arming Google's own limit: off after {limit} at most", _arm),
    Move.RESERVE_ADDRESS: ("reserve", "Reserving the address {address.name}", _reserve),
    Move.ATTACH_ADDRESS: ("attach", "Attaching {address.name} ({address.ip})", _attach),
    Move.START_MACHINE: ("start", "Starting {run.instance} in {run.zone}", _start),
    Move.CREATE_MACHINE: ("create", "Making {run.instance} in {run.zone}, with a limit of {limit}", _create),
    Move.STOP_MACHINE: ("restop", "Stopping {run.instance}: it runs without a limit", _take_off),
    Move.DELETE_MACHINE: ("redelete", "Deleting {run.instance}: it is left from an earlier run or attempt", _take_off),
    Move.AWAIT_MACHINE: ("wait", "Waiting for what {run.instance} is doing to end", _await),
    Move.GREET_AGENT: ("boot", "Waiting for the agent on {run.instance}", _greet),
    Move.INVOKE: ("invoke", "Asking for the {run.mode}", _invoke),
    Move.FOLLOW: ("job", "Running the job", _follow),
}

_DOWN: dict[Move, tuple[str, str, Callable[[Seen, Trip, Verdict], Awaitable[None]]]] = {
    Move.SETTLE: ("settle", "Letting a request land that is on its way", _settle),
    Move.COLLECT_OUTPUT: ("collect", "Copying artifacts and log to {run.out}", _collect),
    Move.STOP_MACHINE: ("stop", "Stopping {run.instance}", _stop),
    Move.DELETE_MACHINE: ("delete", "Deleting {run.instance}", _stop),
    Move.DETACH_ADDRESS: ("detach", "Taking {address.name} off {run.instance}", _detach),
    Move.RELEASE_ADDRESS: ("give-back", "Giving the address {address.name} ({address.ip}) back", _give_back),
    Move.RELEASE_LEASE: ("release", "Giving the lease back", _release),
}
