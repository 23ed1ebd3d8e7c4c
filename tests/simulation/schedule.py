"""A schedule: what goes wrong, and when. One line replays it: `12:lost 40:crash-after @35:preempted seed=7`."""

import re
from dataclasses import dataclass
from enum import StrEnum

JOB_SECONDS = 20.0  # what a job takes, unless the schedule says otherwise


class Kind(StrEnum):
    """What can happen to one request at the border between the orchestrator and the world."""

    LOST = "lost"  # it never arrives
    REPLY_LOST = "reply-lost"  # it is done, and nobody hears of it
    LATE = "late"  # it lands when the caller has long gone
    OPERATION_ERROR = "operation-error"  # accepted, and ended badly
    UNAVAILABLE = "5xx"  # answered with an error, and not done
    CRASH_BEFORE = "crash-before"  # SIGKILL of the orchestrator, with the request unsent
    CRASH_AFTER = "crash-after"  # the same, with the request on its way
    SIGTERM = "sigterm"  # and SIGKILL ten seconds later, as Cloud Run does
    PAUSE = "pause"  # frozen before it sends, for longer than a lease lives


class Happening(StrEnum):
    """What the world does by itself, at any moment."""

    STOPPED = "stopped"  # by a person at the console
    PREEMPTED = "preempted"
    HOST_ERROR = "host-error"  # the plug is pulled
    PARTITIONED = "partitioned"  # the VM's address answers nobody, for a while
    AGENT_KILLED = "agent-killed"  # and started again, by systemd
    CALLED_OFF = "called-off"  # a person cancels every execution: SIGTERM, and no further attempt
    JOB_DELETED = "job-deleted"  # in Cloud Run: every orchestrator is killed, and never tried again
    OTHER_TRIGGER = "other-trigger"  # a second execution, of another key
    SAME_TRIGGER = "same-trigger"  # a second execution, of the same key
    CROWD = "crowd"  # nineteen more executions at once, each of a key of its own, that wait for their turn
    CROWD_OF_ONE_KEY = "crowd-of-one-key"  # nineteen more at once, of the same key
    SWEEP = "sweep"  # one more, now
    TWO_SWEEPS = "two-sweeps"  # at once
    AGENT_GONE = "agent-gone"  # and its dead-man with it, until the VM boots anew


CROWDS = (Happening.CROWD, Happening.CROWD_OF_ONE_KEY)
ORDERS = {Happening.OTHER_TRIGGER, Happening.SAME_TRIGGER, Happening.SWEEP, Happening.TWO_SWEEPS, *CROWDS}
DISTURBANCES = set(Happening) - ORDERS  # what counts as a fault


@dataclass(frozen=True)
class Fault:
    """The `at`-th request (from 0) of all orchestrators together meets this."""

    at: int
    kind: Kind

    def __str__(self) -> str:
        return f"{self.at}:{self.kind}"


@dataclass(frozen=True)
class Event:
    """At this second of the schedule that happens."""

    at: float
    happening: Happening

    def __str__(self) -> str:
        return f"@{self.at:g}:{self.happening}"


@dataclass(frozen=True)
class Schedule:
    """One simulated history. Without a seed callbacks take turns and every latency is its middle."""

    faults: tuple[Fault, ...] = ()
    events: tuple[Event, ...] = ()
    seed: int | None = None
    job_seconds: float = JOB_SECONDS
    made: bool = False  # the VM is made from a template for each run, and deleted after it
    trade: str | None = None  # the job is a purchase; after an interruption it is to "fail", or to "rerun"

    def __str__(self) -> str:
        words = [*map(str, self.faults), *map(str, self.events)]
        words += ["made"] if self.made else []
        words += [f"trade={self.trade}"] if self.trade else []
        words += [f"job={self.job_seconds:g}"] if self.job_seconds != JOB_SECONDS else []
        words += [f"seed={self.seed}"] if self.seed is not None else []
        return " ".join(words) or "nominal"

    def met_by(self, request: int) -> Kind | None:
        """The fault that the n-th request meets."""
        return next((fault.kind for fault in self.faults if fault.at == request), None)


def parse(line: str) -> Schedule:
    """Read the one-line form. Raises ValueError."""
    faults, events, seed, job_seconds, trade, made = [], [], None, JOB_SECONDS, None, False
    for word in line.split():
        if found := re.fullmatch(r"(\d+):([\w-]+)", word):
            faults.append(Fault(int(found[1]), Kind(found[2])))
        elif found := re.fullmatch(r"@([\d.]+):([\w-]+)", word):
            events.append(Event(float(found[1]), Happening(found[2])))
        elif found := re.fullmatch(r"job=([\d.]+)", word):
            job_seconds = float(found[1])
        elif found := re.fullmatch(r"seed=(\d+)", word):
            seed = int(found[1])
        elif found := re.fullmatch(r"trade=(fail|rerun)", word):
            trade = found[1]
        elif word == "made":
            made = True
        elif word != "nominal":
            raise ValueError(f"no such word in a schedule: {word!r}")
    return Schedule(tuple(faults), tuple(events), seed, job_seconds, made, trade)
