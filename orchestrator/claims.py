"""Claims: whether a run may take the VM, has to wait for it, or is refused."""

from datetime import datetime

from orchestrator.errors import BadResource, BadUsage, Busy, MayflyError, Taken
from orchestrator.lease import AddressPolicy, Found, Lease, Phase
from orchestrator.policy import Policy
from orchestrator.run import OnRunning, Run
from orchestrator.seen import Machine, Seen


def misused_key(lease: Lease | None, run: Run) -> BadUsage | None:
    """A key stands for one job and its params: what was done under it answers for no other."""
    if lease is None:
        return None
    known = lease.recall(run.key, run.mode)
    meanings = {known.meaning if known else "", lease.meaning if is_same_run(lease, run) else ""}
    if meanings <= {"", run.meaning}:
        return None
    return BadUsage(f"The key {run.key} already stands for another job or other params. Choose a new one.")


def is_same_run(lease: Lease, run: Run) -> bool:
    """Whoever holds it, it is for this very run."""
    return lease.phase is not Phase.FREE and (lease.key, lease.mode) == (run.key, run.mode)


def as_found(machine: Machine, run: Run, policy: Policy) -> Found:
    """How the VM was before any of us touched it."""
    lease = machine.lease
    if lease is not None and (lease.nonce == run.nonce or left_by_a_run(machine, policy)):
        return Found(lease.found.running and machine.running, lease.found.ip)
    return Found(machine.running, machine.access_config.ip if machine.access_config else None)


def refusal(seen: Seen, run: Run, policy: Policy) -> MayflyError | None:
    """Why we may not touch this VM, or None if we may claim it."""
    machine = seen.machine
    if machine.lease is not None and machine.lease.nonce == run.nonce:
        return None  # it is ours: a stop that was left half done is finished, and now it is taken anew
    if machine.status in {"SUSPENDED", "SUSPENDING"}:
        return BadResource(f"{machine.name} is {machine.status}. Resume and stop it, then run again.")
    if run.ephemeral and not (machine.gone or machine.made_for_one_run):
        return BadResource(
            f"There is a VM {machine.name} already, and it was not made for a run of ours. It was left alone: delete "
            "it, or name another one in INSTANCE."
        )
    if machine.lease is not None and (reason := _still_taken(machine.lease, seen, run, policy)) is not None:
        return reason
    if left_by_a_run(machine, policy):
        return _address_taken(seen, run)
    return _somebody_uses_it(seen, run) or _address_taken(seen, run) or _other_address_on(seen)


def left_by_a_run(machine: Machine, policy: Policy) -> bool:
    """A run of ours died over it, and what is on, that run left on. What was started later is somebody else's."""
    lease = machine.lease
    if lease is None or lease.phase is Phase.FREE:
        return False
    if machine.last_start is None or lease.expires_at is None:
        return True
    return machine.last_start <= lease.expires_at + policy.request + policy.start


def _still_taken(lease: Lease, seen: Seen, run: Run, policy: Policy) -> MayflyError | None:
    if lease.phase is Phase.FREE:
        return None
    now, name = seen.machine.seen_at, seen.machine.name
    same = is_same_run(lease, run) or _is_predecessor(lease, run)
    free_at = _free_at(lease, seen, run, policy)
    if free_at is not None and now < free_at:
        until = f"until {free_at:%H:%M:%S} UTC"
        return Taken(f"{name} is leased to {lease.holder} for run {lease.key} {until}.", same_run=same)
    if not same and seen.machine.running and lease.run_deadline is not None and now < lease.run_deadline:
        return Taken(
            f"{name} was left on by {lease.holder}, and its run {lease.key} may be live until "
            f"{lease.run_deadline:%H:%M:%S} UTC.",
            same_run=False,
        )
    return None


def _free_at(lease: Lease, seen: Seen, run: Run, policy: Policy) -> datetime | None:
    """From then on nothing that its holder has sent can land any more: a request lives no longer than its time-out."""
    if _is_predecessor(lease, run):  # Cloud Run began us because it is dead
        return (seen.since or seen.machine.seen_at) + policy.request
    return None if lease.expires_at is None else lease.expires_at + policy.request


def _is_predecessor(lease: Lease, run: Run) -> bool:
    mine, its = (run.execution, run.task), (lease.execution, lease.task)
    return bool(run.execution) and mine == its and lease.task_attempt < run.task_attempt


def _somebody_uses_it(seen: Seen, run: Run) -> MayflyError | None:
    machine = seen.machine
    if machine.gone or machine.stopped or machine.going_off:
        return None
    if run.on_running is OnRunning.ADOPT:
        # On its way up it is not yet what it will be, and nobody could tell later that we found it on.
        return None if machine.running else Busy(f"{machine.name} is {machine.status}. Only a RUNNING VM is adopted.")
    return Busy(
        f"{machine.name} is {machine.status}, and not by a run of ours: somebody is using it, so it was "
        f"left alone. Stop it (gcloud compute instances stop {machine.name} --zone {run.zone}), or set "
        "ON_RUNNING=adopt to use it and leave it on."
    )


def _address_taken(seen: Seen, run: Run) -> MayflyError | None:
    if seen.address is None:
        return None
    our_vm = f"/zones/{run.zone}/instances/{seen.machine.name}"
    if run.address_policy is AddressPolicy.RELEASE and seen.address.reserved and not seen.address.reserved_for_a_run:
        return BadResource(
            f"The address {seen.address.name} ({seen.address.ip}) is yours, and ADDRESS_POLICY=release would delete "
            "it. Name one in STATIC_NAME that is not reserved yet, or set ADDRESS_POLICY to detach or keep."
        )
    others = [user for user in seen.address.users if not user.endswith(our_vm)]
    if not others:
        return None
    return BadResource(
        f"The address {seen.address.name} ({seen.address.ip}) is in use by {others[0].rsplit('/', 1)[-1]}. "
        "Detach it there, or name another one in STATIC_NAME."
    )


def _other_address_on(seen: Seen) -> MayflyError | None:
    machine, config = seen.machine, seen.machine.access_config
    if not machine.running or seen.address is None or config is None or config.ip == seen.address.ip:
        return None
    return BadResource(
        f"{machine.name} is RUNNING with the address {config.ip}, and an adopted VM keeps what it has. Attach "
        f"{seen.address.name} to it first, or leave STATIC_NAME out and set AGENT_REACH=internal."
    )
