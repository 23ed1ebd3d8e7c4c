"""Up or down, and why: the other half of every decision."""

from dataclasses import dataclass

from orchestrator.claims import is_same_run
from orchestrator.lease import Lease, Phase
from orchestrator.run import Outcome, Run, Verdict
from orchestrator.seen import Seen
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

_CUT_OFF = "The VM went off under the run, so how the job ended is not known."
_VERDICTS = {
    State.SUCCEEDED: Outcome.SUCCEEDED,
    State.FAILED: Outcome.FAILED,
    State.CANCELLED: Outcome.CANCELLED,
    State.TIMED_OUT: Outcome.TIMED_OUT,
    State.INTERRUPTED: Outcome.INTERRUPTED,
}


def goal_of(seen: Seen, run: Run) -> Goal:
    """Up until the run has finished, or the facts say that it never will."""
    verdict = _remembered(seen, run)
    if verdict is None and not to_be_rerun(seen.run, run):
        verdict = verdict_of(seen.run) or _cut_off(seen, run)
    return Up(run) if verdict is None else Down(run, verdict, collect=run.out is not None)


def verdict_of(view: RunView | None) -> Verdict | None:
    """How the run ended, if the agent said that it did."""
    if view is None or not view.state.finished:
        return None
    return Verdict(_VERDICTS[view.state], view.failure.detail if view.failure else "", view.result)


def to_be_rerun(view: RunView | None, run: Run) -> bool:
    """It was cut off, its processes were seen gone, and it may be begun again."""
    return view is not None and view.state is State.INTERRUPTED and view.attempt < run.attempts_most


def lost_with_its_vm(seen: Seen, run: Run) -> bool:
    """It was asked for on a VM that was made for it, and that is off or gone: with it, the ledger that knew the end."""
    machine, lease = seen.machine, seen.machine.lease
    ended = machine.stopped or not machine.made_for(run.key)
    return run.ephemeral and lease is not None and is_same_run(lease, run) and lease.asked and ended


def attempts_lost(lease: Lease, run: Run) -> int:
    """How often the run was begun, when its last attempt was lost with its VM."""
    known = lease.recall(run.key, run.mode)
    return (known.attempts if known else 0) + 1


def _remembered(seen: Seen, run: Run) -> Verdict | None:
    """How this run ended before: told once nothing of it is on, or once it is ours to clean up after."""
    machine, lease = seen.machine, seen.machine.lease
    known = lease.recall(run.key, run.mode) if lease else None
    if lease is None or known is None:
        return None
    outcome = Outcome(known.outcome)
    if outcome is Outcome.INTERRUPTED and known.attempts < run.attempts_most:
        return None
    if lease.nonce != run.nonce and not (lease.phase is Phase.FREE and machine.down(ephemeral=run.ephemeral)):
        return None
    detail = f"This run ended at {known.ended_at:%Y-%m-%d %H:%M:%S} UTC; it was not begun again."
    return Verdict(outcome, detail, known.result, attempts=known.attempts)


def _cut_off(seen: Seen, run: Run) -> Verdict | None:
    """The VM went off under our hands. What became of a run that may be begun again, its ledger tells after a boot."""
    lease = seen.machine.lease
    if lease is None or lease.nonce != run.nonce:
        return None
    if run.ephemeral:
        begun_often_enough = lost_with_its_vm(seen, run) and attempts_lost(lease, run) >= run.attempts_most
        return Verdict(Outcome.INTERRUPTED, _CUT_OFF) if begun_often_enough else None
    if not seen.machine.stopped:
        return None
    if lease.phase is Phase.INVOKING and (run.attempts_most == 1 or lease.found.running):
        return Verdict(Outcome.INTERRUPTED, _CUT_OFF)
    if lease.found.running:
        return Verdict(
            Outcome.NO_MACHINE, f"{run.instance} was adopted running, and somebody stopped it before the run."
        )
    return None
