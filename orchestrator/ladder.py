"""The ladder: one table is both the life of a run and its clean-up.

    Up: the first rung that does not hold.  Down: the last one that still does.

A rung is judged by facts alone, so a crash, a retry and a sweep are all the same loop begun again.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from orchestrator.goal import Down, Goal, lost_with_its_vm, to_be_rerun
from orchestrator.lease import AddressPolicy, Phase
from orchestrator.run import Run
from orchestrator.seen import Seen


class Move(StrEnum):
    """What the loop can do next."""

    SETTLE = "settle"  # a request is on its way: let it land before anything is decided
    CLAIM_LEASE = "claim-lease"
    ARM_DEADLINE = "arm-deadline"
    RESERVE_ADDRESS = "reserve-address"
    ATTACH_ADDRESS = "attach-address"
    START_MACHINE = "start-machine"
    CREATE_MACHINE = "create-machine"
    AWAIT_MACHINE = "await-machine"  # it is on its way up or down by itself: look again in a moment
    GREET_AGENT = "greet-agent"
    INVOKE = "invoke"
    FOLLOW = "follow"
    COLLECT_OUTPUT = "collect-output"
    STOP_MACHINE = "stop-machine"
    DELETE_MACHINE = "delete-machine"
    DETACH_ADDRESS = "detach-address"
    RELEASE_ADDRESS = "release-address"
    RELEASE_LEASE = "release-lease"


@dataclass(frozen=True)
class Rung:
    """One rung: when it holds, the way onto it, what is left of it to undo, and the way off."""

    name: str
    holds: Callable[[Seen, Run], bool]
    up: Callable[[Seen, Run], Move]
    remains: Callable[[Seen, Down], bool] = lambda _seen, _goal: False
    down: Move | None = None


def next_move(seen: Seen, goal: Goal) -> Move | None:
    """What to do now, or None when there is nothing left to undo."""
    if isinstance(goal, Down):
        if seen.in_flight:
            return Move.SETTLE
        return next((rung.down for rung in reversed(_rungs(goal.run)) if rung.remains(seen, goal)), None)
    return next((rung.up(seen, goal.run) for rung in _rungs(goal.run) if not rung.holds(seen, goal.run)), Move.FOLLOW)


def lease_is_ours(seen: Seen, run: Run) -> bool:
    """The VM's metadata shows our nonce. Expired or not: nobody has taken it from us."""
    lease = seen.machine.lease
    return lease is not None and lease.nonce == run.nonce


def _lease_holds(seen: Seen, run: Run) -> bool:
    """Ours, unexpired, and without a stop in it that another began and that is still to be finished."""
    machine, lease = seen.machine, seen.machine.lease
    return (
        lease is not None
        and lease.nonce == run.nonce
        and lease.held(machine.seen_at)
        and lease.phase is not Phase.STOPPING
        and not (machine.gone and lost_with_its_vm(seen, run))  # it is claimed for the next attempt
    )


def _claim_once_stopped(seen: Seen, run: Run) -> Move:
    lease, down = seen.machine.lease, seen.machine.down(ephemeral=run.ephemeral)
    if lease is None or lease.nonce != run.nonce or lease.phase is not Phase.STOPPING or down:
        return Move.CLAIM_LEASE
    if seen.machine.going_off:
        return Move.AWAIT_MACHINE
    return Move.DELETE_MACHINE if run.ephemeral else Move.STOP_MACHINE


def _deadline_is_armed(seen: Seen, run: Run) -> bool:
    used_as_found = found_running(seen) and not seen.machine.stopped
    return used_as_found or _is_limited(seen, run, "STOP")


def _is_limited(seen: Seen, run: Run, action: str) -> bool:
    machine, limit, lease = seen.machine, seen.machine.max_run, seen.machine.lease
    at_work = lease is not None and lease.asked and machine.running  # under a limit that may not be today's
    return (
        limit is not None
        and (at_work or run.max_run <= limit <= 2 * run.max_run)
        and machine.termination_action == action
        and not machine.automatic_restart
    )


def _address_is_attached(seen: Seen, _run: Run) -> bool:
    config = seen.machine.access_config
    return seen.address is None or (config is not None and config.ip == seen.address.ip)


def _address_is_given(seen: Seen, run: Run) -> bool:
    """As above; a VM that is made for this run comes with it."""
    return not seen.machine.made_for_one_run or _address_is_attached(seen, run)


def _agent_is_ready(seen: Seen, _run: Run) -> bool:
    greeting, lease = seen.greeting, seen.machine.lease
    marked = lease is not None and lease.phase is Phase.INVOKING
    return marked and greeting is not None and greeting.status == "ok" and greeting.instance_id == seen.machine.id


def _arm_once_off(seen: Seen, _run: Run) -> Move:
    # Compute Engine takes a deadline only while the VM is off, and no VM may run without one.
    if seen.machine.going_off:
        return Move.AWAIT_MACHINE
    return Move.ARM_DEADLINE if seen.machine.stopped else Move.STOP_MACHINE


def _start_once_off(seen: Seen, _run: Run) -> Move:
    return Move.START_MACHINE if seen.machine.stopped else Move.AWAIT_MACHINE


def _is_made_with_its_limit(seen: Seen, run: Run) -> bool:
    """What is there is what we would make. What is not there yet comes with its limit."""
    machine = seen.machine
    if not machine.made_for_one_run:
        return True
    ended = machine.stopped or machine.going_off
    return not ended and machine.made_for(run.key) and _is_limited(seen, run, "DELETE")


def _make_way(seen: Seen, _run: Run) -> Move:
    return Move.AWAIT_MACHINE if seen.machine.going_off else Move.DELETE_MACHINE


def _is_made_and_running(seen: Seen, run: Run) -> bool:
    return seen.machine.running and seen.machine.made_for(run.key)


def _create_once_gone(seen: Seen, _run: Run) -> Move:
    return Move.AWAIT_MACHINE if seen.machine.made_for_one_run else Move.CREATE_MACHINE


def _run_is_known(seen: Seen, run: Run) -> bool:
    return seen.run is not None and not to_be_rerun(seen.run, run)


def found_running(seen: Seen) -> bool:
    """Somebody had it on before us: it is theirs to stop."""
    return seen.machine.lease is not None and seen.machine.lease.found.running


def _output_is_wanted(seen: Seen, goal: Down) -> bool:
    return goal.collect and seen.run is not None and seen.machine.running


def ours_to_stop(seen: Seen, run: Run) -> bool:
    """It is on, or may yet come on, and nobody but us will stop it. What was made for one run, until it is deleted."""
    may_be_on = not seen.machine.down(ephemeral=run.ephemeral) or seen.start_unsettled
    return lease_is_ours(seen, run) and may_be_on and not found_running(seen)


def _address_is_still_ours(seen: Seen, goal: Down) -> bool:
    if goal.run.address_policy is AddressPolicy.KEEP or not lease_is_ours(seen, goal.run) or seen.address is None:
        return False
    found = seen.machine.lease.found if seen.machine.lease else None
    was_there = found is not None and found.running and found.ip == seen.address.ip
    return _address_is_attached(seen, goal.run) and not was_there


def _is_to_be_released(seen: Seen, goal: Down) -> bool:
    ours = seen.address is not None and seen.address.reserved_for_a_run and lease_is_ours(seen, goal.run)
    return ours and goal.run.address_policy is AddressPolicy.RELEASE


_LEASE = Rung(
    "lease",
    _lease_holds,
    _claim_once_stopped,
    lambda seen, goal: lease_is_ours(seen, goal.run),
    Move.RELEASE_LEASE,
)
_RESERVATION = Rung(
    "reservation",
    lambda seen, _: seen.address is None or seen.address.reserved,
    lambda *_: Move.RESERVE_ADDRESS,
    _is_to_be_released,
    Move.RELEASE_ADDRESS,
)
_AGENT = Rung("agent", _agent_is_ready, lambda *_: Move.GREET_AGENT)
_RUN = Rung("run", _run_is_known, lambda *_: Move.INVOKE, _output_is_wanted, Move.COLLECT_OUTPUT)


def _machine_remains(seen: Seen, goal: Down) -> bool:
    return ours_to_stop(seen, goal.run)


RUNGS = (
    _LEASE,
    Rung("deadline", _deadline_is_armed, _arm_once_off),
    _RESERVATION,
    Rung("address", _address_is_attached, lambda *_: Move.ATTACH_ADDRESS, _address_is_still_ours, Move.DETACH_ADDRESS),
    Rung("machine", lambda seen, _: seen.machine.running, _start_once_off, _machine_remains, Move.STOP_MACHINE),
    _AGENT,
    _RUN,
)

# Of a VM that is made for its run: limit and address come with it, and the address goes with it.
RUNGS_OF_EPHEMERAL = (
    _LEASE,
    Rung("deadline", _is_made_with_its_limit, _make_way),
    _RESERVATION,
    Rung("address", _address_is_given, lambda *_: Move.ATTACH_ADDRESS),
    Rung("machine", _is_made_and_running, _create_once_gone, _machine_remains, Move.DELETE_MACHINE),
    _AGENT,
    _RUN,
)


def _rungs(run: Run) -> tuple[Rung, ...]:
    return RUNGS_OF_EPHEMERAL if run.ephemeral else RUNGS
