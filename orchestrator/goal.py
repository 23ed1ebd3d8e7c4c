"""Up or down, and why: the other half of every decision."""

from dataclasses import dataclass

from orchestrator.errors import BadResource, Busy, MayflyError
from orchestrator.lease import Lease, Phase
from orchestrator.policy import Policy
from orchestrator.run import OnRunning, Outcome, Run, Verdict
from orchestrator.seen import Machine, Seen
from vm_agent.protocol import RunView, State


@dataclass(frozen=True)
class Up:
    """Towards a finished run."""

    run: Run


@dataclass(frozen=True)
class Down:
    """Towards a VM that is off and a lease that is free."""

    run: Run
    verdict: Verdict
    collect: bool = False  # artifacts and log are still to be copied out


Goal = Up | Down

_VERDICTS = {
    State.SUCCEEDED: Outcome.SUCCEEDED,
    State.FAILED: Outcome.FAILED,
    State.CANCELLED: Outcome.CANCELLED,
    State.TIMED_OUT: Outcome.TIMED_OUT,
    State.INTERRUPTED: Outcome.INTERRUPTED,
}


def goal_of(seen: Seen, run: Run) -> Goal:
    """Up until the run has finished, or the facts say that it never will."""
    verdict = verdict_of(seen.run) or _cut_off(seen, run)
    return Up(run) if verdict is None else Down(run, verdict, collect=run.out is not None)


def verdict_of(view: RunView | None) -> Verdict | None:
    """How the run ended, if the agent said that it did."""
    if view is None or not view.state.finished:
        return None
    return Verdict(_VERDICTS[view.state], view.failure.detail if view.failure else "", view.result)


def refusal(seen: Seen, run: Run, policy: Policy) -> MayflyError | None:
    """Why we may not touch this VM, or None if we may claim it."""
    machine = seen.machine
    if machine.status in {"SUSPENDED", "SUSPENDING"}:
        return BadResource(f"{machine.name} is {machine.status}. Resume and stop it, then run again.")
    if machine.lease is not None and (reason := _still_taken(machine.lease, seen, policy)) is not None:
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


def _still_taken(lease: Lease, seen: Seen, policy: Policy) -> MayflyError | None:
    if lease.phase is Phase.FREE:
        return None
    now, name = seen.machine.seen_at, seen.machine.name
    free_at = None if lease.expires_at is None else lease.expires_at + policy.request
    if free_at is not None and now < free_at:
        return Busy(f"{name} is leased to {lease.holder} for run {lease.key} until {lease.expires_at:%H:%M:%S} UTC.")
    if seen.machine.running and lease.run_deadline is not None and now < lease.run_deadline:
        return Busy(
            f"{name} was left on by {lease.holder}, and its run {lease.key} may be live until "
            f"{lease.run_deadline:%H:%M:%S} UTC."
        )
    return None


def _somebody_uses_it(seen: Seen, run: Run) -> MayflyError | None:
    machine = seen.machine
    if machine.stopped or machine.going_off:
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


def _cut_off(seen: Seen, run: Run) -> Verdict | None:
    lease = seen.machine.lease
    if lease is None or lease.nonce != run.nonce or not seen.machine.stopped:
        return None
    if lease.phase is Phase.INVOKING:
        return Verdict(Outcome.INTERRUPTED, "The VM went off under the run, so how the job ended is not known.")
    if lease.found.running:
        return Verdict(
            Outcome.NO_MACHINE, f"{run.instance} was adopted running, and somebody stopped it before the run."
        )
    return None
