"""Which schedules there are: every single fault, every pair of faults, and what a seed makes of it."""

from collections.abc import Iterator
from functools import cache
from itertools import combinations, product
from random import Random

from tests.simulation.schedule import Event, Fault, Happening, Kind, Schedule
from tests.simulation.simulate import play

LAST_EVENT_SECONDS = 40  # a run without faults takes thirty
AFTER_A_PAUSE_SECONDS = 300  # a lease that nobody renews is free by then
FAULTS_OF_A_SEED = (0, 1, 1, 2, 2, 3)
EVENTS_OF_A_SEED = (0, 0, 1, 1, 2)


UNANSWERED = (Kind.LOST, Kind.REPLY_LOST, Kind.LATE)


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
    return [Schedule(events=(Event(at, what),)) for what, at in product(Happening, range(LAST_EVENT_SECONDS))]


def called_off_while_unanswered() -> list[Schedule]:
    """A SIGTERM while the answer to a request is still waited for: whether it was done, nobody knows."""
    return [
        Schedule((Fault(at, kind),), (Event(round(moment + 1, 3), Happening.CALLED_OFF),))
        for at, moment in enumerate(moments())
        for kind in UNANSWERED
    ]


def of_seed(seed: int) -> Schedule:
    """What this seed says: some faults, some events, and the order of all that is ready."""
    random = Random(seed)
    at = random.sample(range(boundaries() + 15), random.choice(FAULTS_OF_A_SEED))
    faults = tuple(Fault(number, random.choice(list(Kind))) for number in sorted(at))
    frozen = any(fault.kind is Kind.PAUSE for fault in faults)
    span = AFTER_A_PAUSE_SECONDS if frozen else LAST_EVENT_SECONDS
    events = tuple(
        Event(round(random.uniform(0, span), 1), random.choice(list(Happening)))
        for _ in range(random.choice(EVENTS_OF_A_SEED))
    )
    return Schedule(faults, events, seed)


def _faults() -> list[Fault]:
    return [Fault(at, kind) for at in range(boundaries()) for kind in Kind]
