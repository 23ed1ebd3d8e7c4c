"""Which schedules there are: every single fault, every pair of faults, and what a seed makes of it."""

from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from itertools import combinations, product
from random import Random

from tests.simulation.schedule import CROWDS, JOB_SECONDS, Event, Fault, Happening, Kind, Schedule
from tests.simulation.simulate import play

LAST_EVENT_SECONDS = 40  # a run without faults takes thirty
AFTER_A_PAUSE_SECONDS = 300  # a lease that nobody renews is free by then
FAULTS_OF_A_SEED = (0, 1, 1, 2, 2, 3)
EVENTS_OF_A_SEED = (0, 0, 1, 1, 2)
JOBS_OF_A_SEED = (JOB_SECONDS, JOB_SECONDS, JOB_SECONDS, 250.0)
LATE_EVENTS = 0.3  # of the seeds, though nobody is frozen
LONG_JOB_SECONDS = 280.0  # a lease of 180 s, which nobody renews, is dead before its end
CRASHES = 15  # of four attempts at one execution, and of the sweeps that come after them
LEASE_DEAD_SECONDS = 215.0  # TTL, L, and a little
RUN_DEAD_SECONDS = 935.0  # boot, timeout and grace: whatever the agent was asked for is over


UNANSWERED = (Kind.LOST, Kind.REPLY_LOST, Kind.LATE)


_ALONE = [what for what in Happening if what not in CROWDS]


@cache
def moments() -> tuple[float, ...]:
    """When a run sends each of its requests, when nothing goes wrong."""
    return tuple(play(Schedule()).universe.crossed_at)


def boundaries() -> int:
    """How many those are."""
    return len(moments())


def singles() -> list[Schedule]:
    """Every fault at every request."""
    return [Schedule((fault,)) for fault in _faults()]


def doubles() -> Iterator[Schedule]:
    """Every pair of faults at two requests. The second is counted in what the first made of the run."""
    for one, other in combinations(_faults(), 2):
        if one.at < other.at:
            yield Schedule((one, other))


def double_count() -> int:
    """How many pairs there are."""
    kinds = len(Kind)
    return boundaries() * (boundaries() - 1) // 2 * kinds * kinds


def some_doubles(count: int) -> list[Schedule]:
    """A fixed sample of the pairs."""
    random = Random(count)
    faults = _faults()
    pairs = [sorted(random.sample(faults, 2), key=lambda fault: fault.at) for _ in range(count)]
    return [Schedule((one, other)) for one, other in pairs if one.at != other.at]


def happenings() -> list[Schedule]:
    """Every event, at every second of a run."""
    return [Schedule(events=(Event(at, what),)) for what, at in product(_ALONE, range(LAST_EVENT_SECONDS))]


def called_off_while_unanswered() -> list[Schedule]:
    """A SIGTERM while the answer to a request is still waited for: whether it was done, nobody knows."""
    return [
        Schedule((Fault(at, kind),), (Event(round(moment + 1, 3), Happening.CALLED_OFF),))
        for at, moment in enumerate(moments())
        for kind in UNANSWERED
    ]


def crash_after_crash() -> list[Schedule]:
    """A crash at every n-th request, of orchestrators and of the sweeps that come after the last of them."""
    kinds = (Kind.CRASH_BEFORE, Kind.CRASH_AFTER)
    spacings = product(range(2, boundaries()), kinds)
    return [Schedule(tuple(Fault(at, kind) for at in range(n, (CRASHES + 1) * n, n))) for n, kind in spacings]


def abandoned() -> list[Schedule]:
    """No orchestrator any more, from any request on; with its dead-man gone or not, and a run at work or not, one sweep
    comes when the lease is dead: alone, or together with another, or with a trigger."""
    together: tuple[tuple[Happening, ...], ...] = (
        (Happening.SWEEP,),
        (Happening.TWO_SWEEPS,),
        (Happening.SWEEP, Happening.OTHER_TRIGGER),
        (Happening.SWEEP, Happening.SAME_TRIGGER),
    )
    return [
        Schedule(
            events=(*left.events, *(Event(left.events[0].at + LEASE_DEAD_SECONDS, one) for one in come)),
            job_seconds=job_seconds,
        )
        for job_seconds, come, left in product((LONG_JOB_SECONDS, JOB_SECONDS), together, _left_behind())
    ]


def swept_under_faults() -> Iterator[Schedule]:
    """Every fault at every request of the sweep that finds what was left behind, at any request."""
    for schedule, asked in _lone_sweeps():
        for number, kind in product(asked, Kind):
            yield replace(schedule, faults=(Fault(number, kind),))


def swept_count() -> int:
    """How many those are."""
    return sum(len(asked) for _, asked in _lone_sweeps()) * len(Kind)


@cache
def _lone_sweeps() -> tuple[tuple[Schedule, tuple[int, ...]], ...]:
    """One sweep each, when all that was left behind is dead, and the numbers of its requests and of those after it."""
    sweeps = []
    for left in _left_behind():
        gone = any(event.happening is Happening.AGENT_GONE for event in left.events)
        come = Event(left.events[0].at + (RUN_DEAD_SECONDS if gone else LEASE_DEAD_SECONDS), Happening.SWEEP)
        schedule = Schedule(events=(*left.events, come))
        crossed = enumerate(play(schedule).universe.crossed_at)
        sweeps.append((schedule, tuple(number for number, at in crossed if at >= come.at)))
    return tuple(sweeps)


def _left_behind() -> list[Schedule]:
    """Every orchestrator killed for good just after it has sent a request; then its agent too."""
    dead = [Event(round(moment + 0.001, 3), Happening.JOB_DELETED) for moment in moments()]
    return [
        Schedule(events=(one, *more)) for one in dead for more in ((), (replace(one, happening=Happening.AGENT_GONE),))
    ]


def crowded(seed: int, crowd: Happening) -> Schedule:
    """What that seed says, with twenty orchestrators that begin at once."""
    schedule = of_seed(seed)
    return replace(schedule, events=(*schedule.events, Event(0, crowd)), job_seconds=JOB_SECONDS)


def of_seed(seed: int) -> Schedule:
    """What this seed says: some faults, some events, and the order of all that is ready."""
    random = Random(seed)
    at = random.sample(range(boundaries() + 15), random.choice(FAULTS_OF_A_SEED))
    faults = tuple(Fault(number, random.choice(list(Kind))) for number in sorted(at))
    frozen = any(fault.kind is Kind.PAUSE for fault in faults)
    span = AFTER_A_PAUSE_SECONDS if frozen or random.random() < LATE_EVENTS else LAST_EVENT_SECONDS
    events = tuple(
        Event(round(random.uniform(0, span), 1), random.choice(_ALONE)) for _ in range(random.choice(EVENTS_OF_A_SEED))
    )
    return Schedule(faults, events, seed, random.choice(JOBS_OF_A_SEED))


def _faults() -> list[Fault]:
    return [Fault(at, kind) for at in range(boundaries()) for kind in Kind]
