"""The account of a trip: what the user is told, and what is billed."""

from datetime import timedelta

from orchestrator.errors import Exit, MayflyError, RunLost, RunOverdue
from orchestrator.run import Outcome, Receipt, Run, Verdict, VmUse
from orchestrator.seen import Machine
from orchestrator.trip import Trip
from vm_agent.protocol import CommandJob, FunctionJob, Job, Mode, RunView

_OUTCOMES: dict[Exit, Outcome] = {
    Exit.JOB_FAILED: Outcome.FAILED,
    Exit.NO_MACHINE: Outcome.NO_MACHINE,
    Exit.AGENT: Outcome.AGENT_FAULT,
    Exit.INTERRUPTED: Outcome.INTERRUPTED,
    Exit.BUSY: Outcome.BUSY,
    Exit.CLEANUP_OWED: Outcome.CLEANUP_OWED,
    Exit.TIMED_OUT: Outcome.TIMED_OUT,
}


def verdict_on(error: Exception, trip: Trip) -> Verdict:
    """How a trip ends on which this error was met going up. Once the agent was asked, only a look at the job tells."""
    detail = str(error) if isinstance(error, MayflyError) else f"A bug in Mayfly: {error!r}."
    if not trip.invoked or isinstance(error, RunLost | RunOverdue):
        return Verdict(outcome_of(error) if isinstance(error, MayflyError) else Outcome.AGENT_FAULT, detail)
    return Verdict(Outcome.INTERRUPTED, f"{detail} The agent had been asked for the run: how it ended is not known.")


def outcome_of(error: MayflyError) -> Outcome:
    """How a trip ends on which this error was met going up."""
    return _OUTCOMES.get(error.exit, Outcome.AGENT_FAULT)


def receipt_of(trip: Trip, verdict: Verdict, *, clean: bool, called_off: bool) -> Receipt:
    """The receipt. A clean-up that was not seen done is louder than any verdict; a signal may leave no time for it."""
    run = trip.run
    outcome, detail = verdict.outcome, verdict.detail
    if not clean:
        outcome = Outcome.TERMINATED if called_off else Outcome.CLEANUP_OWED
        detail = (
            f"{run.instance} was not seen off: it may still be on, and cost money. "
            f"The run itself: {verdict.outcome}. {verdict.detail}".rstrip()
        )
    return Receipt(
        run_key=run.key,
        mode=run.mode,
        outcome=outcome,
        exit_code=int(outcome.exit),
        project=run.project,
        job=job_name(run.job, run.mode),
        started_at=trip.started_at,
        detail=detail,
        result=verdict.result,
        attempts=run.attempt,
        artifacts=tuple(trip.copied),
        phases=tuple(trip.phases),
        vm=_use(run, trip.machine, trip.view) if trip.touched and trip.machine else None,
        address=_address(trip) if trip.touched and run.address else None,
        cleanup="confirmed" if clean else "owed",
    )


def job_name(job: Job | None, mode: Mode) -> str:
    """The job as the user wrote it."""
    match job:
        case FunctionJob(function=function):
            return function
        case CommandJob(command=command):
            return " ".join(command)
        case _:
            return f"main:{mode}"


def _use(run: Run, machine: Machine, view: RunView | None) -> VmUse:
    billed = _billed_seconds(machine)
    idle = None if billed is None else max(0.0, billed - _live_seconds(view))
    priced = run.price_per_hour is not None and billed is not None
    cost = (
        round(billed * run.price_per_hour / 3600, 6) if billed is not None and run.price_per_hour is not None else None
    )
    return VmUse(run.instance, run.zone, machine.id, billed, idle, cost, run.currency if priced else None)


def _billed_seconds(machine: Machine) -> float | None:
    if not machine.off or machine.last_start is None or machine.last_stop is None:
        return None
    return (machine.last_stop - machine.last_start) / timedelta(seconds=1)


def _live_seconds(view: RunView | None) -> float:
    if view is None or view.finished_at is None:
        return 0.0
    return (view.finished_at - view.accepted_at) / timedelta(seconds=1)


def _address(trip: Trip) -> dict[str, str | None]:
    ip = trip.address.ip if trip.address else None
    return {"name": trip.run.address, "ip": ip, "policy": str(trip.run.address_policy)}
