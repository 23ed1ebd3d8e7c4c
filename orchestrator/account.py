"""The account of a trip: what the user is told, and what is billed."""

from datetime import datetime, timedelta

from orchestrator.errors import Exit, MayflyError, RunLost, RunOverdue
from orchestrator.run import Outcome, Receipt, Verdict, VmUse
from orchestrator.seen import Machine
from orchestrator.trip import Trip
from vm_agent.protocol import CommandJob, FunctionJob, ImageJob, Job, Mode, RunView

_OUTCOMES: dict[Exit, Outcome] = {
    Exit.JOB_FAILED: Outcome.FAILED,
    Exit.NO_MACHINE: Outcome.NO_MACHINE,
    Exit.AGENT: Outcome.AGENT_FAULT,
    Exit.INTERRUPTED: Outcome.INTERRUPTED,
    Exit.BUSY: Outcome.BUSY,
    Exit.CLEANUP_OWED: Outcome.CLEANUP_OWED,
    Exit.TIMED_OUT: Outcome.TIMED_OUT,
}

_COMPLAINTS_MAX = 3  # of files that were not copied; the log has them all


def verdict_on(error: Exception, trip: Trip) -> Verdict:
    """How a trip ends on which this error was met going up. Once the agent was asked, only a look at the job tells."""
    detail = str(error) if isinstance(error, MayflyError) else f"A bug in Mayfly: {error!r}."
    if trip.unread:
        words = "An earlier attempt had asked for the run, and how that ended could not be read yet."
        return Verdict(Outcome.INTERRUPTED, f"{detail} {words}", settled=False)
    if not trip.invoked or isinstance(error, RunLost | RunOverdue):
        return Verdict(outcome_of(error) if isinstance(error, MayflyError) else Outcome.AGENT_FAULT, detail)
    return Verdict(Outcome.INTERRUPTED, f"{detail} The agent had been asked for the run: how it ended is not known.")


def outcome_of(error: MayflyError) -> Outcome:
    """How a trip ends on which this error was met going up."""
    return _OUTCOMES.get(error.exit, Outcome.AGENT_FAULT)


def receipt_of(trip: Trip, verdict: Verdict, *, clean: bool) -> Receipt:
    """The receipt. A clean-up that was not seen done is louder than any verdict; a signal may leave no time for it."""
    run = trip.run
    outcome, words = verdict.outcome, [verdict.detail, *trip.not_copied[:_COMPLAINTS_MAX]]
    if verdict.outcome is Outcome.INTERRUPTED and trip.view is not None:
        words.append(_last_known(trip.view))
    if _works_on(trip):
        words.append("The VM was on before and stays on: the job may be at work there until its deadline.")
    if not clean:
        outcome = Outcome.TERMINATED if trip.called_off.is_set() else Outcome.CLEANUP_OWED
        words = [_owed(trip), f"The run itself: {verdict.outcome}.", *words]
    return Receipt(
        run_key=run.key,
        mode=run.mode,
        outcome=outcome,
        exit_code=int(outcome.exit),
        project=run.project,
        job=_what_ran(trip),
        started_at=trip.started_at,
        detail=" ".join(filter(None, words)),
        result=verdict.result,
        attempts=verdict.attempts or trip.attempt,
        answered_from_memory=verdict.attempts is not None,
        artifacts=tuple(trip.copied),
        phases=tuple(trip.phases),
        vm=_use(trip, trip.machine) if trip.touched and trip.machine else None,
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
        case ImageJob(image=image, arguments=arguments):
            return " ".join([f"image:{image}", *arguments])
        case _:
            return f"main:{mode}"


def _what_ran(trip: Trip) -> str:
    """The job as the user wrote it; of a container the very image, for a tag may mean another one tomorrow."""
    if trip.view and trip.view.image and isinstance(trip.view.job, ImageJob):
        return job_name(trip.view.job.model_copy(update={"image": trip.view.image}), trip.run.mode)
    return job_name(trip.run.job, trip.run.mode)


def _last_known(view: RunView) -> str:
    """What there is to go by for whoever has to find out how far it came."""
    progress, known = view.progress, [f"It was accepted at {view.accepted_at:%Y-%m-%d %H:%M:%S} UTC"]
    if progress.fraction is not None or progress.message:
        far = [f"{progress.fraction:.0%}"] if progress.fraction is not None else []
        known.append(f"was last heard of at {' '.join([*far, progress.message]).strip()}")
    return f"{' and '.join(known)}. Its log is on the VM's disk, under run {view.id}."


def _works_on(trip: Trip) -> bool:
    stays_on = trip.machine is not None and trip.machine.running and not trip.left_on
    return stays_on and trip.invoked and not (trip.view and trip.view.state.finished)


def _owed(trip: Trip) -> str:
    name, why = trip.run.instance, f" {trip.in_the_way}" if trip.in_the_way else ""
    if trip.left_on:
        return f"{name} was not seen off: it may still be on, and cost money.{why}"
    return f"{name} is not on because of this run, but its lease and its address were not all given back.{why}"


def _use(trip: Trip, machine: Machine) -> VmUse:
    run, on = trip.run, _time_on(trip, machine)
    machine = trip.there or machine
    if on is None:
        return VmUse(run.instance, run.zone, machine.id)
    billed = _seconds(*on)
    idle = max(0.0, billed - _live_seconds(trip.view, *on))
    if run.price_per_hour is None:
        return VmUse(run.instance, run.zone, machine.id, billed, idle)
    cost = round(billed * run.price_per_hour / 3600, 6)
    return VmUse(run.instance, run.zone, machine.id, billed, idle, cost, run.currency)


def _time_on(trip: Trip, machine: Machine) -> tuple[datetime, datetime] | None:
    """From the start that was ours until it was off, by Google's clock."""
    if trip.run.ephemeral and trip.there is not None:
        started, ended = trip.there.last_start, trip.gone_at
        return (started, ended) if trip.before_start is not None and started is not None and ended is not None else None
    started, ended = machine.last_start, machine.last_stop
    if trip.before_start is None or started == trip.before_start.last_start:
        return None  # we started nothing: the times are those of somebody's earlier run
    return (started, ended) if machine.off and started is not None and ended is not None else None


def _live_seconds(view: RunView | None, started: datetime, ended: datetime) -> float:
    """How long the run was live in that time; one whose end nobody told us, until the VM was off."""
    if view is None:
        return 0.0
    return max(0.0, _seconds(max(view.accepted_at, started), min(view.finished_at or ended, ended)))


def _seconds(started: datetime, ended: datetime) -> float:
    return (ended - started) / timedelta(seconds=1)


def _address(trip: Trip) -> dict[str, str | None]:
    return {"name": trip.run.address, "ip": trip.ip, "policy": str(trip.run.address_policy)}
