"""Abandoned: what a VM of ours is to a sweep, by what the cloud and the VM's own agent show.

    not our label -> no lease -> a lease that holds (+ L) -> off -> on by hand -> a live run -> abandoned

The first that fits says what it is. Only what is abandoned may be touched, and only under a claim on its lease.
"""

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from orchestrator.claims import left_by_a_run
from orchestrator.lease import AddressPolicy, Lease, Phase, next_epoch
from orchestrator.policy import Policy
from orchestrator.run import Run
from orchestrator.seen import STATE_ATTRIBUTE, Address, Listed, Machine
from orchestrator.swept import Finding, Standing, SweepOrder
from vm_agent.protocol import HOLD_ATTRIBUTE, Greeting, Mode

_SUSPENDED = {"SUSPENDED", "SUSPENDING"}
_LONGEST_HOLD = timedelta(hours=24)  # as for the dead-man


@dataclass(frozen=True)
class Judgement:
    """What a VM is, and why, in a sentence."""

    standing: Standing
    why: str


def at_first_sight(machine: Machine, policy: Policy) -> Judgement:
    """By a list alone. What a VM that was made for one run shows is a copy of its lease, which nobody renews."""
    if (state := machine.metadata.get(STATE_ATTRIBUTE)) is not None:
        return Judgement(Standing.HELD, f"Its lease is kept in {state}, where nobody has looked yet.")
    return judge(machine, policy)


def judge(machine: Machine, policy: Policy) -> Judgement:
    """What this VM is, by the cloud alone. One that is RUNNING and abandoned may still have a `live_run` on it."""
    lease, now = machine.lease, machine.seen_at
    if not machine.labelled_ours:
        return Judgement(Standing.NOT_OURS, "It does not carry our label any more.")
    if lease is None or lease.phase is Phase.FREE:
        return _without_lease(machine)
    if lease.expires_at is not None and now < lease.expires_at + policy.request:
        return Judgement(Standing.HELD, f"{_owner(lease)} holds its lease until {_clock(lease.expires_at)}.")
    if machine.off:
        return Judgement(Standing.ABANDONED, f"It is off, but {_owner(lease)} never gave its lease back.")
    return _left_on(machine, lease, policy)


def live_run(machine: Machine, greeting: Greeting | None, policy: Policy) -> Judgement | None:
    """The run that is at work on an abandoned VM, or may be. `greeting`: what answered at the VM's address, if any."""
    lease, now = machine.lease, machine.seen_at
    run_deadline = lease.run_deadline if lease is not None else None
    if greeting is None or greeting.instance_id != machine.id:  # an IP can answer from another VM: it has happened
        invoking = lease is not None and lease.phase is Phase.INVOKING
        if invoking and run_deadline is not None and now < run_deadline:
            return Judgement(
                Standing.LIVE, f"Its agent is silent, so its run may be live until {_clock(run_deadline)}."
            )
        return None
    run = greeting.run
    if run is None or run.state.finished:
        return None
    allowed = run_deadline is not None and now < run_deadline
    if not allowed and run.deadline is not None and now >= run.deadline + policy.grace:
        return None  # the agent should have ended it long ago
    until = f" until {_clock(run.deadline)} at the latest" if run.deadline is not None else ""
    return Judgement(Standing.LIVE, f"Run {run.key} is at work on it{until}.")


def claimed(lease: Lease, order: SweepOrder, now: datetime, policy: Policy) -> Lease:
    """The same lease in our hands: what is owed stays written in it, for whoever comes after us.

    It is no execution's any more: the next attempt of that one may take over from its dead predecessor, not from us.
    """
    return replace(
        lease,
        epoch=next_epoch(lease, now),
        nonce=order.nonce,
        holder=order.holder,
        execution="",
        task=0,
        phase=Phase.STOPPING,
        expires_at=now + policy.lease_ttl,
    )


def yielded(claim: Lease, before: Lease) -> Lease:
    """The lease as it was before our claim, its holder's again; the epoch stays, for it only ever grows."""
    return replace(before, epoch=claim.epoch)


def errand(order: SweepOrder, zone: str, machine: Machine) -> Run:
    """The abandoned run, as far as its lease tells: enough to come down for it."""
    lease = machine.lease or Lease(epoch=0)
    return Run(
        key=lease.key,
        mode=Mode(lease.mode),
        meaning=lease.meaning,
        job=None,
        params={},
        timeout=timedelta(),
        max_run=timedelta(),
        holder=order.holder,
        nonce=order.nonce,
        project=order.project,
        region=zone.rpartition("-")[0],
        zone=zone,
        instance=machine.name,
        ephemeral=machine.made_for_one_run,
        address=lease.address,
        address_policy=lease.address_policy,
        reach=order.reach,
        agent_port=order.agent_port,
    )


def planned(machine: Machine) -> tuple[str, ...]:
    """What a sweep would do about an abandoned VM, in order."""
    lease = machine.lease or Lease(epoch=0)
    stays_on = lease.found.running and not machine.off
    kept = lease.address_policy is AddressPolicy.KEEP or machine.made_for_one_run  # it goes with the VM
    detach = lease.address is not None and not kept
    moves = [
        ("claim", True),
        ("delete", machine.made_for_one_run),
        ("stop", not (machine.off or stays_on or machine.made_for_one_run)),
        ("detach", detach and machine.access_config is not None),
        ("give-back", lease.address is not None and lease.address_policy is AddressPolicy.RELEASE),
        ("release", True),
    ]
    return tuple(move for move, needed in moves if needed)


def unused(listed: Listed[Address], now: datetime, policy: Policy) -> Finding | None:
    """A reserved address of ours that nothing uses.

    One that was reserved for us is told, never deleted: somebody's allow-list may name it. One that a run of ours
    reserved is ours to give back, once no run can be on its way to attach it any more.
    """
    address = listed.thing
    if address.users:
        return None
    if address.reserved_for_a_run:
        return _left_reserved(listed, now, policy)
    why = (
        f"{address.ip} is reserved and on no VM, which costs more than on a stopped one. Release it if nobody needs it."
    )
    return Finding("address", address.name, listed.place, Standing.UNUSED, why, status="RESERVED")


def _left_reserved(listed: Listed[Address], now: datetime, policy: Policy) -> Finding:
    address, where = listed.thing, listed.place
    on_its_way = address.created is None or now < address.created + policy.climb + policy.request
    why = f"{address.ip} was reserved for one run"
    if on_its_way:
        words = f"{why}, which may be on its way to attach it."
        return Finding("address", address.name, where, Standing.HELD, words, status="RESERVED")
    words, moves = f"{why}, and is on no VM: that run is over.", ("give-back",)
    return Finding("address", address.name, where, Standing.ABANDONED, words, "RESERVED", moves=moves, owed=True)


def _without_lease(machine: Machine) -> Judgement:
    if machine.stopped and machine.made_for_one_run:
        return Judgement(Standing.ABANDONED, "It was made for one run, is off, and was never deleted: its disk costs.")
    if machine.off or machine.going_off:
        return Judgement(Standing.AT_REST, "It is off, and nobody holds it.")
    return Judgement(
        Standing.ON_BY_HAND,
        f"It is {machine.status} without a lease: somebody started it by hand, or the lease was wiped. It was left "
        "alone, and costs money.",
    )


def _left_on(machine: Machine, lease: Lease, policy: Policy) -> Judgement:
    if not left_by_a_run(machine, policy):
        why = (
            f"It is {machine.status}, and was started after the lease of {_owner(lease)} had run out: by somebody else."
        )
        return Judgement(Standing.ON_BY_HAND, why)
    if (until := _held_by_hand(machine)) is not None:
        return Judgement(Standing.ON_BY_HAND, f"Somebody is at work on it: {HOLD_ATTRIBUTE} until {_clock(until)}.")
    if machine.status in _SUSPENDED:
        return Judgement(Standing.STUCK, f"It is {machine.status}. Resume and stop it: a sweep cannot.")
    return Judgement(Standing.ABANDONED, f"It is {machine.status}, and {_owner(lease)} is gone.")


def _held_by_hand(machine: Machine) -> datetime | None:
    """Until when a person at work on it holds it: 24 h at most, from the start where the hold itself does not tell."""
    try:
        until = datetime.fromisoformat(machine.metadata[HOLD_ATTRIBUTE].strip())
    except (KeyError, ValueError):
        return None
    until = until if until.tzinfo else until.replace(tzinfo=UTC)
    if until > machine.seen_at + _LONGEST_HOLD:
        until = (machine.last_start or machine.seen_at) + _LONGEST_HOLD
    return until if machine.seen_at < until else None


def _owner(lease: Lease) -> str:
    return f"{lease.holder or 'somebody'} (run {lease.key or 'unknown'})"


def _clock(time: datetime) -> str:
    return f"{time.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
